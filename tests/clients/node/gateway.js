// The gateway as a process of its own, for the tests of one file.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before } from "node:test";

/**
 * Starts a gateway before the tests of this file and stops it afterwards, as an operator would.
 *
 * @param {() => string | Promise<string>} config makes the file that configures it
 * @returns {(region?: string) => string} the base URL of a region
 */
export function useGateway(config = () => join(CLIENTS, "gateway.toml")) {
  let address;
  let stop;
  before(async () => ({ address, stop } = await start(await config())));
  after(() => stop?.());
  return (region = "eu") => `${address}/openai/${region}/v1`;
}

async function start(config) {
  const gateway = spawn(binary(), ["--config", config], {
    env: { ...process.env, RUST_LOG: "debug" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  process.once("exit", () => gateway.kill("SIGKILL"));
  const exit = once(gateway, "exit");
  let log = "";
  gateway.stderr.setEncoding("utf8").on("data", (text) => (log += text));

  const [line] = await Promise.race([
    once(createInterface(gateway.stdout), "line", { signal: AbortSignal.timeout(START_MS) }),
    exit.then(() => [""]),
  ]);
  const [, address] = line.match(/^listening on (http:\/\/\S+)$/) ?? [];
  assert(address, `no greeting but '${line}'\n${log}`);

  const stop = async () => {
    assert.equal(gateway.exitCode, null, "the gateway did not survive the tests");
    gateway.kill("SIGTERM");
    const overdue = setTimeout(() => gateway.kill("SIGKILL"), STOP_MS);
    const [code] = await exit;
    clearTimeout(overdue);
    assert.equal(code, 0, "the gateway did not stop in order");
    assert(!log.includes("panicked"), log);
    assert(!/sk-|canary/.test(log), "the log holds what belongs to a caller");
  };
  return { address, stop };
}

/** The binary that `GATEWAY_BIN` names, or the one that was built last. */
function binary() {
  if (process.env.GATEWAY_BIN) return process.env.GATEWAY_BIN;
  const built = ["debug", "release"]
    .map((profile) => join(TARGET, profile, "gateway"))
    .filter((path) => existsSync(path))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  assert(built.length > 0, "there is no gateway: run `cargo build -p gateway`");
  return built[0];
}

const CLIENTS = join(import.meta.dirname, "..");
const TARGET = process.env.CARGO_TARGET_DIR ?? join(CLIENTS, "..", "..", "target");
const START_MS = 30_000;
const STOP_MS = 20_000;
