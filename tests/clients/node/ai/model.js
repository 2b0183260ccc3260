// The Vercel AI SDK, set up for tests.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError } from "ai";
import { useGateway } from "../gateway.js";
import { checkEnvelope } from "../messages.js";

/** Starts a gateway and makes models behind it. `model.attempts` counts requests. */
export function useModels() {
  const baseURL = useGateway();
  return (name = "gpt-4o", { region = "eu", apiKey = "sk-acme" } = {}) => {
    let attempts = 0;
    const counted = (...request) => {
      attempts += 1;
      return fetch(...request);
    };
    const model = createOpenAI({ baseURL: baseURL(region), apiKey, fetch: counted }).chat(name);
    return Object.defineProperty(model, "attempts", { get: () => attempts });
  };
}

/** Checks an error of the SDK, and all that it says. */
export function checkError(error, status, isRetryable, expected) {
  assert(APICallError.isInstance(error), String(error));
  assert.equal(error.name, "AI_APICallError");
  assert.equal(error.statusCode, status);
  assert.equal(error.isRetryable, isRetryable);
  const { error: inner } = JSON.parse(error.responseBody);
  checkEnvelope(inner, expected);
  // The SDK's schema has understood the body: otherwise this is the status text.
  assert.equal(error.message, inner.message);
  assert.deepEqual(error.data.error, inner);
  return error;
}

/** The error that a promise is rejected with. */
export const rejection = (promise) =>
  promise.then(
    () => assert.fail("it was not refused"),
    (error) => error,
  );
