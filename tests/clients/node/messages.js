// What the tests say and how they look at refusals.

import assert from "node:assert/strict";

/** A conversation of one message. The simulated upstreams answer with an echo. */
export const say = (content) => [{ role: "user", content }];

/** A data URL of so many MiB. */
export const picture = (megabytes) =>
  "data:image/png;base64," + "A".repeat(megabytes * 1024 * 1024);

/** Checks that an error object is complete, says what is expected, and nothing that it must not. */
export function checkEnvelope(error, { type = "invalid_request_error", param = null, code = null }) {
  assert.deepEqual(Object.keys(error).sort(), ["code", "message", "param", "type"]);
  const { message, ...rest } = error;
  assert.deepEqual(rest, { type, param, code });
  assert(message);
  assert.doesNotMatch(message, /sk-|127\.0\.0\.1|simulated|azure/i);
}
