//! Callers who mean harm: requests that are framed to be misread, credentials that are none, and
//! bytes that come slowly or never.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use gateway::Gateway;
use http::Method;
use serde_json::Value;
use support::{
    Caller, KEY, PATIENCE, ask, config_to, raw, raw_head, start, start_config, upstream::completion,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tollgate_stack_tests::ScriptedUpstream;

const CHAT: &str = "/openai/eu/v1/chat/completions";

async fn gateway(upstream: &ScriptedUpstream) -> Gateway {
    let limits = "[limits]\nbody_ms = 400\ndiscard_ms = 200";
    start_config(&config_to(upstream, limits)).await
}

/// Sends bytes, and all that comes back until the connection is closed or silent.
async fn exchange(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    // The gateway may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let silence = Duration::from_millis(700);
    while let Ok(Ok(1..)) = timeout(silence, stream.read_buf(&mut read)).await {}
    String::from_utf8_lossy(&read).into_owned()
}

fn authorised(more: &str) -> String {
    format!("authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n{more}")
}

#[tokio::test]
async fn nobody_smuggles_a_request() {
    let upstream = ScriptedUpstream::in_turn([completion(8, 1)]).await;
    let gateway = gateway(&upstream).await;
    let body = ask("Hello").to_string();
    let length = body.len();
    let hidden = raw_head(
        &Method::POST,
        CHAT,
        "content-type: application/json\r\ncontent-length: 2\r\n",
    ) + "{}";
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (what, headers, sent) in [
        // Framed twice: what one reader takes for the body is a request to another.
        (
            "CL.TE",
            format!(
                "content-length: {}\r\ntransfer-encoding: chunked\r\n",
                5 + hidden.len()
            ),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "TE.CL",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n".to_owned(),
            format!("{chunked}{hidden}"),
        ),
        (
            "two lengths",
            format!("content-length: {length}\r\ncontent-length: 5\r\n"),
            format!("{body}{hidden}"),
        ),
        (
            "a signed length",
            format!("content-length: +{length}\r\n"),
            format!("{body}{hidden}"),
        ),
        (
            "a listed length",
            format!("content-length: {length}, {length}\r\n"),
            format!("{body}{hidden}"),
        ),
        (
            "an unknown coding",
            "transfer-encoding: xchunked\r\n".to_owned(),
            format!("{chunked}{hidden}"),
        ),
        (
            "chunked twice",
            "transfer-encoding: chunked, chunked\r\n".to_owned(),
            format!("{chunked}{hidden}"),
        ),
        (
            "chunked, but not last",
            "transfer-encoding: chunked, identity\r\n".to_owned(),
            format!("{chunked}{hidden}"),
        ),
        (
            "a chunk size that is none",
            "transfer-encoding: chunked\r\n".to_owned(),
            format!("0x{chunked}{hidden}"),
        ),
        (
            "a chunk size too large",
            "transfer-encoding: chunked\r\n".to_owned(),
            format!("fffffffffffffffff\r\n{body}{hidden}"),
        ),
        (
            "a space before the colon",
            format!("content-length : {length}\r\n"),
            format!("{body}{hidden}"),
        ),
        (
            "a folded line",
            format!("x-folded: a\r\n content-length: 3\r\ncontent-length: {length}\r\n"),
            format!("{body}{hidden}"),
        ),
        (
            "a bare line feed",
            format!("x-bare: a\ncontent-length: {length}\r\n"),
            format!("{body}{hidden}"),
        ),
        (
            "a zero byte",
            format!("x-zero: \0\r\ncontent-length: {length}\r\n"),
            format!("{body}{hidden}"),
        ),
        (
            "an upgrade",
            format!("connection: upgrade\r\nupgrade: h2c\r\ncontent-length: {length}\r\n"),
            format!("{body}{hidden}"),
        ),
    ] {
        let request = raw_head(&Method::POST, CHAT, &authorised(&headers)) + &sent;
        let seen = exchange(&gateway, request.as_bytes()).await;
        let answers: Vec<&str> = seen
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| answer.split(' ').next().unwrap())
            .collect();
        // The hidden request carries no key: whoever answers it knows that.
        let allowed = [
            ["200"].as_slice(),
            &["200", "401"],
            &["400"],
            &["400", "401"],
            &["415"],
            &["501"],
            &[],
        ];
        assert!(
            allowed.contains(&answers.as_slice()),
            "{what}: {answers:?}\n{seen}"
        );
        for request in upstream.take_received() {
            assert_eq!(request.body(), &body, "{what}");
            assert_eq!(
                request.headers()["content-length"],
                length.to_string(),
                "{what}"
            );
            assert!(
                !request.headers().contains_key("transfer-encoding"),
                "{what}"
            );
            assert!(!request.headers().contains_key("upgrade"), "{what}");
        }
    }
    assert_eq!(
        Caller::new(&gateway).chat("eu", &ask("Hello")).await.status,
        200
    );
}

#[tokio::test]
async fn heads_have_an_end() {
    let gateway = start("").await;
    let many = (0..101).fold(String::new(), |mut headers, number| {
        let _ = write!(headers, "x-{number}: 1\r\n");
        headers
    });
    for (headers, path) in [
        (many, "/healthz".to_owned()),
        (
            format!("x: {}\r\n", "x".repeat(17 << 10)),
            "/healthz".to_owned(),
        ),
        (
            format!("authorization: Bearer {}\r\n", "k".repeat(1 << 20)),
            CHAT.to_owned(),
        ),
        (String::new(), format!("/{}", "x".repeat(17 << 10))),
    ] {
        let seen = exchange(&gateway, raw_head(&Method::GET, &path, &headers).as_bytes()).await;
        let status = seen.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "414", "431"].contains(&status), "{seen}");
    }
    assert_eq!(
        Caller::new(&gateway).chat("eu", &ask("Hello")).await.status,
        200
    );
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_not_waited_for() {
    let upstream = ScriptedUpstream::in_turn([completion(8, 1)]).await;
    let gateway = gateway(&upstream).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let head = raw_head(
        &Method::POST,
        CHAT,
        &authorised("content-length: 100000\r\n"),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let started = Instant::now();
    let (mut read, mut write) = stream.split();
    let trickle = async {
        // Each byte comes in time for a clock that starts anew with each of them.
        while write.write_all(b" ").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = trickle => {}
        read = timeout(PATIENCE, read.read_buf(&mut answer)) => { read.unwrap().unwrap(); }
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(upstream.received().is_empty());
    // Nothing was charged.
    let answer = Caller::new(&gateway).chat("eu", &ask("Hello")).await;
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("499"));
}

#[tokio::test]
async fn every_route_wants_a_key_before_it_reads() {
    let gateway = start("").await;
    for (method, path) in [
        (Method::POST, CHAT),
        (Method::POST, "/openai/us/v1/chat/completions"),
        (Method::POST, "/v1/chat/completions"),
        (Method::GET, "/openai/eu/v1/models"),
        (Method::GET, "/openai/eu/v1/models/gpt-4o"),
        (Method::GET, "/v1/models"),
        (Method::HEAD, "/v1/models"),
    ] {
        // The body is announced, and would be invited; it never comes.
        let headers =
            "content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n";
        let seen = exchange(&gateway, raw_head(&method, path, headers).as_bytes()).await;
        assert!(seen.starts_with("HTTP/1.1 401 "), "{method} {path}: {seen}");
    }
}

#[tokio::test]
async fn wrong_keys_are_all_alike() {
    let gateway = start("").await;
    let mut bodies = BTreeSet::new();
    let long = format!("Bearer {}", "k".repeat(8 << 10));
    for credentials in [
        "Bearer sk-wrong",
        "Bearer sk-acme-",
        "Bearer sk-acme-10",
        "bearer sk-acme-1 sk-acme-1",
        "Bearer sk-acme-1,sk-acme-1",
        "Bearer s\u{0000e9}",
        long.as_str(),
    ] {
        let headers = format!("authorization: {credentials}\r\n");
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let answer = raw(
            &mut stream,
            raw_head(&Method::GET, "/v1/models", &headers).as_bytes(),
        )
        .await;
        answer.assert_refusal(401, Some("invalid_api_key"));
        bodies.insert(answer.body.clone());
    }
    // One right and one wrong is wrong.
    let twice = format!("authorization: Bearer {KEY}\r\nauthorization: Bearer sk-wrong\r\n");
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let answer = raw(
        &mut stream,
        raw_head(&Method::GET, "/v1/models", &twice).as_bytes(),
    )
    .await;
    answer.assert_refusal(401, Some("invalid_api_key"));
    bodies.insert(answer.body.clone());
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn nothing_but_the_key_says_who_calls() {
    let upstream = ScriptedUpstream::in_turn([completion(8, 1)]).await;
    let gateway = gateway(&upstream).await;
    let body = ask("Hello").to_string();
    for headers in [
        "x-workspace: other\r\nx-tollgate-workspace: other\r\n",
        "x-request-id: mine\r\nx-ms-client-request-id: mine\r\n",
        "x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\nvia: 1.1 x\r\n",
        "api-key: sk-other\r\nx-api-key: sk-other\r\n",
        "connection: close, x-request-id, content-type\r\n",
    ] {
        let headers = authorised(&format!("{headers}content-length: {}\r\n", body.len()));
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let request = raw_head(&Method::POST, CHAT, &headers) + &body;
        let answer = raw(&mut stream, request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{headers}: {answer:?}");
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
        let [seen] = &upstream.take_received()[..] else {
            panic!("not one request")
        };
        for (name, value) in seen.headers() {
            let text = format!("{name}: {value:?}");
            for trace in ["other", "mine", "192.0.2.1", "sk-"] {
                assert!(!text.contains(trace), "{text}");
            }
        }
        assert_eq!(seen.headers()["content-type"], "application/json");
    }
    // The address in a request line does not count either.
    let headers = authorised(&format!("content-length: {}\r\n", body.len()));
    for target in [
        "http://us.example.com/openai/eu/v1/chat/completions",
        "http://a@b/openai/eu/v1/chat/completions",
    ] {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let request = raw_head(&Method::POST, target, &headers) + &body;
        let answer = raw(&mut stream, request.as_bytes()).await;
        assert!([200, 400].contains(&answer.status.as_u16()), "{answer:?}");
        for seen in upstream.take_received() {
            let own = upstream.address().to_string();
            assert_eq!(seen.headers()["host"], own.as_str());
        }
    }
    // A tunnel leads nowhere.
    let seen = exchange(
        &gateway,
        b"CONNECT us.example.com:443 HTTP/1.1\r\nhost: us.example.com:443\r\n\r\n",
    )
    .await;
    let status = seen.split(' ').nth(1).unwrap_or("none");
    assert!(["400", "404", "405", "none"].contains(&status), "{seen}");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn pipelined_calls_are_answered_in_order() {
    let gateway = start("").await;
    let body = ask("Hello").to_string();
    let good = raw_head(
        &Method::POST,
        CHAT,
        &authorised(&format!("content-length: {}\r\n", body.len())),
    ) + &body;
    let bad = raw_head(&Method::GET, "/nowhere", "");
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream
        .write_all(format!("{good}{bad}{good}").as_bytes())
        .await
        .unwrap();
    let mut ids = BTreeSet::new();
    let mut left = Vec::new();
    for status in [200, 404, 200] {
        let answer = read_answer_after(&mut stream, &mut left).await;
        assert_eq!(answer.0, status);
        ids.insert(answer.1);
    }
    assert_eq!(ids.len(), 3);
}

/// The status and the id of the next answer; what was read beyond it stays.
async fn read_answer_after(stream: &mut TcpStream, left: &mut Vec<u8>) -> (u16, String) {
    loop {
        let text = String::from_utf8_lossy(left).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let mut lines = head.lines();
                let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                value.unwrap_or_default().to_owned()
            };
            let length: usize = header("content-length").parse().unwrap();
            if body.len() >= length {
                let json = body.get(..length).unwrap();
                assert!(serde_json::from_str::<Value>(json).is_ok());
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                left.drain(..head.len() + 4 + length);
                return (status, header("x-request-id"));
            }
        }
        timeout(PATIENCE, stream.read_buf(left))
            .await
            .unwrap()
            .unwrap();
    }
}
