// Each class of error, as the SDK throws it.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from "openai";
import { say } from "../messages.js";
import { refused, useClients } from "./client.js";

const connect = useClients();

const ask = (client, options) =>
  client.chat.completions.create({ model: "gpt-4o", messages: say("Hello"), ...options });

const json = { type: "json_object" };
for (const [what, options, param, code] of [
  ["a number too high", { temperature: 3 }, "temperature", "decimal_above_max_value"],
  ["a wrong type", { temperature: "hot" }, "temperature", "invalid_type"],
  ["no messages", { messages: [] }, "messages", "empty_array"],
  ["a role unknown", { messages: [{ role: "bot" }] }, "messages[0].role", "invalid_value"],
  ["a key unknown", { bogus: 1 }, "bogus", "unknown_parameter"],
  ["two answers", { n: 2 }, "n", "unsupported_parameter"],
  ["a choice without tools", { tool_choice: "auto" }, "tool_choice", null],
  ["JSON mode without the word", { response_format: json }, "messages", null],
  ["no model", { model: undefined }, null, null],
]) {
  test(`a bad request names its parameter: ${what}`, () =>
    refused(ask(connect(), options), BadRequestError, 400, { param, code }));
}

test("a wrong key", async () => {
  const client = connect({ apiKey: "sk-wrong" });
  const expected = { code: "invalid_api_key" };
  await refused(ask(client), AuthenticationError, 401, expected);
  await refused(client.models.list(), AuthenticationError, 401, expected);
});

test("no key", async () => {
  const client = connect({ defaultHeaders: { authorization: null } });
  const error = await refused(ask(client), AuthenticationError, 401, {});
  assert.match(error.message, /API key/);
});

test("a model that is unknown or forbidden", async () => {
  const expected = { code: "model_not_found" };
  await refused(ask(connect(), { model: "gpt-9" }), NotFoundError, 404, expected);
  await refused(ask(connect({ apiKey: "sk-mini-only" })), NotFoundError, 404, expected);
});

test("an unknown region", () =>
  assert.rejects(ask(connect({ region: "mars" })), NotFoundError));

test("an unknown path", () =>
  assert.rejects(
    connect().embeddings.create({ model: "gpt-4o", input: "Hello" }),
    NotFoundError,
  ));

for (const [status, kind, seen, type, code] of [
  [401, InternalServerError, 502, "server_error", "upstream_auth_failed"],
  [404, InternalServerError, 502, "server_error", "upstream_deployment_not_found"],
  [429, RateLimitError, 429, "tokens", "rate_limit_exceeded"],
  [500, InternalServerError, 500, "server_error", null],
  [503, InternalServerError, 503, "server_error", null],
]) {
  test(`the upstream's ${status} becomes our ${seen}`, async () => {
    const client = connect({ region: `trouble-${status}` });
    const messages = say(`!status ${status}`);
    await refused(ask(client, { messages }), kind, seen, { type, code });
    // Trouble is remembered by model.
    const stream = { model: "gpt-4o-mini", messages, stream: true };
    await refused(ask(client, stream), kind, seen, { type, code });
  });
}

test("an upstream that does not answer", () =>
  refused(
    ask(connect({ region: "hasty" }), { messages: say("!hang") }),
    InternalServerError,
    504,
    { type: "server_error", code: "upstream_timeout" },
  ));
