"""Each class of error, as the SDK raises it."""

import openai
import pytest


@pytest.mark.parametrize(
    ("arguments", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"stop": list("abcde")}, "stop", "array_above_max_length"),
        ({"extra_body": {"bogus": 1}}, "bogus", "unknown_parameter"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"service_tier": "flex"}, "service_tier", "unsupported_parameter"),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"tool_choice": "auto"}, "tool_choice", None),
        ({"response_format": {"type": "json_object"}}, "messages", None),
        (
            {"max_tokens": 5, "max_completion_tokens": 5},
            "max_tokens",
            "invalid_parameter_combination",
        ),
        ({"model": ""}, None, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
def test_a_bad_request_names_its_parameter(client, say, check_refusal, arguments, param, code):
    arguments = {"model": "gpt-4o", "messages": say("Hello"), **arguments}
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**arguments)
    assert raised.value.status_code == 400
    check_refusal(raised.value, param=param, code=code)


def test_capabilities_belong_to_the_model(client, say, check_refusal):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model="gpt-4",
            messages=say("Answer in JSON."),
            response_format={"type": "json_object"},
        )
    check_refusal(raised.value, param="response_format")


def test_a_wrong_key(connect, say, check_refusal):
    wrong = connect(api_key="sk-wrong")
    with pytest.raises(openai.AuthenticationError) as raised:
        wrong.chat.completions.create(model="gpt-4o", messages=say("Hello"))
    check_refusal(raised.value, code="invalid_api_key")
    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()


def test_no_key(client, say, check_refusal):
    with pytest.raises(openai.AuthenticationError) as raised:
        client.chat.completions.create(
            model="gpt-4o", messages=say("Hello"), extra_headers={"Authorization": openai.omit}
        )
    check_refusal(raised.value)
    assert "API key" in raised.value.body["message"]


def test_an_unknown_model_and_a_forbidden_one_look_alike(client, connect, say, check_refusal):
    seen = set()
    for caller, model in ((client, "gpt-9"), (connect(api_key="sk-mini-only"), "gpt-4o")):
        with pytest.raises(openai.NotFoundError) as raised:
            caller.chat.completions.create(model=model, messages=say("Hello"))
        check_refusal(raised.value, code="model_not_found")
        seen.add(raised.value.body["message"].replace(model, "…"))
    assert len(seen) == 1


def test_an_unknown_region(connect, say, check_refusal):
    with pytest.raises(openai.NotFoundError) as raised:
        connect("mars").chat.completions.create(model="gpt-4o", messages=say("Hello"))
    assert raised.value.type == "invalid_request_error"
    assert "mars" not in raised.value.response.headers.get("x-tollgate-region", "")


def test_an_unknown_path(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.embeddings.create(model="gpt-4o", input="Hello")
    assert raised.value.type == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "error", "seen", "type", "code"),
    [
        (401, openai.InternalServerError, 502, "server_error", "upstream_auth_failed"),
        (404, openai.InternalServerError, 502, "server_error", "upstream_deployment_not_found"),
        (429, openai.RateLimitError, 429, "tokens", "rate_limit_exceeded"),
        (500, openai.InternalServerError, 500, "server_error", None),
        (503, openai.InternalServerError, 503, "server_error", None),
    ],
)
def test_the_upstreams_error_becomes_ours(
    connect, say, check_refusal, status, error, seen, type, code, stream
):
    client = connect(f"trouble-{status}")
    # Trouble is remembered by model.
    model = "gpt-4o-mini" if stream else "gpt-4o"
    with pytest.raises(error) as raised:
        client.chat.completions.create(
            model=model, messages=say(f"!status {status}"), stream=stream
        )
    assert raised.value.status_code == seen
    check_refusal(raised.value, type=type, code=code)
    wait = raised.value.response.headers.get("retry-after")
    assert wait == ("2" if status == 429 else None)


def test_the_upstreams_content_filter(client, say, check_refusal):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=say("!status 400"))
    assert raised.value.param == "prompt"
    assert raised.value.code == "content_filter"
    assert raised.value.type == "invalid_request_error"
    assert set(raised.value.body) == {"message", "type", "param", "code"}


def test_an_answer_that_is_cut(client, say, check_refusal):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=say("Hello !cut"))
    assert raised.value.status_code == 502
    assert raised.value.type == "server_error"


def test_an_upstream_that_does_not_answer(connect, say, check_refusal):
    with pytest.raises(openai.InternalServerError) as raised:
        connect("hasty").chat.completions.create(model="gpt-4o", messages=say("!hang"))
    assert raised.value.status_code == 504
    check_refusal(raised.value, type="server_error", code="upstream_timeout")


def test_the_process_is_unharmed(client, say):
    assert client.chat.completions.create(model="gpt-4o", messages=say("Hello")).choices
