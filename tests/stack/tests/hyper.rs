//! The stack under a bare hyper server, around hyper-util's client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tollgate::DrainOnRefusalLayer;
use tollgate_stack_tests::{Caller, Layers, check_gateway, gateway, good_upstream, serve, soon};
use tollgate_testing::{assert_future, assert_layered};
use tower::{Layer, Service};

#[tokio::test]
async fn a_gateway_without_a_framework() {
    let upstream = good_upstream().await;
    let stack = gateway::<Incoming>(&Layers::to(&upstream));
    assert_layered(&stack);
    check_gateway(&Caller::at(serve(stack).await), &upstream).await;
}

#[tokio::test]
async fn the_same_over_http2() {
    let upstream = good_upstream().await;
    let address = serve(gateway(&Layers::to(&upstream))).await;
    check_gateway(&Caller::at(address).over_http2(), &upstream).await;
}

#[tokio::test]
async fn its_future_can_be_spawned() {
    let upstream = good_upstream().await;
    let mut stack = gateway(&Layers::to(&upstream));
    assert_future(&stack.call(Request::new(Full::default())));
}

#[tokio::test]
async fn a_refusal_reaches_a_caller_who_is_still_sending() {
    let upstream = good_upstream().await;
    let two_seconds = || tokio::time::sleep(Duration::from_secs(2));
    let drain = DrainOnRefusalLayer::new(8 << 20, two_seconds);
    let address = serve(drain.layer(gateway(&Layers::to(&upstream)))).await;

    // More than sockets take by themselves.
    let body = vec![b' '; 8 << 20];
    let head = format!(
        "POST /openai/eu/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    soon(stream.write_all(&body)).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(upstream.received().is_empty());
}
