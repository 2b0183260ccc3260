//! Connections: clocks, caps, reuse, and how they end.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use gateway::Gateway;
use http::{Method, Request, Response, StatusCode, Version, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use support::{Caller, KEY, PATIENCE, ask, ask_streamed, raw, raw_head, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Reads until the gateway closes, and says how long that took.
async fn until_closed(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    let started = Instant::now();
    let mut read = Vec::new();
    // A reset is a way of closing, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut read))
        .await
        .unwrap();
    (read, started.elapsed())
}

#[tokio::test]
async fn a_slow_head_is_cut_and_a_silent_connection_later() {
    let gateway = start("limits = { header_ms = 150, idle_ms = 600 }").await;

    // Each further byte comes in time for a clock that starts anew with each of them.
    let mut slow = TcpStream::connect(gateway.address()).await.unwrap();
    let started = Instant::now();
    for byte in b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-one: 1\r\nx-two: 2\r\n" {
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let (read, _) = until_closed(&mut slow).await;
    assert!(read.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(150));

    let mut silent = TcpStream::connect(gateway.address()).await.unwrap();
    let (read, waited) = until_closed(&mut silent).await;
    assert!(read.is_empty());
    assert!(waited >= Duration::from_millis(500), "{waited:?}");

    // The idle clock starts anew after each call.
    let mut used = TcpStream::connect(gateway.address()).await.unwrap();
    for _ in 0..3 {
        sleep(Duration::from_millis(300)).await;
        let head = raw_head(&Method::GET, "/healthz", "");
        assert_eq!(raw(&mut used, head.as_bytes()).await.status, StatusCode::OK);
    }
    let (_, waited) = until_closed(&mut used).await;
    assert!(waited >= Duration::from_millis(500), "{waited:?}");
}

#[tokio::test]
async fn a_connection_serves_many_calls() {
    let gateway = start("").await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let body = ask("Hello").to_string();
    let headers = format!(
        "authorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    let head = raw_head(&Method::POST, "/openai/eu/v1/chat/completions", &headers);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = raw(&mut stream, format!("{head}{body}").as_bytes()).await;
        assert_eq!(answer.status, StatusCode::OK);
        ids.push(answer.header("x-request-id").unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    // A refusal without a body does not end the connection either.
    let wrong = raw_head(&Method::GET, "/nowhere", "");
    raw(&mut stream, wrong.as_bytes())
        .await
        .assert_refusal(404, None);
    assert_eq!(
        raw(&mut stream, format!("{head}{body}").as_bytes())
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn http2_is_served_without_tls_too() {
    let gateway = start("").await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let uri = format!("http://{}/openai/us/v1/chat/completions", gateway.address());
    let request = Request::post(uri)
        .version(Version::HTTP_2)
        .header(AUTHORIZATION, format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(Full::new(ask("Hello").to_string().into()))
        .unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.headers()["x-tollgate-upstream"], "virginia");
}

#[tokio::test]
async fn heads_that_no_buffer_holds_are_refused() {
    let gateway = start("").await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let head = raw_head(
        &Method::GET,
        "/healthz",
        &format!("x: {}\r\n", "x".repeat(33 << 10)),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (read, _) = until_closed(&mut stream).await;
    let read = String::from_utf8_lossy(&read);
    assert!(read.starts_with("HTTP/1.1 431 "), "{read}");
}

/// A stream that has begun.
async fn open_stream(caller: &Caller, question: &str) -> Response<Incoming> {
    let request = caller.chat_request("eu", &ask_streamed(question));
    let stream = caller.open(request).await;
    assert_eq!(stream.status(), StatusCode::OK);
    stream
}

/// Waits until one of the places for calls is free again.
async fn await_place(caller: &Caller) {
    let deadline = Instant::now() + PATIENCE;
    while caller.get("/openai/eu/v1/models").await.status != StatusCode::OK {
        assert!(Instant::now() < deadline, "the place is never free again");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The rest of a stream while the gateway stops.
async fn while_it_stops(gateway: Gateway, stream: Response<Incoming>) -> String {
    let stopping = tokio::spawn(gateway.stop());
    let body = timeout(PATIENCE, stream.into_body().collect()).await;
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    String::from_utf8(body.unwrap().unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn more_calls_than_the_cap_are_refused() {
    let gateway = start("limits = { in_flight = 1 }").await;
    let caller = Caller::new(&gateway);
    let stream = open_stream(&caller, "!slow").await;
    let refused = caller.get("/openai/eu/v1/models").await;
    refused.assert_refusal(503, Some("upstream_unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(stream);
    await_place(&caller).await;
}

#[tokio::test]
async fn whoever_is_refused_takes_no_place_while_it_is_heard_out() {
    let gateway = start("limits = { in_flight = 1, discard_ms = 60_000 }").await;
    let mut refused = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let head = raw_head(
            &Method::POST,
            "/openai/eu/v1/chat/completions",
            "content-length: 1000\r\n",
        );
        // The rest is promised, and the refusal waits for it.
        stream.write_all((head + "{").as_bytes()).await.unwrap();
        refused.push(stream);
    }
    let caller = Caller::new(&gateway);
    for _ in 0..3 {
        let answer = caller.get("/openai/eu/v1/models").await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    for mut stream in refused {
        let answer = raw(&mut stream, &[b' '; 999]).await;
        answer.assert_refusal(401, None);
    }
}

#[tokio::test]
async fn http2_callers_who_open_no_window_are_cut() {
    let gateway = start("limits = { in_flight = 2, write_stall_ms = 300 }").await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let client = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream);
    let (mut sender, connection) = client.await.unwrap();
    let mut connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = Request::post("http://gateway/openai/eu/v1/chat/completions")
            .header(AUTHORIZATION, format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .body(())
            .unwrap();
        sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        let question = ask_streamed("Hello!").to_string();
        body.send_data(question.into(), true).unwrap();
        answers.push(answer);
    }
    let mut kept = Vec::new();
    for answer in answers {
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        // Kept, so that only the window holds it up.
        kept.push(answer);
    }
    let _ = timeout(PATIENCE, &mut connection).await.unwrap();

    await_place(&Caller::new(&gateway)).await;
}

#[tokio::test]
async fn over_http2_too_whoever_still_sends_hears_the_refusal() {
    let gateway = start("limits = { write_stall_ms = 300 }").await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://gateway/openai/eu/v1/chat/completions");
    let mut sender = sender.ready().await.unwrap();
    // Its body is never sent.
    let (answer, _body) = sender
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_busy_gateway_is_healthy() {
    let gateway = start("limits = { in_flight = 1 }").await;
    let caller = Caller::new(&gateway);
    let _stream = open_stream(&caller, "!slow").await;
    assert_eq!(caller.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(caller.get("/openai/eu/v1/models").await.status, 503);
}

#[tokio::test]
async fn stopping_lets_streams_end() {
    let gateway = start("").await;
    let address = gateway.address();
    let caller = Caller::new(&gateway);
    let stream = open_stream(&caller, "one !slow").await;
    let text = while_it_stops(gateway, stream).await;
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn streams_that_do_not_end_in_time_are_cut_with_an_error() {
    let gateway = start("limits = { drain_ms = 200 }").await;
    let caller = Caller::new(&gateway);
    let stream = open_stream(&caller, "!slow").await;
    let text = while_it_stops(gateway, stream).await;
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("data: {\"error\":{"), "{last}");
    assert!(!text.contains("[DONE]"));
}

#[tokio::test]
async fn callers_who_do_not_read_are_cut() {
    let gateway = start("limits = { write_stall_ms = 300 }").await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    // Pipelined calls whose answers nobody reads fill every buffer on the way.
    let one = raw_head(&Method::GET, &format!("/{}", "x".repeat(64)), "");
    let many = one.repeat(2_000);
    let writing = async { while stream.write_all(many.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, writing)
        .await
        .expect("the gateway gives the caller up");
    let caller = Caller::new(&gateway);
    assert_eq!(caller.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn more_connections_than_the_cap_wait() {
    let gateway = start("limits = { connections = 1 }").await;
    let health = raw_head(&Method::GET, "/healthz", "");
    let mut first = TcpStream::connect(gateway.address()).await.unwrap();
    assert_eq!(
        raw(&mut first, health.as_bytes()).await.status,
        StatusCode::OK
    );
    // The operating system accepts it, and the gateway does not look at it.
    let mut second = TcpStream::connect(gateway.address()).await.unwrap();
    second.write_all(health.as_bytes()).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(300), second.read(&mut byte)).await;
    assert!(early.is_err(), "it is served beyond the cap");
    drop(first);
    let read = timeout(PATIENCE, second.read(&mut byte)).await.unwrap();
    assert_eq!((read.unwrap(), byte), (1, *b"H"));
}
