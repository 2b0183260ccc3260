"""The region is the one in the address."""

import pytest


@pytest.mark.parametrize(("region", "upstream"), [("eu", "sweden"), ("us", "virginia")])
def test_the_answer_names_its_region(connect, say, region, upstream):
    client = connect(region)
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=say("Hello"))
    assert raw.headers["x-tollgate-region"] == region
    assert raw.headers["x-tollgate-upstream"] == upstream
    assert f"the simulated {region} upstream" in raw.parse().choices[0].message.content


@pytest.mark.parametrize("region", ["eu", "us"])
def test_a_stream_names_it_too(connect, say, region):
    raw = connect(region).chat.completions.with_raw_response.create(
        model="gpt-4o", messages=say("Hello"), stream=True
    )
    assert raw.headers["x-tollgate-region"] == region
    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse())
    assert f"the simulated {region} upstream" in text


def test_callers_cannot_name_another(client, say):
    headers = {"x-tollgate-region": "us", "x-region": "us"}
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=say("Hello"), extra_headers=headers
    )
    assert raw.headers["x-tollgate-region"] == "eu"
    assert "the simulated eu upstream" in raw.parse().choices[0].message.content
