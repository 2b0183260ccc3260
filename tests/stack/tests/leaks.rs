//! Nothing of a key, an address or a deployment appears in an answer or in a log line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::json;
use tollgate_stack_tests::{
    Answer, Caller, KEY, Layers, Log, Reply, ScriptedUpstream, ask, ask_streamed, completion,
    gateway, serve, stream,
};

const WRONG_KEY: &str = "sk-wrong-fedcba9876543210";

/// What neither callers nor logs may see.
const SECRETS: [&str; 7] = [
    KEY,
    WRONG_KEY,
    "0123456789abcdef",
    "fedcba9876543210",
    "upstream-secret",
    "gpt-4o-deployment",
    "127.0.0.1",
];

/// An answer whose every part tells on its upstream.
fn telltale(status: u16, code: &str) -> Reply {
    let message =
        "Key upstream-secret is wrong for http://127.0.0.1/openai/deployments/gpt-4o-deployment.";
    Reply::json(json!({"error": {"code": code, "message": message}})).status(status)
}

fn with_telltale_headers(reply: Reply) -> Reply {
    let names = [
        "apim-request-id",
        "location",
        "operation-location",
        "server",
        "set-cookie",
        "via",
        "www-authenticate",
        "x-ms-deployment-name",
        "x-unheard-of",
    ];
    let value = "gpt-4o-deployment at 127.0.0.1 with upstream-secret";
    names
        .iter()
        .fold(reply, |reply, name| reply.header(*name, value))
}

const ANSWERS: [fn() -> Reply; 12] = [
    || completion("Hi!"),
    || stream(&["Hi!"]),
    || telltale(400, "content_filter"),
    || telltale(400, "unsupported_parameter"),
    || telltale(401, "401"),
    || telltale(403, "PermissionDenied"),
    || telltale(404, "DeploymentNotFound"),
    || telltale(429, "429"),
    || telltale(500, "InternalServerError"),
    || telltale(503, "ServiceUnavailable"),
    || Reply::json("{ }").close_after(1),
    || {
        let error =
            json!({"error": {"message": "upstream-secret at 127.0.0.1", "type": "server_error"}});
        Reply::sse([error])
    },
];

#[tokio::test]
async fn whatever_the_upstream_says() {
    let log = Log::start();
    for answer in ANSWERS {
        let upstream = ScriptedUpstream::start(move |_| with_telltale_headers(answer())).await;
        let caller = Caller::at(serve(gateway(&Layers::to(&upstream))).await);
        for body in [ask("Hi?"), ask_streamed("Hi?")] {
            assert_discreet(&caller.chat(&body).await);
        }
        assert!(!upstream.received().is_empty());
    }
    assert_logs_discreet(&log);
}

#[tokio::test]
async fn whatever_is_wrong_with_the_connection() {
    let log = Log::start();
    for upstream in [
        ScriptedUpstream::start(|_| Reply::hang_up()).await,
        ScriptedUpstream::start(|_| Reply::abort()).await,
        ScriptedUpstream::refusing(),
    ] {
        let caller = Caller::at(serve(gateway(&Layers::to(&upstream))).await);
        let answer = caller.chat(&ask("Hi?")).await;
        answer.assert_refused(502, Some("upstream_unavailable"));
        assert_discreet(&answer);
    }
    assert_logs_discreet(&log);
}

#[tokio::test]
async fn whatever_the_caller_sends() {
    let log = Log::start();
    let upstream = ScriptedUpstream::start(|_| completion("Hi!")).await;
    let caller = Caller::at(serve(gateway(&Layers::to(&upstream))).await);
    let chat = "/openai/eu/v1/chat/completions";
    for key in [KEY, WRONG_KEY, ""] {
        let caller = caller.clone().with_key(key);
        for body in [
            "{",
            "[]",
            "",
            r#"{"model":"gpt-4o"}"#,
            "{\"model\":\"gpt-9\",\"messages\":[]}",
        ] {
            assert_discreet(&caller.post(chat, body).await);
        }
        for path in [
            "/",
            "/openai/ch/v1/chat/completions",
            "/openai/us/v1/chat/completions",
        ] {
            assert_discreet(&caller.post(path, ask("Hi?").to_string()).await);
        }
    }
    assert!(upstream.received().is_empty());
    assert_logs_discreet(&log);
}

fn assert_discreet(answer: &Answer) {
    let all = format!(
        "{:?}\n{}",
        answer.headers,
        String::from_utf8_lossy(&answer.body)
    );
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in {} {all}", answer.status);
    }
}

fn assert_logs_discreet(log: &Log) {
    // Other crates log what they like at this level; ours have a target of their own.
    let text = log.text();
    for line in text.lines().filter(|line| line.contains("tollgate")) {
        for secret in SECRETS {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
