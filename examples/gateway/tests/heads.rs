//! Heads that are too long, or can be read in two ways: refused in OpenAI's words.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::fmt::Write as _;

use bytes::Bytes;
use gateway::Gateway;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use support::{Answer, Caller, KEY, ask, raw, raw_head, start};
use tokio::net::TcpStream;

/// A head, by the target and the headers that it has besides the usual ones.
type Head = (String, Vec<(String, String)>);

fn headers(count: usize, name: impl Fn(usize) -> String, bytes: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|number| (name(number), "x".repeat(bytes)))
        .collect()
}

/// Heads that are too much by one, and by what they are refused; and the like that are not.
fn heads() -> Vec<(Head, u16)> {
    let named = |number| format!("x-{number:03}");
    let target = |bytes: usize| format!("/v1/{}", "x".repeat(bytes - 4));
    let query = |bytes: usize| format!("/v1/models?{}", "x".repeat(bytes - 11));
    // The caller's own are `host` and, by hyper's client, none more.
    vec![
        ((target(8 << 10), vec![]), 404),
        ((target((8 << 10) + 1), vec![]), 414),
        ((query((8 << 10) + 1), vec![]), 414),
        ((target(9 << 10), vec![]), 414),
        (("/v1/".to_owned(), headers(90, named, 1)), 404),
        (("/v1/".to_owned(), headers(101, named, 1)), 431),
        (("/v1/".to_owned(), headers(120, named, 1)), 431),
        (("/v1/".to_owned(), headers(1, named, 15 << 10)), 404),
        (("/v1/".to_owned(), headers(1, named, 17 << 10)), 431),
        (("/v1/".to_owned(), headers(34, named, 512)), 431),
        (
            ("/v1/".to_owned(), headers(1, |_| "api_key".to_owned(), 1)),
            400,
        ),
        (
            (
                "/v1/".to_owned(),
                headers(1, |_| "x-forwarded_for".to_owned(), 1),
            ),
            400,
        ),
        (
            (
                "/v1/".to_owned(),
                headers(1, |_| "my_own_header".to_owned(), 1),
            ),
            404,
        ),
    ]
}

#[tokio::test]
async fn what_is_too_long_is_refused_in_openais_words() {
    let gateway = start("").await;
    for ((target, headers), status) in heads() {
        let mut lines = String::new();
        for (name, value) in &headers {
            let _ = write!(lines, "{name}: {value}\r\n");
        }
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let request = raw_head(&Method::GET, &target, &lines);
        let answer = raw(&mut stream, request.as_bytes()).await;
        answer.assert_refusal(status, None);
        // The connection is as good as before.
        let request = raw_head(&Method::GET, "/v1/", "");
        raw(&mut stream, request.as_bytes())
            .await
            .assert_refusal(404, None);

        let answer = over_http2(&gateway, &target, &headers).await;
        answer.assert_refusal(status, None);
    }
    assert_eq!(
        Caller::new(&gateway).chat("eu", &ask("Hello")).await.status,
        200
    );
}

async fn over_http2(gateway: &Gateway, target: &str, headers: &[(String, String)]) -> Answer {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let mut request = Request::get(format!("http://{}{target}", gateway.address()));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = client.request(request.body(Full::default()).unwrap()).await;
    let (head, body) = answer.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

#[tokio::test]
async fn what_servers_read_differently_is_refused() {
    let gateway = start("").await;
    let with = |headers: &str| format!("POST /v1/models HTTP/1.1\r\n{headers}\r\n");
    let chunked = "host: a\r\ntransfer-encoding: chunked\r\n";
    for (head, status) in [
        (with("host: a\r\n"), 405),
        (with(chunked), 405),
        ("POST /v1/models HTTP/1.0\r\n\r\n".to_owned(), 405),
        (with(""), 400),
        (with("host: a\r\nhost: b\r\n"), 400),
        (with("host: a\r\ntransfer-encoding: gzip, chunked\r\n"), 400),
        (
            with(&format!("{chunked}transfer-encoding: chunked\r\n")),
            400,
        ),
    ] {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let answer = raw(&mut stream, format!("{head}0\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, status, "{head}");
        answer.assert_refusal(status, None);
    }
}

#[tokio::test]
async fn a_twin_of_the_key_is_refused_beside_the_key() {
    let gateway = start("").await;
    let headers = format!("authorization: Bearer {KEY}\r\nx_api_key: sk-other\r\n");
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let request = raw_head(&Method::GET, "/v1/models", &headers);
    let refused = raw(&mut stream, request.as_bytes()).await;
    refused.assert_refusal(400, None);
}
