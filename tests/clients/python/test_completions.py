"""Answers in one piece."""

import json

import openai
from pydantic import BaseModel

from conftest import CANARY


def test_a_completion_is_answered(client, say):
    completion = client.chat.completions.create(model="gpt-4o", messages=say(f"Hello {CANARY}"))
    assert completion.object == "chat.completion"
    assert completion.id.startswith("chatcmpl-")
    assert completion.model.startswith("gpt-4o")
    [choice] = completion.choices
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert choice.message.content.endswith(f"Hello {CANARY}")
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


def test_content_filter_results_stay_in_the_gateway(client, say):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=say("Hello"))
    assert "content_filter" not in raw.text
    assert "prompt_filter" not in raw.text
    for header in raw.headers:
        assert not header.startswith(("x-ms-", "apim-", "azureml-")), header


def test_every_answer_has_an_id_and_says_what_is_left(client, say):
    create = client.chat.completions.with_raw_response.create
    first, second = (create(model="gpt-4o", messages=say("Hello")) for _ in range(2))
    assert first.request_id.startswith("req_")
    assert first.request_id != second.request_id
    assert first.parse()._request_id == first.request_id
    for unit, limit in (("requests", 5_000), ("tokens", 10_000_000)):
        assert int(first.headers[f"x-ratelimit-limit-{unit}"]) == limit
        assert 0 <= int(first.headers[f"x-ratelimit-remaining-{unit}"]) < limit
        assert first.headers[f"x-ratelimit-reset-{unit}"].endswith("s")


def test_the_output_cap_is_obeyed(client, say):
    for cap in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        completion = client.chat.completions.create(model="gpt-4o", messages=say("Hello"), **cap)
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage.completion_tokens == 3


def test_every_parameter_that_is_documented_passes(client, say):
    completion = client.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "You are terse."},
            {"role": "user", "name": "ada", "content": [{"type": "text", "text": "Hällo, 世界 🙂"}]},
        ],
        frequency_penalty=-2,
        logit_bias={"50256": -100},
        logprobs=True,
        max_tokens=100,
        presence_penalty=2,
        response_format={"type": "text"},
        seed=-(2**63),
        stop=["END", "STOP"],
        temperature=2,
        top_logprobs=20,
        top_p=0,
        user="user-1",
    )
    assert completion.choices[0].message.content.endswith("Hällo, 世界 🙂")


def test_spelling_out_the_defaults_is_harmless(client, say):
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=say("Hello"), n=1, service_tier="auto"
    )
    assert raw.parse().choices[0].finish_reason == "stop"
    absorbed = {name.strip() for name in raw.headers["x-tollgate-absorbed"].split(",")}
    assert absorbed == {"n", "service_tier"}


def test_json_mode(client, say):
    completion = client.chat.completions.create(
        model="gpt-4o",
        messages=say("Answer in JSON."),
        response_format={"type": "json_object"},
    )
    assert isinstance(json.loads(completion.choices[0].message.content), dict)


def test_structured_output(client, say):
    class Weather(BaseModel):
        city: str
        degrees: float
        sunny: bool

    completion = client.chat.completions.parse(
        model="gpt-4o", messages=say("The weather?"), response_format=Weather
    )
    assert isinstance(completion.choices[0].message.parsed, Weather)


def test_images_pass(client):
    pixel = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk"
        "+A8AAQUBAScY42YAAAAASUVORK5CYII="
    )
    parts = [
        {"type": "image_url", "image_url": {"url": pixel, "detail": "low"}},
        {"type": "text", "text": "What is this?"},
    ]
    messages = [{"role": "user", "content": parts}]
    completion = client.chat.completions.create(model="gpt-4o", messages=messages)
    assert completion.choices[0].message.content.endswith("What is this?")


def test_many_callers_at_once_get_their_own_answers(gateway, say):
    import asyncio

    async def ask(client, number):
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=say(f"Number {number}"), stream=True
        )
        text = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return "".join(text)

    async def ask_all():
        base_url = f"{gateway}/openai/eu/v1"
        async with openai.AsyncOpenAI(
            base_url=base_url, api_key="sk-acme", max_retries=0, timeout=20
        ) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(50)))

    for number, text in enumerate(asyncio.run(ask_all())):
        assert text.endswith(f" Number {number}")
