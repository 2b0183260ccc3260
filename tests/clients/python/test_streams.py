"""Answers in events."""

import time

import openai
import pytest


def read(stream):
    """The chunks of a stream, after checking what holds for all of them."""
    chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")
    assert chunks[0].model.startswith("gpt-4o")
    return chunks


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_stream_is_answered(client, say):
    stream = client.chat.completions.create(model="gpt-4o", messages=say("Hello"), stream=True)
    chunks = read(stream)
    # No look before the index, like most code that is written: Azure's first chunk breaks it.
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks).endswith("Hello")
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]


def test_usage_is_hidden_from_callers_who_did_not_ask(client, say):
    for options in ({}, {"stream_options": {"include_usage": False}}):
        stream = client.chat.completions.create(
            model="gpt-4o", messages=say("Hello"), stream=True, **options
        )
        for chunk in read(stream):
            assert len(chunk.choices) == 1
            assert "usage" not in chunk.model_fields_set


def test_usage_is_the_last_chunk_for_callers_who_asked(client, say):
    stream = client.chat.completions.create(
        model="gpt-4o",
        messages=say("Hello"),
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = read(stream)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert all("usage" in chunk.model_fields_set for chunk in chunks)
    assert last.choices == []
    assert last.usage.completion_tokens > 0
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens


def test_the_wire_holds_nothing_but_data(client, say):
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=say("Hello"), stream=True
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in response.headers
        assert int(response.headers["x-ratelimit-limit-requests"]) == 5_000
        events = b"".join(response.iter_bytes()).decode().split("\n\n")
    assert events.pop() == ""
    assert events.pop() == "data: [DONE]"
    assert all(event.startswith('data: {"') and "\n" not in event for event in events)
    assert "content_filter" not in "".join(events)


def test_the_streaming_helper_understands_the_events(client, say):
    with client.chat.completions.stream(model="gpt-4o", messages=say("Hello")) as stream:
        kinds = {event.type for event in stream}
        completion = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert completion.choices[0].message.content.endswith("Hello")


def test_chunks_arrive_while_the_upstream_writes(client, say):
    """Half a second lies between the upstream's chunks."""
    started = time.monotonic()
    stream = client.chat.completions.create(
        model="gpt-4o", messages=say("Hello !slow"), max_tokens=3, stream=True
    )
    arrivals = [time.monotonic() - started for _ in stream]
    assert len(arrivals) == 5
    assert arrivals[-1] - arrivals[0] > 1.5


def test_leaving_a_stream_leaves_the_client_usable(client, say):
    for _ in range(3):
        with client.chat.completions.create(
            model="gpt-4o", messages=say("Hello"), stream=True
        ) as stream:
            next(iter(stream))
    assert client.chat.completions.create(model="gpt-4o", messages=say("Hello")).choices


def test_a_stream_that_is_cut_ends_in_an_error(client, say):
    stream = client.chat.completions.create(model="gpt-4o", messages=say("Hello !cut"), stream=True)
    chunks = []
    with pytest.raises(openai.APIError) as raised:
        for chunk in stream:
            chunks.append(chunk)
    assert text_of(chunks).startswith("Hello from")
    assert raised.value.type == "server_error"
    assert raised.value.code == "upstream_stream_truncated"
    assert set(raised.value.body) == {"message", "type", "param", "code"}


def test_an_error_before_the_first_event_is_a_status(client, say):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=say("!status 503"), stream=True)
    assert raised.value.status_code == 503
