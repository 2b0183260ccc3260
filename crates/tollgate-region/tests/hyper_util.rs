//! What the errors of hyper-util's client mean, shown by real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{net::SocketAddr, time::Duration};

use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tollgate_core::RequestBody;
use tollgate_region::{HyperUtil, RegionStatus, Upstream, UpstreamLayer};
use tollgate_testing::ScriptedBody;
use tower::{Layer, ServiceExt};

use support::*;

type Http = HttpClient<HttpConnector, RequestBody<ScriptedBody>>;

/// Takes one connection, reads something, and writes this before it hangs up.
async fn server(writes: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut read = [0; 64 << 10];
        let _ = socket.read(&mut read).await.unwrap();
        socket.write_all(writes.as_bytes()).await.unwrap();
    });
    address
}

fn upstream(name: &str, address: SocketAddr) -> Upstream {
    Upstream::azure(name, region("eu"), format!("http://{address}"), "k")
        .deployment("gpt-4o", "gpt-4o")
}

/// The status of a call that meets this upstream first and a good one second.
async fn through(first: SocketAddr) -> (u16, RegionStatus) {
    let good = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let upstreams = eu([
        upstream("first", first),
        upstream("second", good).priority(1),
    ]);
    let client: Http = HttpClient::builder(TokioExecutor::new()).build_http();
    let service = UpstreamLayer::new(upstreams.clone()).classify(HyperUtil::default());
    let answer = service.layer(client).oneshot(call("eu"));
    let answer = tokio::time::timeout(Duration::from_secs(30), answer);
    let (head, _) = read(answer.await.unwrap().unwrap()).await;
    (head.status().as_u16(), upstreams.region_status().remove(0))
}

#[tokio::test]
async fn a_refused_connection_moves_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let (status, region) = through(nobody).await;
    assert_eq!((status, region.retries), (200, 1));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_head_moves_on() {
    for writes in ["", "HTTP/1.1 200 OK\r\ncontent-", "SSH-2.0-OpenSSH\r\n"] {
        let (status, region) = through(server(writes).await).await;
        assert_eq!((status, region.retries), (200, 1), "{writes:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_there_stays() {
    let first = server("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let (status, region) = through(first).await;
    assert_eq!((status, region.retries), (400, 0));
}

#[tokio::test]
async fn an_upstreams_words_beside_the_status_are_not_passed_on() {
    let first = server("HTTP/1.1 200 key-of-first\r\ncontent-length: 2\r\n\r\n{}").await;
    let client: Http = HttpClient::builder(TokioExecutor::new()).build_http();
    let service = UpstreamLayer::new(eu([upstream("first", first)])).layer(client);
    let answer = service.oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let words = answer.extensions().get::<hyper::ext::ReasonPhrase>();
    assert!(words.is_none(), "{words:?}");
}

#[tokio::test]
async fn a_body_of_the_callers_that_breaks_is_nobodys_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstreams = eu([upstream("first", listener.local_addr().unwrap())]);
    let client: Http = HttpClient::builder(TokioExecutor::new()).build_http();
    let service = UpstreamLayer::new(upstreams.clone()).classify(HyperUtil::default());
    let broken = ScriptedBody::new().data("{").error();
    let request = unread("eu").map(|_| broken);
    let answer = service.layer(client).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(status_of(&upstreams, "first").failures, 0);
}
