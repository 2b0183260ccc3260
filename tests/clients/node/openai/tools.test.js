// Tool calls, there and back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { say } from "../messages.js";
import { read, useClients } from "./client.js";

const connect = useClients();

const tool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, days: { type: "integer" } },
      required: ["city", "days"],
    },
  },
};

test("a round trip", async () => {
  const messages = say("How is the weather in Berlin?");
  const ask = () =>
    connect().chat.completions.create({ model: "gpt-4o", messages, tools: [tool] });
  const [choice] = (await ask()).choices;
  assert.equal(choice.finish_reason, "tool_calls");
  assert.equal(choice.message.tool_calls.length, 1);
  const [call] = choice.message.tool_calls;
  check(call.function.name, call.function.arguments);

  messages.push(choice.message, { role: "tool", tool_call_id: call.id, content: "12 degrees" });
  const [answer] = (await ask()).choices;
  assert.equal(answer.finish_reason, "stop");
  assert.match(answer.message.content, /12 degrees$/);
});

test("a streamed call is assembled", async () => {
  const stream = await connect().chat.completions.create({
    model: "gpt-4o",
    messages: say("The weather?"),
    tools: [tool],
    stream: true,
  });
  const chunks = await read(stream);
  const [first, ...rest] = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  assert(first.id && first.type === "function" && rest.length > 1);
  assert(rest.every((call) => call.index === first.index && !("id" in call)));
  check(first.function.name, rest.map((call) => call.function.arguments).join(""));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
});

test("the SDK's own loop calls the tool and comes back", async () => {
  const asked = [];
  const run = {
    type: "function",
    function: {
      ...tool.function,
      parse: JSON.parse,
      function: (weather) => {
        asked.push(weather);
        return "12 degrees";
      },
    },
  };
  const runner = connect().chat.completions.runTools({
    model: "gpt-4o",
    messages: say("The weather?"),
    tools: [run],
  });
  assert.match(await runner.finalContent(), /12 degrees$/);
  assert.equal(asked.length, 1);
});

function check(name, text) {
  assert.equal(name, "get_weather");
  const { city, days } = JSON.parse(text);
  assert.equal(typeof city, "string");
  assert(Number.isInteger(days));
}
