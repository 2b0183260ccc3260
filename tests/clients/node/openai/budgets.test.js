// Running out of requests and tokens. A minute is three seconds here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { RateLimitError } from "openai";
import { say } from "../messages.js";
import { read, refused, textOf, useClients } from "./client.js";

const connect = useClients();

const ask = (client, model, options) =>
  client.chat.completions.create({ model, messages: say("Hello"), ...options });

test("who does not retry is told when to", async () => {
  const client = connect({ apiKey: "sk-frugal" });
  await ask(client, "gpt-4o");
  const expected = { type: "requests", code: "rate_limit_exceeded" };
  const { headers } = await refused(ask(client, "gpt-4o"), RateLimitError, 429, expected);
  const wait = Number(headers.get("retry-after-ms"));
  // The minute, the slot in which it began, and up to a slot more to keep callers apart.
  assert(0 < wait && wait <= 3_100, String(wait));
  assert.equal(Number(headers.get("retry-after")), Math.ceil(wait / 1_000));
  assert.equal(headers.get("x-ratelimit-remaining-requests"), "0");
});

test("who retries gets through", async () => {
  // The SDK's own two retries are over within 1.5 s; whoever waits as told needs only one.
  const client = connect({ apiKey: "sk-frugal", maxRetries: 2 });
  await ask(client, "gpt-4o-mini");
  assert.equal(client.attempts, 1);
  const completion = await ask(client, "gpt-4o-mini");
  assert.match(completion.choices[0].message.content, /Hello$/);
  assert.equal(client.attempts, 3);
});

test("who retries a stream gets through", async () => {
  const client = connect({ apiKey: "sk-frugal", maxRetries: 2 });
  await ask(client, "gpt-35-turbo");
  const chunks = await read(await ask(client, "gpt-35-turbo", { stream: true }));
  assert.match(textOf(chunks), /Hello$/);
  assert.equal(client.attempts, 3);
});

test("what never fits is not tried again", async () => {
  const client = connect({ apiKey: "sk-small", maxRetries: 2 });
  const expected = { type: "tokens", code: "rate_limit_exceeded" };
  const asked = ask(client, "gpt-4o", { max_tokens: 2_000 });
  const { headers, message } = await refused(asked, RateLimitError, 429, expected);
  assert.match(message, /Request too large/);
  assert.equal(headers.get("x-should-retry"), "false");
  assert.equal(headers.get("retry-after-ms"), null);
  assert.equal(client.attempts, 1);
});
