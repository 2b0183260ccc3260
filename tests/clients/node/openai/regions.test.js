// The region is the one in the address.

import assert from "node:assert/strict";
import { test } from "node:test";
import { say } from "../messages.js";
import { read, textOf, useClients } from "./client.js";

const connect = useClients();

for (const [region, upstream] of [
  ["eu", "sweden"],
  ["us", "virginia"],
]) {
  test(`${region} is answered in ${region}`, async () => {
    const { data, response } = await connect({ region })
      .chat.completions.create({ model: "gpt-4o", messages: say("Hello") })
      .withResponse();
    assert.equal(response.headers.get("x-tollgate-region"), region);
    assert.equal(response.headers.get("x-tollgate-upstream"), upstream);
    assert(data.choices[0].message.content.includes(`the simulated ${region} upstream`));
  });

  test(`${region} is streamed from ${region}`, async () => {
    const { data, response } = await connect({ region })
      .chat.completions.create({ model: "gpt-4o", messages: say("Hello"), stream: true })
      .withResponse();
    assert.equal(response.headers.get("x-tollgate-region"), region);
    assert(textOf(await read(data)).includes(`the simulated ${region} upstream`));
  });
}
