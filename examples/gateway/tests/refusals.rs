//! Whatever callers do wrong, they get OpenAI's error object, and nobody else notices.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header::AUTHORIZATION};
use http_body_util::Full;
use serde_json::{Value, json};
use support::{Caller, KEY, ask, raw, raw_head, read_answer, start};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

const CHAT: &str = "/openai/eu/v1/chat/completions";

/// The gateway still serves.
async fn assert_unharmed(caller: &Caller) {
    let answer = caller.chat("eu", &ask("Hello")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn request(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post(CHAT);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

#[tokio::test]
async fn callers_without_a_right_key() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    let body = ask("Hello").to_string();
    let json = ("content-type", "application/json");

    let none = caller.send(request(&[json], body.clone())).await;
    let error = none.assert_refusal(401, None);
    assert!(error["message"].as_str().unwrap().contains("API key"));
    assert_eq!(none.header("x-tollgate-region"), Some("eu"));

    let mut bodies = Vec::new();
    for key in ["Bearer sk-wrong", "Bearer ", "Basic sk-acme-1", "sk-acme-1"] {
        let answer = caller
            .send(request(&[json, ("authorization", key)], body.clone()))
            .await;
        assert_eq!(answer.status, 401, "{key}");
        answer.assert_nothing_leaks();
        if key == "Bearer sk-wrong" {
            answer.assert_refusal(401, Some("invalid_api_key"));
        }
        bodies.push(answer.body);
    }
    // Keys count in their header alone.
    let elsewhere = [json, ("api-key", KEY), ("x-api-key", KEY), ("cookie", KEY)];
    caller
        .send(request(&elsewhere, body))
        .await
        .assert_refusal(401, None);
    assert_unharmed(&caller).await;
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    let body = ask("Hello").to_string();
    for path in [
        "/openai/mars/v1/chat/completions",
        "/openai/EU/v1/chat/completions",
        "/openai/e%75/v1/chat/completions",
        "/openai/eu/v1/chat/completions/",
        "/openai/eu/v1/embeddings",
        "/openai/eu/v1//chat/completions",
        "/openai/../eu/v1/chat/completions",
        "/v2/chat/completions",
        "/",
        "/metrics",
    ] {
        caller
            .post(path, body.clone())
            .await
            .assert_refusal(404, None);
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let request = Request::builder()
            .method(method)
            .uri(CHAT)
            .header(AUTHORIZATION, format!("Bearer {KEY}"))
            .body(Full::default())
            .unwrap();
        let answer = caller.send(request).await;
        answer.assert_refusal(405, None);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let answer = caller.post("/openai/eu/v1/models", "{}").await;
    answer.assert_refusal(405, None);
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    assert_unharmed(&caller).await;
}

#[tokio::test]
async fn bodies_that_are_no_requests() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    let deep = format!(
        "{{\"model\":\"gpt-4o\",\"messages\":{}",
        "[".repeat(100_000)
    );
    for body in [
        "",
        "{",
        "null",
        "[]",
        "not json",
        "{\"model\":\"gpt-4o\",\"model\":\"gpt-4o\",\"messages\":[]}",
        "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"\u{fffd}\"}]} x",
        &deep,
    ] {
        let answer = caller.post(CHAT, body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body:.60}");
        let code = answer.json()["error"]["code"].clone();
        answer.assert_refusal(400, code.as_str());
    }
    let invalid_utf8 =
        b"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}";
    let answer = caller.post(CHAT, Bytes::from_static(invalid_utf8)).await;
    assert_eq!(answer.status, 400);

    let answer = caller
        .chat("eu", &json!({"messages": ask("Hello")["messages"]}))
        .await;
    let error = answer.assert_refusal(400, None);
    assert_eq!(error["message"], "you must provide a model parameter");
    let answer = caller.chat("eu", &json!({"model": "gpt-4o"})).await;
    let error = answer.assert_refusal(400, Some("missing_required_parameter"));
    assert_eq!(error["param"], "messages");
    assert_unharmed(&caller).await;
}

#[tokio::test]
async fn content_types_that_are_not_served() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    let authorization = format!("Bearer {KEY}");
    let key = ("authorization", authorization.as_str());
    let body = ask("Hello").to_string();
    for kind in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/xml",
    ] {
        let answer = caller
            .send(request(&[key, ("content-type", kind)], body.clone()))
            .await;
        answer.assert_refusal(415, Some("unsupported_media_type"));
    }
    let encoded = [
        key,
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let answer = caller.send(request(&encoded, body)).await;
    answer.assert_refusal(415, Some("unsupported_media_type"));
    assert_unharmed(&caller).await;
}

#[tokio::test]
async fn models_that_are_unknown_or_somebody_elses() {
    let gateway = start("").await;
    let mut caller = Caller::new(&gateway);
    let mut body = ask("Hello");
    body["model"] = json!("gpt-9");
    let unknown = caller.chat("eu", &body).await;
    let unknown = unknown.assert_refusal(404, Some("model_not_found"));
    caller.key = "sk-small-1";
    let forbidden = caller.chat("eu", &ask("Hello")).await;
    let forbidden = forbidden.assert_refusal(404, Some("model_not_found"));
    let unnamed = |error: &Value| {
        error["message"]
            .as_str()
            .unwrap()
            .replace("gpt-9", "gpt-4o")
    };
    assert_eq!(unnamed(&unknown), unnamed(&forbidden));
    caller.key = KEY;
    assert_unharmed(&caller).await;
}

#[tokio::test]
async fn bodies_above_the_cap() {
    let gateway = start("max_body_bytes = 10_000").await;
    let caller = Caller::new(&gateway);
    let body = ask(&"x".repeat(20_000)).to_string();
    let answer = caller.post(CHAT, body.clone()).await;
    answer.assert_refusal(413, Some("request_too_large"));

    // Without a length it has to be read to be too long.
    let headers = format!(
        "authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n"
    );
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let mut bytes = raw_head(&Method::POST, CHAT, &headers).into_bytes();
    for chunk in body.as_bytes().chunks(1_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let answer = raw(&mut stream, &bytes).await;
    answer.assert_refusal(413, Some("request_too_large"));

    // A head that announces too much is refused before anything is sent, and `100 Continue` is
    // not said.
    let headers = format!(
        "authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         content-length: 20000\r\nexpect: 100-continue\r\n"
    );
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let head = raw_head(&Method::POST, CHAT, &headers);
    let answer = raw(&mut stream, head.as_bytes()).await;
    answer.assert_refusal(413, Some("request_too_large"));
    assert_unharmed(&caller).await;
}

#[tokio::test]
async fn a_refusal_reaches_a_caller_who_is_still_sending() {
    let gateway = start("").await;
    let megabytes = 8;
    let headers = format!(
        "authorization: Bearer sk-wrong\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n",
        megabytes << 20
    );
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let head = raw_head(&Method::POST, CHAT, &headers);
    stream.write_all(head.as_bytes()).await.unwrap();
    let megabyte = vec![b' '; 1 << 20];
    for _ in 0..megabytes {
        // The refusal is decided by now: a server that closes at once resets the connection here.
        stream.write_all(&megabyte).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    let answer = read_answer(&mut stream).await;
    answer.assert_refusal(401, Some("invalid_api_key"));

    // What was sent has been read, so the connection is as good as new.
    let health = raw(
        &mut stream,
        raw_head(&Method::GET, "/healthz", "").as_bytes(),
    )
    .await;
    assert_eq!(health.status, 200);
    assert_unharmed(&Caller::new(&gateway)).await;
}

#[tokio::test]
async fn a_caller_who_never_finishes_is_answered_in_time() {
    let gateway = start("").await;
    let headers = "authorization: Bearer sk-wrong\r\ncontent-type: application/json\r\n\
                   content-length: 1000000\r\n";
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let head = raw_head(&Method::POST, CHAT, headers);
    let answer = raw(&mut stream, format!("{head}{{").as_bytes()).await;
    answer.assert_refusal(401, Some("invalid_api_key"));
}
