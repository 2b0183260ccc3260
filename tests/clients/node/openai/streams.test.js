// Answers in events.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APIError, InternalServerError } from "openai";
import { say } from "../messages.js";
import { read, refused, textOf, useClients } from "./client.js";

const connect = useClients();

const open = (text, options) =>
  connect().chat.completions.create({
    model: "gpt-4o",
    messages: say(text),
    stream: true,
    ...options,
  });

test("a stream is answered, and hides usage from who did not ask", async () => {
  for (const options of [{}, { stream_options: { include_usage: false } }]) {
    const chunks = await read(await open("Hello", options));
    assert.equal(new Set(chunks.map(({ id, created, model }) => id + created + model)).size, 1);
    assert.match(chunks[0].id, /^chatcmpl-/);
    // No look before the index, like most code that is written: Azure's first chunk breaks it.
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.match(textOf(chunks), /Hello$/);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    for (const chunk of chunks) {
      assert.equal(chunk.choices.length, 1);
      assert(!("usage" in chunk) && !("prompt_filter_results" in chunk));
      assert(!("content_filter_results" in chunk.choices[0]));
    }
  }
});

test("usage is the last chunk for who asked", async () => {
  const chunks = await read(await open("Hello", { stream_options: { include_usage: true } }));
  const last = chunks.pop();
  assert(chunks.every((chunk) => chunk.choices.length === 1 && chunk.usage === null));
  assert.deepEqual(last.choices, []);
  const { prompt_tokens, completion_tokens, total_tokens } = last.usage;
  assert(completion_tokens > 0);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

test("the streaming helper understands the events", async () => {
  const stream = connect().chat.completions.stream({ model: "gpt-4o", messages: say("Hello") });
  assert.match(await stream.finalContent(), /Hello$/);
  assert.equal((await stream.finalChatCompletion()).choices[0].finish_reason, "stop");
});

test("chunks arrive while the upstream writes", async () => {
  // Half a second lies between the upstream's chunks.
  const started = performance.now();
  const arrivals = [];
  for await (const _ of await open("Hello !slow", { max_tokens: 3 })) {
    arrivals.push(performance.now() - started);
  }
  assert.equal(arrivals.length, 5);
  assert(arrivals.at(-1) - arrivals[0] > 1_500, String(arrivals));
});

test("leaving a stream leaves the gateway usable", async () => {
  for (let round = 0; round < 3; round += 1) {
    const stream = await open("Hello");
    for await (const _ of stream) stream.controller.abort();
  }
  assert.match(textOf(await read(await open("Hello"))), /Hello$/);
});

test("a stream that is cut ends in an error", async () => {
  const chunks = [];
  await assert.rejects(
    async () => {
      for await (const chunk of await open("Hello !cut")) chunks.push(chunk);
    },
    (error) => {
      assert(error instanceof APIError);
      assert.equal(error.type, "server_error");
      assert.equal(error.code, "upstream_stream_truncated");
      return true;
    },
  );
  assert.match(textOf(chunks), /^Hello from/);
});

test("an error before the first event is a status", () =>
  refused(open("!status 503"), InternalServerError, 503, { type: "server_error" }));
