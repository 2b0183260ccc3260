// The list of models.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NotFoundError } from "openai";
import { refused, useClients } from "./client.js";

const connect = useClients();

test("the list", async () => {
  for (const region of ["eu", "us"]) {
    const models = await Array.fromAsync(connect({ region }).models.list());
    const ids = models.map((model) => model.id).sort();
    assert.deepEqual(ids, ["gpt-35-turbo", "gpt-4", "gpt-4o", "gpt-4o-mini"]);
    assert(models.every((model) => model.object === "model" && model.owned_by));
  }
});

test("the list holds what the workspace may use", async () => {
  const { data } = await connect({ apiKey: "sk-mini-only" }).models.list();
  assert.deepEqual(data.map((model) => model.id), ["gpt-4o-mini"]);
});

test("one model", async () => {
  assert.equal((await connect().models.retrieve("gpt-4o")).id, "gpt-4o");
  const expected = { code: "model_not_found" };
  await refused(connect().models.retrieve("gpt-9"), NotFoundError, 404, expected);
});
