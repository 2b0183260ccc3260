"""Running out of requests and tokens. A minute is three seconds here."""

import openai
import pytest


def test_who_does_not_retry_is_told_when_to(connect, say, check_refusal):
    client = connect(api_key="sk-frugal")
    client.chat.completions.create(model="gpt-4o", messages=say("Hello"))
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=say("Hello"))
    check_refusal(raised.value, type="requests", code="rate_limit_exceeded")
    headers = raised.value.response.headers
    wait = int(headers["retry-after-ms"])
    # The minute, the slot in which it began, and up to a slot more to keep callers apart.
    assert 0 < wait <= 3_100
    assert int(headers["retry-after"]) == -(-wait // 1000)
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    # Another model has another budget.
    client.chat.completions.create(model="gpt-4", messages=say("Hello"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_who_retries_gets_through(connect, say, stream):
    """The SDK's own two retries are over within 1.5 s; whoever waits as told needs only one."""
    client = connect(api_key="sk-frugal", max_retries=2)
    model = "gpt-35-turbo" if stream else "gpt-4o-mini"
    create = client.chat.completions.with_raw_response.create
    assert create(model=model, messages=say("Hello")).retries_taken == 0
    second = create(model=model, messages=say("Hello"), stream=stream)
    assert second.retries_taken == 1
    answer = second.parse()
    if stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in answer).endswith("Hello")
    else:
        assert answer.choices[0].message.content.endswith("Hello")


def test_what_never_fits_is_not_tried_again(connect, say, check_refusal):
    client = connect(api_key="sk-small", max_retries=2)
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=say("Hello"), max_tokens=2_000)
    check_refusal(raised.value, type="tokens", code="rate_limit_exceeded")
    assert "Request too large" in raised.value.body["message"]
    headers = raised.value.response.headers
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers and "retry-after-ms" not in headers
    assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"
    # It took nothing.
    client.chat.completions.create(model="gpt-4o", messages=say("Hello"), max_tokens=900)
