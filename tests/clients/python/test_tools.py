"""Tool calls, there and back."""

import json

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


def test_a_round_trip(client, say):
    messages = say("How is the weather in Berlin?")
    asked = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[TOOL])
    [choice] = asked.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    check_call(call.function.name, call.function.arguments)

    # The whole message object goes back, with all members that the SDK gave it.
    result = {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"}
    messages += [choice.message, result]
    answered = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[TOOL])
    assert answered.choices[0].finish_reason == "stop"
    assert answered.choices[0].message.content.endswith("12 degrees")


def test_a_streamed_call_is_assembled(client, say):
    stream = client.chat.completions.create(
        model="gpt-4o", messages=say("The weather?"), tools=[TOOL], stream=True
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    [first, *rest] = [call for delta in deltas for call in delta.tool_calls or []]
    assert first.id and first.type == "function"
    assert all(call.index == first.index and call.id is None for call in rest)
    assert len(rest) > 1
    check_call(first.function.name, "".join(call.function.arguments for call in rest))
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_named_tool_is_called(client, say):
    other = {"type": "function", "function": {"name": "other"}}
    completion = client.chat.completions.create(
        model="gpt-4o",
        messages=say("The weather?"),
        tools=[other, TOOL],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        parallel_tool_calls=True,
    )
    [call] = completion.choices[0].message.tool_calls
    check_call(call.function.name, call.function.arguments)


def test_no_tool_is_called_against_the_callers_will(client, say):
    completion = client.chat.completions.create(
        model="gpt-4o", messages=say("The weather?"), tools=[TOOL], tool_choice="none"
    )
    assert completion.choices[0].message.tool_calls is None


def check_call(name, arguments):
    assert name == "get_weather"
    arguments = json.loads(arguments)
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)
