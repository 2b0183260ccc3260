//! What callers who do not read cost the process.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use support::{
    AMPLE, Caller, PATIENCE, allow_files, ask_streamed, config_to,
    process::{File, Running},
    upstream::{await_stall, endless},
};
use tokio::time::timeout;
use tollgate_stack_tests::ScriptedUpstream;

const CLIENTS: usize = 200;

/// What the process may hold for each, in kB: the buffers of two connections, and some pieces of
/// an answer.
const MOST: usize = 512;

#[tokio::test]
async fn who_does_not_read_holds_no_memory() {
    // Each client is a connection to the gateway, and has one to the upstream.
    allow_files(8 * CLIENTS as u64);
    let upstream = ScriptedUpstream::in_turn([endless()]).await;
    let config = config_to(&upstream, AMPLE);
    let file = File::new("memory.toml", &config);
    for over_http2 in [false, true] {
        let running = Running::start(&["--config", file.path()]);
        let before = running.memory();
        let sent_before = upstream.sent();
        let mut answers = Vec::new();
        while answers.len() < CLIENTS {
            // A connection has room for so many streams.
            let client = client(over_http2);
            for _ in 0..if over_http2 { 100 } else { 1 } {
                let answer = timeout(PATIENCE, client.request(request(&running))).await;
                answers.push(answer.unwrap().unwrap());
            }
        }
        await_stall(&upstream, sent_before, CLIENTS as u64).await;
        let each = (running.memory() - before) / CLIENTS;
        assert!(each < MOST, "{each} kB for each client");
        drop(answers);
        upstream.disconnected().await;
    }
}

fn client(over_http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_recv_buffer_size(Some(4 << 10));
    Client::builder(TokioExecutor::new())
        .http2_only(over_http2)
        .http2_initial_stream_window_size(64 << 10)
        .build(connector)
}

fn request(running: &Running) -> Request<Full<Bytes>> {
    let caller = Caller::at(running.address);
    let mut request = caller.chat_request("eu", &ask_streamed("Hello"));
    let uri = format!("http://{}{}", running.address, request.uri());
    *request.uri_mut() = uri.parse().unwrap();
    request
}
