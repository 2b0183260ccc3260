//! The proxy as a process, between a caller and a model server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use tollgate_stack_tests::{Caller, Example, ask, ask_streamed, good_upstream};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_model_server_behind_a_proxy() {
    let server = good_upstream().await;
    let base_url = format!("{}/v1", server.url());
    let args = ["127.0.0.1:0", &base_url, "llama"];
    let proxy = Example::start(env!("CARGO_BIN_EXE_hyper-proxy"), &args).await;
    let caller = Caller::at(proxy.address);

    let answer = caller.post(CHAT, ask("Hi?").to_string()).await;
    assert_eq!(
        answer.json()["choices"][0]["message"]["content"],
        "Hello world"
    );
    let request = server.received_one();
    assert_eq!(request.uri().path(), CHAT);
    assert_eq!(
        request.body(),
        &ask("Hi?").to_string().replace("gpt-4o", "llama")
    );

    let answer = caller.post(CHAT, ask_streamed("Hi?").to_string()).await;
    assert_eq!(answer.streamed_text(), "Hello world");

    // The server's own answer to this would be in words of its own.
    let broken = caller.post(CHAT, ask("break").to_string()).await;
    broken.assert_refused(502, Some("upstream_auth_failed"));
    caller.post(CHAT, "{}").await.assert_refused(400, None);
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn a_model_server_that_is_not_there() {
    let args = ["127.0.0.1:0", "http://127.0.0.1:1/v1"];
    let proxy = Example::start(env!("CARGO_BIN_EXE_hyper-proxy"), &args).await;
    let answer = Caller::at(proxy.address)
        .post(CHAT, ask("Hi?").to_string())
        .await;
    answer.assert_refused(502, Some("upstream_unavailable"));
}
