"""The gateway as a process of its own."""

import os
import select
import subprocess
from contextlib import contextmanager
from pathlib import Path

CLIENTS = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", CLIENTS.parent.parent / "target"))


@contextmanager
def gateway(log, config=CLIENTS / "gateway.toml"):
    """Starts a gateway, yields its address, and stops it again as an operator would.

    What it writes to stderr goes to the file `log`.
    """
    command = [binary(), "--config", config]
    environment = os.environ | {"RUST_LOG": "debug"}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True
        )
    try:
        yield address(process, log)
        assert process.poll() is None, "the gateway did not survive the tests"
        process.terminate()
        assert process.wait(timeout=20) == 0, "the gateway did not stop in order"
    finally:
        process.kill()
        process.communicate()


def binary():
    """The binary that `GATEWAY_BIN` names, or the one that was built last."""
    if named := os.environ.get("GATEWAY_BIN"):
        return Path(named)
    built = [TARGET / profile / "gateway" for profile in ("debug", "release")]
    built = [path for path in built if path.exists()]
    assert built, "there is no gateway: run `cargo build -p gateway`"
    return max(built, key=lambda path: path.stat().st_mtime)


def address(process, log):
    """What the gateway's first line says."""
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if ready else ""
    greeting, _, url = line.strip().rpartition(" ")
    assert greeting == "listening on", f"no greeting but {line!r}:\n{log.read_text()}"
    return url


START_SECONDS = 30
