"""One gateway for all tests, and clients of it."""

import json

import openai
import pytest

import server


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """The gateway's address."""
    log = tmp_path_factory.mktemp("gateway") / "stderr"
    with server.gateway(log) as address:
        yield address
    said = log.read_text()
    assert "panicked" not in said
    for secret in ("sk-", CANARY):
        assert secret not in said, "the log holds what belongs to a caller"


@pytest.fixture
def connect(gateway):
    """Makes clients. They try once, so that no retry hides a fault, unless told otherwise."""
    clients = []

    def connect(region="eu", api_key="sk-acme", **options):
        options = {"max_retries": 0, "timeout": 20, **options}
        client = openai.OpenAI(
            base_url=f"{gateway}/openai/{region}/v1", api_key=api_key, **options
        )
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect):
    """A client in `eu` whose requests pass."""
    return connect()


@pytest.fixture
def say():
    """Makes a conversation of one message. The simulated upstreams answer with an echo."""
    return lambda text: [{"role": "user", "content": text}]


@pytest.fixture
def check_refusal():
    """Checks an error of the SDK: what it is about, and that the envelope is complete."""

    def check(error, *, type="invalid_request_error", param=None, code=None):
        assert (error.type, error.param, error.code) == (type, param, code), error.body
        assert set(error.body) == {"message", "type", "param", "code"}
        assert error.body["message"]
        assert error.request_id.startswith("req_")
        assert error.response.headers["content-type"] == "application/json"
        seen = json.dumps([error.body, list(error.response.headers.items())])
        for secret in ("sk-", "127.0.0.1", "simulated", "azure"):
            assert secret not in seen.lower(), f"{secret} in {seen}"

    return check


# Stands in prompts, and must not turn up in logs.
CANARY = "canary-7f3a"
