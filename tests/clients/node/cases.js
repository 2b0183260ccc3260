// The shared cases of streams: an upstream that sends them, and a gateway in front of it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { useGateway } from "./gateway.js";

/** The streams, as `streams.jsonl` describes them. */
export const CASES = readFileSync(
  join(import.meta.dirname, "..", "..", "fixtures", "streams.jsonl"),
  "utf8",
)
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));

/**
 * Starts an upstream and a gateway in which each case has a region of its own, so that none of
 * them puts another's upstream into trouble.
 *
 * @returns {(name: string) => string} the base URL of a case
 */
export function useCases() {
  const pieces = new Map(CASES.map((one) => [one.name, piecesOf(one)]));
  const upstream = createServer((request, response) => {
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
      for (const piece of pieces.get(request.url.split("/")[1])) response.write(piece);
      response.end();
    });
  });
  const directory = mkdtempSync(join(tmpdir(), "gateway-"));
  after(() => {
    upstream.close();
    upstream.closeAllConnections();
    rmSync(directory, { recursive: true });
  });
  return useGateway(async () => {
    await new Promise((listening) => upstream.listen(0, "127.0.0.1", listening));
    const file = join(directory, "gateway.toml");
    writeFileSync(file, config(`http://127.0.0.1:${upstream.address().port}`));
    return file;
  });
}

const piecesOf = ({ encoding, upstream_chunks }) =>
  upstream_chunks
    .map((piece) => Buffer.from(piece, encoding === "base64" ? "base64" : "utf8"))
    .filter((piece) => piece.length > 0);

function config(address) {
  const regions = CASES.map(
    ({ name }) => `
[[regions.${name}.upstreams]]
name = "${name}"
url = "${address}/${name}"
api_key = "key"
deployments = { gpt-4o = "deployment" }
`,
  );
  return `listen = "127.0.0.1:0"

[[workspaces]]
name = "acme"
api_keys = ["sk-acme"]

[models.gpt-4o]
${regions.join("")}`;
}
