// Answers in one piece.

import assert from "node:assert/strict";
import { test } from "node:test";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { say } from "../messages.js";
import { read, textOf, useClients } from "./client.js";

const connect = useClients();

test("a completion is answered", async () => {
  const completion = await connect().chat.completions.create({
    model: "gpt-4o",
    messages: say("Hello canary"),
  });
  assert.equal(completion.object, "chat.completion");
  assert.match(completion.id, /^chatcmpl-/);
  assert.match(completion.model, /^gpt-4o/);
  assert.equal(completion.choices.length, 1);
  const [choice] = completion.choices;
  assert.equal(choice.finish_reason, "stop");
  assert.equal(choice.message.role, "assistant");
  assert.match(choice.message.content, /Hello canary$/);
  assert(!("content_filter_results" in choice) && !("prompt_filter_results" in completion));
  const { prompt_tokens, completion_tokens, total_tokens } = completion.usage;
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
  assert.match(completion._request_id, /^req_/);
});

test("every answer says what is left", async () => {
  const { response } = await connect()
    .chat.completions.create({ model: "gpt-4o", messages: say("Hello") })
    .withResponse();
  for (const [unit, limit] of Object.entries({ requests: 5_000, tokens: 10_000_000 })) {
    assert.equal(Number(response.headers.get(`x-ratelimit-limit-${unit}`)), limit);
    assert(Number(response.headers.get(`x-ratelimit-remaining-${unit}`)) < limit);
    assert.match(response.headers.get(`x-ratelimit-reset-${unit}`), /s$/);
  }
});

test("the output cap is obeyed", async () => {
  for (const cap of [{ max_tokens: 3 }, { max_completion_tokens: 3 }]) {
    const completion = await connect().chat.completions.create({
      model: "gpt-4o",
      messages: say("Hello"),
      ...cap,
    });
    assert.equal(completion.choices[0].finish_reason, "length");
    assert.equal(completion.usage.completion_tokens, 3);
  }
});

test("JSON mode", async () => {
  const completion = await connect().chat.completions.create({
    model: "gpt-4o",
    messages: say("Answer in JSON."),
    response_format: { type: "json_object" },
  });
  assert.equal(typeof JSON.parse(completion.choices[0].message.content), "object");
});

test("structured output", async () => {
  const Weather = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() });
  const completion = await connect().chat.completions.parse({
    model: "gpt-4o",
    messages: say("The weather?"),
    response_format: zodResponseFormat(Weather, "weather"),
  });
  Weather.parse(completion.choices[0].message.parsed);
});

test("many callers at once get their own answers", async () => {
  const client = connect();
  const ask = async (number) => {
    const stream = await client.chat.completions.create({
      model: "gpt-4o",
      messages: say(`Number ${number}`),
      stream: true,
    });
    return textOf(await read(stream));
  };
  const answers = await Promise.all(Array.from({ length: 50 }, (_, number) => ask(number)));
  answers.forEach((text, number) => assert(text.endsWith(` Number ${number}`), text));
});
