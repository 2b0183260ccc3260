//! The service as a process, called by tonic's own client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::TryStreamExt;
use generated::{CompleteRequest, Completion, Delta, Message, chat_client::ChatClient};
use http_body_util::{BodyExt, Full};
use prost::Message as _;
use tollgate_stack_tests::{
    Example, ScriptedUpstream, broken_stream, good_upstream, http_client, soon, stalled_stream,
};
use tonic::{Code, Request, Streaming, transport::Channel};

#[allow(warnings, clippy::all, reason = "generated")]
#[path = "../src/generated/chat.v1.rs"]
#[rustfmt::skip]
mod generated;

async fn start(upstream: &ScriptedUpstream) -> (Example, ChatClient<Channel>) {
    let args = ["127.0.0.1:0", &upstream.url(), "azure-secret"];
    let example = Example::start(env!("CARGO_BIN_EXE_tonic-service"), &args).await;
    let address = format!("http://{}", example.address);
    let client = soon(ChatClient::connect(address)).await.unwrap();
    (example, client)
}

fn ask(key: &str, model: &str, content: &str) -> Request<CompleteRequest> {
    let message = Message {
        role: "user".to_owned(),
        content: content.to_owned(),
    };
    let mut request = Request::new(CompleteRequest {
        model: model.to_owned(),
        messages: vec![message],
        max_tokens: Some(100),
    });
    let key = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", key);
    request
}

const KEY: &str = "sk-acme-1";

/// A stream after its first word.
async fn begun(client: &mut ChatClient<Channel>) -> Streaming<Delta> {
    let answer = soon(client.stream(ask(KEY, "gpt-4o", "Hi?"))).await;
    let mut deltas = answer.unwrap().into_inner();
    let first = soon(deltas.message()).await.unwrap().unwrap();
    assert_eq!(first.content, "Hello");
    deltas
}

#[tokio::test]
async fn an_answer_in_one_piece() {
    let upstream = good_upstream().await;
    let (_example, mut client) = start(&upstream).await;
    let answer = soon(client.complete(ask(KEY, "best", "Hi?")))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().content, "Hello world");
    let request = upstream.received_one();
    assert_eq!(request.headers()["api-key"], "azure-secret");
    assert!(request.uri().path().contains("/gpt-4o-eu/"));
}

#[tokio::test]
async fn an_answer_as_it_comes() {
    let upstream = good_upstream().await;
    let (_example, mut client) = start(&upstream).await;
    let rest = begun(&mut client).await.try_collect::<Vec<_>>();
    let rest = soon(rest).await.unwrap();
    let texts: Vec<_> = rest.iter().map(|delta| delta.content.as_str()).collect();
    assert_eq!(texts, [" world", ""]);
}

#[tokio::test]
async fn half_an_answer_is_a_status() {
    let upstream = ScriptedUpstream::start(|_| broken_stream(&["Hello"])).await;
    let (_example, mut client) = start(&upstream).await;
    let mut deltas = begun(&mut client).await;
    let status = soon(deltas.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_caller_who_leaves_lets_the_upstream_go() {
    let upstream = ScriptedUpstream::start(|_| stalled_stream(&["Hello"])).await;
    let (_example, mut client) = start(&upstream).await;
    let deltas = begun(&mut client).await;
    drop(deltas);
    upstream.idle().await;
}

#[tokio::test]
async fn every_refusal_is_a_status() {
    let upstream = good_upstream().await;
    let (_example, mut client) = start(&upstream).await;
    let refused = soon(client.complete(ask("sk-guess", "gpt-4o", "Hi?")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = soon(client.stream(ask(KEY, "gpt-9", "Hi?")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(upstream.received().is_empty());

    let failed = soon(client.complete(ask(KEY, "gpt-4o", "break")))
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
    for _ in 0..5 {
        soon(client.complete(ask(KEY, "gpt-4o", "Hi?")))
            .await
            .unwrap();
    }
    let spent = soon(client.complete(ask(KEY, "gpt-4o", "Hi?")))
        .await
        .unwrap_err();
    assert_eq!(spent.code(), Code::ResourceExhausted);
}

/// Calls a method as a browser does.
async fn complete_over_web(address: SocketAddr, key: &str) -> (http::HeaderMap, Bytes) {
    let message = ask(key, "gpt-4o", "Hi?").into_inner().encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let request = http::Request::post(format!("http://{address}/chat.v1.Chat/Complete"))
        .header("content-type", "application/grpc-web+proto")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::<Bytes>::from(body))
        .unwrap();
    let response = soon(http_client().request(request)).await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/grpc-web+proto"
    );
    let (head, body) = response.into_parts();
    (head.headers, soon(body.collect()).await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_browser_is_served_and_refused() {
    let upstream = good_upstream().await;
    let (example, _client) = start(&upstream).await;
    let (_, body) = complete_over_web(example.address, KEY).await;
    assert_eq!(
        Completion::decode(&body[5..18]).unwrap().content,
        "Hello world"
    );
    let trailers = std::str::from_utf8(&body[23..]).unwrap();
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    let (headers, _) = complete_over_web(example.address, "sk-guess").await;
    assert_eq!(headers["grpc-status"], "16");
}

#[test]
fn the_generated_code_is_that_of_the_proto() {
    let package = env!("CARGO_MANIFEST_DIR");
    let proto = format!("{package}/proto");
    let files = protox::compile([format!("{proto}/chat.proto")], [proto]).unwrap();
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds(files)
        .unwrap();
    let fresh = std::fs::read_to_string(out.join("chat.v1.rs")).unwrap();
    let kept = include_str!("../src/generated/chat.v1.rs");
    assert!(
        fresh == kept,
        "copy {} to src/generated",
        out.join("chat.v1.rs").display()
    );
}
