// AI_APICallError: its status, and whether the SDK would try again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { generateText } from "ai";
import { checkError, rejection, useModels } from "./model.js";

const model = useModels();

const refusal = (model, options) =>
  rejection(generateText({ model, prompt: "Hello", maxRetries: 0, ...options }));

test("a bad request", async () => {
  const error = await refusal(model(), { temperature: 3 });
  checkError(error, 400, false, { param: "temperature", code: "decimal_above_max_value" });
});

test("a wrong key", async () => {
  const error = await refusal(model("gpt-4o", { apiKey: "sk-wrong" }));
  checkError(error, 401, false, { code: "invalid_api_key" });
});

test("an unknown model", async () => {
  checkError(await refusal(model("gpt-9")), 404, false, { code: "model_not_found" });
});

test("an unknown region", async () => {
  const error = await refusal(model("gpt-4o", { region: "mars" }));
  assert.deepEqual([error.statusCode, error.isRetryable], [404, false]);
});

test("an upstream in trouble", async () => {
  const error = await refusal(model(), { prompt: "!status 500" });
  checkError(error, 500, true, { type: "server_error" });
});

test("a budget that is spent", async () => {
  const frugal = model("gpt-4o", { apiKey: "sk-frugal" });
  await generateText({ model: frugal, prompt: "Hello" });
  const error = await refusal(frugal);
  checkError(error, 429, true, { type: "requests", code: "rate_limit_exceeded" });
  assert(Number(error.responseHeaders["retry-after-ms"]) > 0);
});

test("who retries gets through", async () => {
  // The SDK by itself would try after 2 s, too early, and then 4 s later: a third request.
  const frugal = model("gpt-4o-mini", { apiKey: "sk-frugal" });
  await generateText({ model: frugal, prompt: "Hello" });
  const { text } = await generateText({ model: frugal, prompt: "Hello", maxRetries: 2 });
  assert.match(text, /Hello$/);
  assert.equal(frugal.attempts, 3);
});
