//! Many streams at once: those that end, those that are left, and those that nobody reads.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use gateway::Gateway;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use support::{
    AMPLE, Caller, KEY, PATIENCE, Random, allow_files, ask_streamed, config_to, start_config,
    upstream::{Sent, await_stall, endless},
};
use tokio::time::{Instant, sleep, timeout};
use tollgate_stack_tests::{Latch, Reply, ScriptedUpstream, chunk};

async fn gateway(upstream: &ScriptedUpstream) -> Gateway {
    start_config(&config_to(upstream, AMPLE)).await
}

/// Waits until the metrics have these lines.
async fn await_metrics(gateway: &Gateway, lines: &[&str]) {
    let admin = Caller::at(gateway.admin_address().unwrap());
    let started = Instant::now();
    loop {
        let metrics = admin.get("/metrics").await;
        let has = |line: &&&str| metrics.text().lines().any(|l| l == **line);
        let Some(missing) = lines.iter().find(|line| !has(line)) else {
            return;
        };
        let waited = started.elapsed();
        assert!(waited < PATIENCE, "{missing} is not in\n{}", metrics.text());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_streams_that_are_left() {
    const STREAMS: usize = 1_000;
    const LEFT: usize = STREAMS / 10;
    const EVENTS: usize = 30;
    // Each stream is a connection to the upstream, and both its ends are here.
    allow_files(3 * STREAMS as u64);
    let all_are_open = Latch::new();
    let until_left = Reply::sse(vec![chunk("cat ", None); EVENTS])
        .header("connection", "close")
        .hold_at(0, &all_are_open)
        .pace(Duration::from_millis(10));
    let to_the_end = until_left
        .clone()
        .event(chunk("", Some("stop")))
        .event("[DONE]");
    // Each is left, or stays open for ever.
    let until_left = until_left.stall();
    let upstream = ScriptedUpstream::start(move |request| match &*request.text() {
        "To the end" => to_the_end.clone(),
        _ => until_left.clone(),
    })
    .await;
    let gateway = gateway(&upstream).await;
    // A hundred streams share a connection, and a stream that is left leaves the others alone.
    let clients: Vec<Client<_, Full<Bytes>>> = (0..STREAMS.div_ceil(100))
        .map(|_| {
            Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http()
        })
        .collect();
    // After how many events a stream is left, if it is: a tenth of them at random, of this seed.
    let mut random = Random(0x70_11_9a_7e);
    let mut leaves_after = vec![None; STREAMS];
    while leaves_after.iter().flatten().count() < LEFT {
        leaves_after[random.below(STREAMS)] = Some(random.below(EVENTS));
    }
    let calls = leaves_after
        .iter()
        .enumerate()
        .map(|(number, &leaves_after)| {
            let client = &clients[number / 100];
            let question = if leaves_after.is_none() {
                "To the end"
            } else {
                "Until I leave"
            };
            let request = Request::post(format!(
                "http://{}/openai/eu/v1/chat/completions",
                gateway.address()
            ))
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .body(Full::from(ask_streamed(question).to_string()))
            .unwrap();
            async move {
                let response = timeout(PATIENCE, client.request(request))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(response.status(), 200);
                let mut body = response.into_body();
                let (mut newlines, mut text) = (0, Vec::new());
                while leaves_after.is_none_or(|events| newlines < 2 * events) {
                    let Some(frame) = timeout(PATIENCE, body.frame()).await.unwrap() else {
                        break;
                    };
                    let data = frame.unwrap().into_data().unwrap();
                    newlines += data.iter().filter(|byte| **byte == b'\n').count();
                    text.extend_from_slice(&data);
                }
                if leaves_after.is_none() {
                    assert!(text.ends_with(b"data: [DONE]\n\n"));
                }
            }
        });
    let begin = async {
        upstream.called(STREAMS).await;
        all_are_open.open();
    };
    tokio::join!(join_all(calls), begin);
    await_metrics(
        &gateway,
        &[
            "tollgate_calls_in_flight 0",
            r#"tollgate_budget_open{workspace="acme",model="gpt-4o"} 0"#,
            r#"tollgate_upstream_outstanding{region="eu",upstream="sweden",model="gpt-4o"} 0"#,
            &format!(
                r#"tollgate_budget_requests_total{{workspace="acme",model="gpt-4o"}} {STREAMS}"#
            ),
            &format!(
                r#"tollgate_streams_total{{ending="complete"}} {}"#,
                STREAMS - LEFT
            ),
            &format!(r#"tollgate_streams_total{{ending="left"}} {LEFT}"#),
        ],
    )
    .await;
    upstream.disconnected().await;
}

#[tokio::test]
async fn who_does_not_read_holds_the_upstream_back() {
    let upstream = ScriptedUpstream::in_turn([endless()]).await;
    let gateway = gateway(&upstream).await;
    let caller = Caller::new(&gateway);
    let request = caller.chat_request("eu", &ask_streamed("Hello"));
    let response = caller.open(request).await;
    await_stall(&upstream, 0, 1).await;
    drop(response);
    await_metrics(&gateway, &["tollgate_calls_in_flight 0"]).await;
    upstream.disconnected().await;
}

#[tokio::test]
async fn an_event_without_an_end_is_cut() {
    let without_end = Reply::sse([chunk("Hello", None)])
        .data("data: ")
        .endless(vec![b'x'; 64 << 10]);
    let upstream = ScriptedUpstream::in_turn([without_end]).await;
    let gateway = gateway(&upstream).await;
    let answer = Caller::new(&gateway)
        .chat("eu", &ask_streamed("Hello"))
        .await;
    let (events, done) = answer.events();
    assert!(!done);
    let error = &events.last().unwrap()["error"];
    assert_eq!(error["type"], "server_error", "{events:?}");
    assert!(
        error["code"].as_str().unwrap().starts_with("upstream_"),
        "{error}"
    );
    assert_eq!(error["param"], json!(null));
    // What it would have said for ever is no longer listened to.
    timeout(Duration::from_secs(2), upstream.disconnected())
        .await
        .expect("the upstream is let go");
}

#[tokio::test]
async fn silence_in_the_middle_ends_a_stream() {
    let silent = Reply::sse([chunk("Hello", None)]).stall();
    let upstream = ScriptedUpstream::in_turn([silent]).await;
    let config = config_to(&upstream, "timeouts = { idle_ms = 200 }");
    let gateway = start_config(&config).await;
    let answer = Caller::new(&gateway)
        .chat("eu", &ask_streamed("Hello"))
        .await;
    let (events, done) = answer.events();
    assert!(!done);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1]["error"]["code"], "upstream_timeout");
}
