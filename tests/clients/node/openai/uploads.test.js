// Big bodies, and refusals of them while they are on their way.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APIError, AuthenticationError } from "openai";
import { picture, say } from "../messages.js";
import { refused, useClients } from "./client.js";

const connect = useClients();

const upload = (client, megabytes) =>
  client.chat.completions.create({
    model: "gpt-4o",
    messages: say([{ type: "image_url", image_url: { url: picture(megabytes) } }]),
    max_tokens: 5,
  });

test("a wrong key is heard over an upload", async () => {
  // A connection that is reset while the body is sent would be an `APIConnectionError`.
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const client = connect({ apiKey: "sk-wrong" });
    await refused(upload(client, 8), AuthenticationError, 401, { code: "invalid_api_key" });
  }
});

test("an upload that fits passes", async () => {
  const completion = await upload(connect(), 8);
  assert.equal(completion.choices[0].message.role, "assistant");
});

test("an upload that does not fit", () =>
  refused(upload(connect(), 17), APIError, 413, { code: "request_too_large" }));
