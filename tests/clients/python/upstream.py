"""An upstream that streams the shared cases of the wire protocol, each at a path of its own."""

import base64
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"


def cases():
    """The streams, as `streams.jsonl` describes them."""
    with (FIXTURES / "streams.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


@contextmanager
def serving(cases):
    """Serves the cases, and yields the address."""
    pieces = {case["name"]: pieces_of(case) for case in cases}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream; charset=utf-8")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in pieces[self.path.split("/")[1]]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pieces_of(case):
    """What is sent, piece by piece."""
    decode = base64.b64decode if case["encoding"] == "base64" else str.encode
    return [piece for piece in map(decode, case["upstream_chunks"]) if piece]


def config(cases, address):
    """A gateway's configuration in which each case has a region of its own, so that none of them
    puts another's upstream into trouble."""
    regions = "".join(
        f"""
[[regions.{case["name"]}.upstreams]]
name = "{case["name"]}"
url = "{address}/{case["name"]}"
api_key = "key"
deployments = {{ gpt-4o = "deployment" }}
"""
        for case in cases
    )
    return f"""listen = "127.0.0.1:0"

[[workspaces]]
name = "acme"
api_keys = ["sk-acme"]

[models.gpt-4o]
{regions}"""
