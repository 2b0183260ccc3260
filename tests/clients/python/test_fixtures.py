"""The shared cases of streams, as the SDK reads them through the gateway."""

import openai
import pytest

import server
import upstream

CASES = upstream.cases()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway in front of the cases."""
    here = tmp_path_factory.mktemp("fixtures")
    with upstream.serving(CASES) as address:
        config = here / "gateway.toml"
        config.write_text(upstream.config(CASES, address))
        with server.gateway(here / "stderr", config) as address:
            yield address


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_stream(connect, say, case):
    options = {}
    if case["client"]["include_usage"]:
        options["stream_options"] = {"include_usage": True}
    expected = case["expect_client_events"]
    seen, raised = [], None
    try:
        stream = connect(case["name"]).chat.completions.create(
            model="gpt-4o", messages=say("Hello"), stream=True, **options
        )
        seen.extend(stream)
    except openai.APIError as error:
        raised = error

    wanted = [event["data"] for event in expected if "data" in event]
    assert len(seen) == len(wanted)
    for chunk, data in zip(seen, wanted):
        ignored = set(case.get("ignore_keys", ()))
        chunk = {key: value for key, value in chunk.to_dict().items() if key not in ignored}
        assert chunk == {key: value for key, value in data.items() if key not in ignored}

    error = next((event["error"] for event in expected if "error" in event), None)
    if error is None:
        assert raised is None
    elif expected[0].get("error"):
        # What fails before its first event is an answer with a status.
        assert isinstance(raised, openai.APIStatusError)
        assert raised.status_code >= 400
        if "expect_if_peeking" in case:
            assert raised.status_code == case["expect_if_peeking"]["status"]
        assert set(raised.body) == {"message", "type", "param", "code"}
    else:
        assert raised is not None and not isinstance(raised, openai.APIStatusError)
        message = error.pop("message_contains", "")
        assert message in raised.body["message"]
        assert {key: raised.body[key] for key in error} == error
