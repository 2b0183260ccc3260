//! What every host must do with the whole stack.

use http::StatusCode;

use crate::{Answer, Caller, ScriptedUpstream, ask, ask_streamed, completion, error, stream};

/// An upstream that answers like a good one, except to a question about errors.
pub async fn good_upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(|request| match request.body() {
        body if contains(body, "break") => error(StatusCode::UNAUTHORIZED, "401"),
        body if contains(body, r#""stream":true"#) => stream(&["Hello", " world"]),
        _ => completion("Hello world"),
    })
    .await
}

/// Asserts that a gateway behind this caller is the whole stack: it passes on what is right, in the
/// upstream's terms, and refuses what is wrong, in OpenAI's.
///
/// # Panics
///
/// If it is not.
pub async fn check_gateway(caller: &Caller, upstream: &ScriptedUpstream) {
    let answer = caller.chat(&ask("Hi?")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json()["choices"][0]["message"]["content"],
        "Hello world"
    );
    assert_eq!(answer.headers["x-tollgate-region"], "eu");
    assert_eq!(answer.headers["x-tollgate-upstream"], "sweden");
    assert!(answer.headers.contains_key("x-request-id"));
    assert!(!answer.headers.contains_key("x-ms-region"));
    assert_eq!(answer.number("x-ratelimit-remaining-requests"), 4);
    let request = upstream.received_one();
    assert_eq!(
        request.uri().path_and_query().unwrap(),
        "/openai/deployments/gpt-4o-deployment/chat/completions?api-version=2024-10-21"
    );
    assert_eq!(request.headers()["api-key"], "upstream-secret");
    assert!(!request.headers().contains_key("authorization"));
    assert_eq!(request.body(), &ask("Hi?").to_string());

    // An alias, and a stream: both change the body, and nothing else in it changes.
    let spaced = r#"{ "messages":[{"role":"user","content":"\u0048i?"}], "model" : "best","stream":true, "seed": 1 }"#;
    let answer = caller.post("/openai/eu/v1/chat/completions", spaced).await;
    assert_eq!(answer.streamed_text(), "Hello world");
    assert_eq!(
        answer.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    assert_eq!(answer.number("x-ratelimit-remaining-requests"), 3);
    let sent = upstream.received().pop().unwrap().into_body();
    assert_eq!(
        sent,
        r#"{ "stream_options":{"include_usage":true},"messages":[{"role":"user","content":"\u0048i?"}], "model" : "gpt-4o","stream":true, "seed": 1 }"#,
    );

    check_refusals(caller, upstream).await;
}

async fn check_refusals(caller: &Caller, upstream: &ScriptedUpstream) {
    let chat = "/openai/eu/v1/chat/completions";
    let calls = upstream.received().len();
    let stranger = caller.clone().with_key("sk-guess");
    stranger
        .chat(&ask("Hi?"))
        .await
        .assert_refused(401, Some("invalid_api_key"));
    let elsewhere = caller.post("/openai/ch/v1/chat/completions", "{}").await;
    elsewhere.assert_refused(404, None);
    caller.post(chat, "{").await.assert_refused(400, None);
    let mut unknown = ask_streamed("Hi?");
    unknown["model"] = "gpt-9".into();
    let answer = caller.chat(&unknown).await;
    answer.assert_refused(404, Some("model_not_found"));
    // No upstream is configured for it.
    let answer = caller
        .post("/openai/us/v1/chat/completions", ask("Hi?").to_string())
        .await;
    answer.assert_refused(503, Some("upstream_unavailable"));
    assert_eq!(answer.headers["x-tollgate-region"], "us");
    assert_eq!(
        upstream.received().len(),
        calls,
        "a refused request reached the upstream"
    );

    let broken = caller.chat(&ask("break")).await;
    broken.assert_refused(502, Some("upstream_auth_failed"));
    assert!(!broken.text().contains("contoso"), "{broken:?}");

    // What was refused, or failed upstream, was not charged.
    assert_eq!(remaining(&caller.chat(&ask("Hi?")).await), 2);
    assert_eq!(remaining(&caller.chat(&ask("Hi?")).await), 1);
    assert_eq!(remaining(&caller.chat(&ask("Hi?")).await), 0);
    let spent = caller.chat(&ask("Hi?")).await;
    spent.assert_refused(429, Some("rate_limit_exceeded"));
    assert!(spent.number("retry-after-ms") > 0);
}

fn remaining(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.number("x-ratelimit-remaining-requests")
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}
