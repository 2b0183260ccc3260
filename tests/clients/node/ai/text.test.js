// generateText, generated objects and their tools.

import assert from "node:assert/strict";
import { test } from "node:test";
import { generateText, Output, stepCountIs, tool } from "ai";
import { z } from "zod";
import { useModels } from "./model.js";

const model = useModels();

test("text is generated", async () => {
  for (const region of ["eu", "us"]) {
    const { text, finishReason, usage, response } = await generateText({
      model: model("gpt-4o", { region }),
      system: "You are terse.",
      prompt: "Hello canary",
    });
    assert(text.includes(`the simulated ${region} upstream`), text);
    assert.match(text, /Hello canary$/);
    assert.equal(finishReason, "stop");
    assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
    assert.equal(response.headers["x-tollgate-region"], region);
    assert.match(response.headers["x-request-id"], /^req_/);
  }
});

test("the output cap is obeyed", async () => {
  const { finishReason, usage } = await generateText({
    model: model(),
    prompt: "Hello",
    maxOutputTokens: 3,
  });
  assert.equal(finishReason, "length");
  assert.equal(usage.outputTokens, 3);
});

test("a tool is called, and its result comes back", async () => {
  const asked = [];
  const { text, steps } = await generateText({
    model: model(),
    prompt: "How is the weather in Berlin?",
    tools: {
      get_weather: tool({
        description: "The weather of a city.",
        inputSchema: z.object({ city: z.string(), days: z.number().int() }),
        execute: async (input) => {
          asked.push(input);
          return "12 degrees";
        },
      }),
    },
    stopWhen: stepCountIs(3),
  });
  assert.deepEqual(
    steps.map((step) => step.finishReason),
    ["tool-calls", "stop"],
  );
  assert.equal(asked.length, 1);
  assert.equal(typeof asked[0].city, "string");
  assert.match(text, /12 degrees/);
});

test("structured output", async () => {
  const schema = z.object({ city: z.string(), degrees: z.number() });
  const { output } = await generateText({
    model: model(),
    prompt: "The weather?",
    output: Output.object({ schema }),
  });
  schema.parse(output);
});
