// streamText.

import assert from "node:assert/strict";
import { test } from "node:test";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { checkError, useModels } from "./model.js";

const model = useModels();

// The SDK reports errors by `onError` and in the stream; by default it prints them.
const stream = (options) => streamText({ onError: () => {}, maxRetries: 0, ...options });

test("text is streamed, with its usage", async () => {
  const answer = stream({ model: model(), prompt: "Hello" });
  const parts = await Array.fromAsync(answer.textStream);
  assert(parts.length > 3);
  assert.match(parts.join(""), /Hello$/);
  assert.equal(await answer.finishReason, "stop");
  const usage = await answer.usage;
  assert(usage.outputTokens > 0);
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
});

test("a tool is called, and its result comes back", async () => {
  const answer = stream({
    model: model(),
    prompt: "How is the weather in Berlin?",
    tools: {
      get_weather: tool({
        description: "The weather of a city.",
        inputSchema: z.object({ city: z.string(), days: z.number().int() }),
        execute: async () => "12 degrees",
      }),
    },
    stopWhen: stepCountIs(3),
  });
  const kinds = (await Array.fromAsync(answer.fullStream)).map((part) => part.type);
  assert(kinds.includes("tool-call") && kinds.includes("tool-result"), String(kinds));
  assert(!kinds.includes("error"), String(kinds));
  assert.match(await answer.text, /12 degrees/);
});

test("a stream that is cut ends in an error", async () => {
  const parts = await Array.fromAsync(stream({ model: model(), prompt: "Hello !cut" }).fullStream);
  const kinds = parts.map((part) => part.type);
  assert(kinds.includes("text-delta"), String(kinds));
  const { error } = parts.find((part) => part.type === "error");
  assert.match(JSON.stringify(error), /upstream_stream_truncated/);
});

test("an error before the first event is a status", async () => {
  const parts = await Array.fromAsync(stream({ model: model(), prompt: "!status 503" }).fullStream);
  const { error } = parts.find((part) => part.type === "error");
  checkError(error, 503, true, { type: "server_error" });
});
