// Refusals of big bodies while they are on their way.

import { test } from "node:test";
import { generateText } from "ai";
import { picture } from "../messages.js";
import { checkError, rejection, useModels } from "./model.js";

const model = useModels();

test("a wrong key is heard over an upload", async () => {
  // A connection that is reset while the body is sent has no status at all.
  const image = { type: "file", data: picture(8), mediaType: "image/png" };
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const asked = generateText({
      model: model("gpt-4o", { apiKey: "sk-wrong" }),
      messages: [{ role: "user", content: [image] }],
      maxRetries: 0,
    });
    checkError(await rejection(asked), 401, false, { code: "invalid_api_key" });
  }
});
