//! Many streams at once: those that end, those that are left, and those that nobody reads.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use gateway::Gateway;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use support::{
    Caller, KEY, PATIENCE, Random, allow_files, ask_streamed, config_to, start_config,
    upstream::{Reply, Upstream, await_no_connections, await_stall, chunk},
};
use tokio::{
    sync::Barrier,
    time::{Instant, sleep, timeout},
};

async fn gateway(upstream: &Upstream) -> Gateway {
    start_config(&config_to(upstream)).await
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
    let all_are_open = Arc::new(Barrier::new(STREAMS));
    let upstream = Upstream::start(move |request| {
        let (sender, mut reply) = Reply::open();
        let close = ("connection".to_owned(), "close".to_owned());
        reply.headers.push(close);
        let all_are_open = Arc::clone(&all_are_open);
        let ends = request.text() == "To the end";
        tokio::spawn(async move {
            all_are_open.wait().await;
            for _ in 0..EVENTS {
                let event = format!("data: {}\n\n", chunk("cat ", None));
                if sender.send(Some(event.into())).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
            if ends {
                let last = format!("data: {}\n\ndata: [DONE]\n\n", chunk("", Some("stop")));
                let _ = sender.send(Some(last.into())).await;
            } else {
                // It is left, or it stays open for ever.
                sender.closed().await;
            }
        });
        reply
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
    join_all(calls).await;
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
    await_no_connections(&upstream).await;
}

#[tokio::test]
async fn who_does_not_read_holds_the_upstream_back() {
    let (upstream, sent) = Upstream::endless().await;
    let gateway = gateway(&upstream).await;
    let caller = Caller::new(&gateway);
    let request = caller.chat_request("eu", &ask_streamed("Hello"));
    let response = caller.open(request).await;
    await_stall(&sent, 1).await;
    drop(response);
    await_metrics(&gateway, &["tollgate_calls_in_flight 0"]).await;
    await_no_connections(&upstream).await;
}

#[tokio::test]
async fn an_event_without_an_end_is_cut() {
    let upstream = Upstream::start(|_| {
        let (sender, reply) = Reply::open();
        tokio::spawn(async move {
            let first = format!("data: {}\n\ndata: ", chunk("Hello", None));
            let _ = sender.send(Some(first.into())).await;
            let endless = Bytes::from(vec![b'x'; 64 << 10]);
            while sender.send(Some(endless.clone())).await.is_ok() {}
        });
        reply
    })
    .await;
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
    let left = Instant::now();
    while upstream.connections() > 0 {
        assert!(
            left.elapsed() < Duration::from_secs(2),
            "the upstream goes on"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn silence_in_the_middle_ends_a_stream() {
    let upstream = Upstream::start(|_| {
        let (sender, reply) = Reply::open();
        tokio::spawn(async move {
            let first = format!("data: {}\n\n", chunk("Hello", None));
            let _ = sender.send(Some(first.into())).await;
            sleep(Duration::from_secs(60)).await;
        });
        reply
    })
    .await;
    let text = format!(
        r#"
listen = "127.0.0.1:0"
token_counts = "estimate"
[[workspaces]]
name = "acme"
api_keys = ["{KEY}"]
[models.gpt-4o]
[[regions.eu.upstreams]]
name = "sweden"
url = "{}"
api_key = "upstream-key"
deployments = {{ gpt-4o = "of-4o" }}
timeouts = {{ idle_ms = 200 }}
"#,
        upstream.url
    );
    let gateway = start_config(&text).await;
    let answer = Caller::new(&gateway)
        .chat("eu", &ask_streamed("Hello"))
        .await;
    let (events, done) = answer.events();
    assert!(!done);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1]["error"]["code"], "upstream_timeout");
}
