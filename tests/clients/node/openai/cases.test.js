// The shared cases of streams, as the SDK reads them through the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI, { APIError } from "openai";
import { CASES, useCases } from "../cases.js";
import { checkEnvelope, say } from "../messages.js";

const baseURL = useCases();

for (const { name, client, expect_client_events: expected, ...more } of CASES) {
  test(name, async () => {
    const openai = new OpenAI({
      baseURL: baseURL(name),
      apiKey: "sk-acme",
      maxRetries: 0,
      timeout: 20_000,
    });
    const request = { model: "gpt-4o", messages: say("Hello"), stream: true };
    if (client.include_usage) request.stream_options = { include_usage: true };
    const seen = [];
    let raised;
    try {
      for await (const chunk of await openai.chat.completions.create(request)) seen.push(chunk);
    } catch (error) {
      raised = error;
    }

    const relevant = (chunk) => {
      const kept = Object.entries(chunk).filter(([key]) => !more.ignore_keys?.includes(key));
      return Object.fromEntries(kept);
    };
    const wanted = expected.filter(({ data }) => data).map(({ data }) => data);
    assert.deepEqual(seen.map(relevant), wanted.map(relevant));

    const error = expected.find(({ error }) => error)?.error;
    if (!error) {
      assert.equal(raised, undefined);
      return;
    }
    assert(raised instanceof APIError, String(raised));
    if (expected[0].error) {
      // What fails before its first event is an answer with a status.
      assert(raised.status >= 400);
      const status = more.expect_if_peeking?.status;
      if (status) assert.equal(raised.status, status);
      const { type, param, code } = raised.error;
      checkEnvelope(raised.error, { type, param, code });
      return;
    }
    assert.equal(raised.status, undefined);
    const { message_contains: message = "", ...rest } = error;
    assert(raised.error.message.includes(message));
    for (const [key, value] of Object.entries(rest)) assert.equal(raised.error[key], value, key);
  });
}
