"""Big bodies, and refusals of them while they are on their way."""

import openai
import pytest


def picture(megabytes):
    url = "data:image/png;base64," + "A" * (megabytes << 20)
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize("attempt", range(5))
def test_a_wrong_key_is_heard_over_an_upload(connect, check_refusal, attempt):
    """A connection that is reset while the body is sent would be an `APIConnectionError`."""
    with pytest.raises(openai.AuthenticationError) as raised:
        connect(api_key="sk-wrong").chat.completions.create(model="gpt-4o", messages=picture(8))
    check_refusal(raised.value, code="invalid_api_key")


def test_an_upload_that_fits_passes(client):
    messages = picture(8)
    completion = client.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=5)
    assert completion.choices[0].message.role == "assistant"


def test_an_upload_that_does_not_fit(client, check_refusal):
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=picture(17))
    assert raised.value.status_code == 413
    check_refusal(raised.value, code="request_too_large")
