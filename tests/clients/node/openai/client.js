// openai-node, set up for tests.

import assert from "node:assert/strict";
import OpenAI, { APIError } from "openai";
import { useGateway } from "../gateway.js";
import { checkEnvelope } from "../messages.js";

/**
 * Starts a gateway and makes clients of it. They try once, so that no retry hides a fault, unless
 * told otherwise; `client.attempts` counts.
 */
export function useClients() {
  const baseURL = useGateway();
  return ({ region = "eu", apiKey = "sk-acme", ...options } = {}) => {
    let attempts = 0;
    const client = new OpenAI({
      baseURL: baseURL(region),
      apiKey,
      maxRetries: 0,
      timeout: 20_000,
      fetch: (...request) => {
        attempts += 1;
        return fetch(...request);
      },
      ...options,
    });
    return Object.defineProperty(client, "attempts", { get: () => attempts });
  };
}

/** Checks the class of the error that a promise is rejected with, and all that it says. */
export async function refused(promise, kind, status, expected) {
  const error = await promise.then(
    () => assert.fail("it was not refused"),
    (error) => error,
  );
  assert(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert(error instanceof APIError);
  assert.equal(error.status, status);
  assert.match(error.requestID, /^req_/);
  assert.equal(error.headers.get("content-type"), "application/json");
  checkEnvelope(error.error, expected);
  const { type = "invalid_request_error", param = null, code = null } = expected;
  assert.deepEqual([error.type, error.param, error.code], [type, param, code]);
  return error;
}

/** All chunks of a stream. */
export const read = (stream) => Array.fromAsync(stream);

/** The text in chunks. */
export const textOf = (chunks) =>
  chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
