// The shared cases of streams, as the SDK reads them through the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";
import { CASES, useCases } from "../cases.js";

const baseURL = useCases();

for (const { name, expect_client_events: expected } of CASES) {
  test(name, async () => {
    const openai = createOpenAI({ baseURL: baseURL(name), apiKey: "sk-acme" });
    const answer = streamText({
      model: openai.chat("gpt-4o"),
      prompt: "Hello",
      maxRetries: 0,
      onError: () => {},
    });
    const parts = await Array.fromAsync(answer.fullStream);
    const errors = parts.filter(({ type }) => type === "error");
    const text = parts
      .filter(({ type }) => type === "text-delta")
      .map((part) => part.text)
      .join("");

    const chunks = expected.filter(({ data }) => data).map(({ data }) => data);
    // The SDK reads the first choice of each chunk.
    const wanted = chunks.map((chunk) => chunk.choices?.[0]?.delta?.content ?? "").join("");
    const error = expected.find(({ error }) => error)?.error;
    assert.equal(text, wanted);
    if (!error) {
      assert.deepEqual(errors, []);
      return;
    }
    assert.equal(errors.length, 1);
    if (expected[0].error) assert(errors[0].error.statusCode >= 400);
    else if (error.code) assert(JSON.stringify(errors[0].error).includes(error.code));
  });
}
