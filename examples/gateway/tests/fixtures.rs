//! The shared cases of the wire protocol, through a running gateway and a real upstream.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_openai::{config::OpenAIConfig, types::chat::CreateChatCompletionRequest};
use bytes::Bytes;
use futures_util::StreamExt;
use gateway::Gateway;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use support::{
    Answer, Caller, raw, raw_head, start_config,
    upstream::{Sent, completion, short_stream, stream},
};
use tokio::net::TcpStream;
use tollgate_stack_tests::{Reply, ScriptedUpstream};

const REQUESTS: &str = include_str!("../../../tests/fixtures/requests.jsonl");
const STREAMS: &str = include_str!("../../../tests/fixtures/streams.jsonl");
const UPSTREAM_ERRORS: &str = include_str!("../../../tests/fixtures/upstream_errors.jsonl");

const STRICT: &str = "policy = \"strict\"\n";
const COMPATIBLE: &str = "policy = \"compatible\"\n";

fn cases(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

async fn gateway(top: &str, budget: &str, eu: &ScriptedUpstream, us: &ScriptedUpstream) -> Gateway {
    let upstream = |region: &str, url: &str| {
        format!(
            r#"
[[regions.{region}.upstreams]]
name = "{region}-1"
kind = "azure"
url = "{url}"
api_key = "upstream-key"
deployments = {{ gpt-4o = "of-4o", gpt-4o-mini = "of-mini", gpt-4 = "of-4", gpt-35-turbo = "of-35" }}
"#
        )
    };
    // OpenAI's spelling of Azure's name.
    let aliases = if top.contains("strict") {
        "[]"
    } else {
        "[\"gpt-3.5-turbo\"]"
    };
    let text = format!(
        r#"
listen = "127.0.0.1:0"
{top}
[budget]
{budget}
[[workspaces]]
name = "acme"
api_keys = ["good-key"]
[models.gpt-4o]
[models.gpt-4o-mini]
[models.gpt-4]
[models.gpt-35-turbo]
aliases = {aliases}
{}{}
"#,
        upstream("eu", &eu.url()),
        upstream("us", &us.url()),
    );
    start_config(&text).await
}

fn caller(gateway: &Gateway) -> Caller {
    let mut caller = Caller::new(gateway);
    caller.key = "good-key";
    caller
}

/// What is wrong with an answer by a case's expectation.
fn wrong(case: &Value, expect: &Value, answer: &Answer) -> Option<String> {
    if u64::from(answer.status.as_u16()) != expect["status"] {
        return Some(format!("status {}: {}", answer.status, answer.text()));
    }
    let headers = expect["headers"].as_array().into_iter().flatten();
    for name in headers.map(|name| name.as_str().unwrap()) {
        if !answer.headers.contains_key(name) {
            return Some(format!("no header {name}"));
        }
    }
    if answer.header("x-request-id").is_none() {
        return Some("no x-request-id".to_owned());
    }
    if answer.status == 200 {
        return None;
    }
    let error = answer.assert_envelope();
    for key in ["param", "code", "type"] {
        if expect
            .get(key)
            .is_some_and(|expected| *expected != error[key])
        {
            return Some(format!("{key} is {}", error[key]));
        }
    }
    let says = |text: &Value, part: &Value| {
        let text = text.as_str().unwrap_or_default();
        part.as_str().is_none_or(|part| text.contains(part))
    };
    if !says(&error["message"], &expect["message_contains"]) {
        return Some(format!("message is {}", error["message"]));
    }
    if !says(&error["param"], &case["param_prefix"]) {
        return Some(format!("param is {}", error["param"]));
    }
    None
}

/// A case's request as it is sent.
async fn send(gateway: &Gateway, case: &Value) -> Answer {
    let body = match &case["request"] {
        Value::String(raw) => raw.clone(),
        Value::Null => String::new(),
        json => json.to_string(),
    };
    let http = &case["http"];
    if http.is_null() {
        return caller(gateway)
            .post("/openai/eu/v1/chat/completions", body)
            .await;
    }
    let method: Method = http["method"].as_str().unwrap().parse().unwrap();
    let path = http["path"].as_str().unwrap();
    let headers = http["headers"].as_object().unwrap().iter();
    let headers: BTreeMap<&str, &str> = headers
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    if http["transfer"] == "chunked" {
        let mut head: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        head.push_str("transfer-encoding: chunked\r\n");
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let request = raw_head(&method, path, &head) + &chunks;
        return raw(&mut stream, request.as_bytes()).await;
    }
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    caller(gateway)
        .send(request.body(Full::from(body)).unwrap())
        .await
}

/// Uses so much of a fresh budget that what a case states is left.
async fn spend(gateway: &Gateway, model: &str, state: &Value) {
    let number = |name: &str| state[name].as_u64().unwrap();
    let requests = number("limit_requests") - number("remaining_requests");
    let tokens = number("limit_tokens") - number("remaining_tokens");
    let mut left = tokens;
    for after in (0..requests).rev() {
        let used = left / (after + 1);
        left -= used;
        let request = json!({
            "model": model,
            "messages": [{"role": "user", "content": format!("use {used}")}],
            "max_tokens": used.saturating_sub(20).max(1),
        });
        let answer = caller(gateway).chat("eu", &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

async fn obliging_upstream() -> ScriptedUpstream {
    // `use 5` is answered with a usage of 5 tokens.
    ScriptedUpstream::start(|seen| {
        let text = String::from_utf8_lossy(seen.body());
        let used = text
            .split("\"use ")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let used = used
            .and_then(|number| number.parse().ok())
            .unwrap_or(10_u64);
        let wants_stream = serde_json::from_slice::<Value>(seen.body())
            .is_ok_and(|request| request["stream"] == true);
        if wants_stream {
            short_stream()
        } else {
            completion(used - 2, 2)
        }
    })
    .await
}

async fn all_requests(top: &str, expectation: impl Fn(&Value) -> &Value) {
    let (eu, us) = (obliging_upstream().await, obliging_upstream().await);
    let generous = "requests_per_minute = 100_000\ntokens_per_minute = 100_000_000";
    let common = gateway(top, generous, &eu, &us).await;
    let (mut count, mut failures) = (0, Vec::new());
    for case in cases(REQUESTS) {
        count += 1;
        let state = &case["state"];
        let own = if let Some(limit) = state["body_limit_bytes"].as_u64() {
            Some(
                gateway(
                    &format!("{top}max_body_bytes = {limit}"),
                    generous,
                    &eu,
                    &us,
                )
                .await,
            )
        } else if state.is_object() {
            let budget = format!(
                "requests_per_minute = {}\ntokens_per_minute = {}",
                state["limit_requests"], state["limit_tokens"]
            );
            let gateway = gateway(top, &budget, &eu, &us).await;
            let model = case["request"]["model"].as_str().unwrap();
            let model = if model.starts_with("gpt-4o") {
                model
            } else {
                "gpt-4o"
            };
            spend(&gateway, model, state).await;
            Some(gateway)
        } else {
            None
        };
        drop((eu.take_received(), us.take_received()));
        let answer = send(own.as_ref().unwrap_or(&common), &case).await;
        let expect = expectation(&case);
        if let Some(wrong) = wrong(&case, expect, &answer) {
            failures.push(format!("{}: {wrong}, expected {expect}", case["name"]));
        }
        let reached = eu.received().len() + us.received().len();
        if reached != usize::from(answer.status == 200) {
            failures.push(format!(
                "{}: {reached} requests reached an upstream",
                case["name"]
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "of {count} cases:\n{}",
        failures.join("\n")
    );
    assert!(count > 250, "only {count} cases were found");
}

#[tokio::test]
async fn requests_to_the_letter() {
    all_requests(STRICT, |case| &case["expect"]).await;
}

#[tokio::test]
async fn requests_of_todays_clients() {
    all_requests(COMPATIBLE, |case| {
        case.get("expect_lenient").unwrap_or(&case["expect"])
    })
    .await;
}

#[tokio::test]
async fn errors_of_upstreams() {
    for case in cases(UPSTREAM_ERRORS) {
        let (name, scripted, expect) = (
            &case["name"],
            case["upstream"].clone(),
            &case["expect_client"],
        );
        let eu = ScriptedUpstream::start(move |_| {
            let body = match &scripted["body"] {
                Value::String(text) => text.clone(),
                json => json.to_string(),
            };
            let status = u16::try_from(scripted["status"].as_u64().unwrap()).unwrap();
            let headers = scripted["headers"].as_object().unwrap().iter();
            headers.fold(Reply::new(status).data(body), |reply, (name, value)| {
                reply.header(name, value.as_str().unwrap())
            })
        })
        .await;
        let us = obliging_upstream().await;
        // A gateway for each: none has learnt to avoid the upstream.
        let gateway = gateway("", "", &eu, &us).await;
        for stream in [false, true] {
            let mut request = support::ask("Hello");
            request["stream"] = json!(stream);
            let answer = caller(&gateway).chat("eu", &request).await;
            if eu.take_received().is_empty() {
                assert!(stream, "{name}");
                // The first answer has told the gateway to leave the upstream alone.
                assert!(
                    [429, 503].contains(&answer.status.as_u16()),
                    "{name}: {answer:?}"
                );
                continue;
            }
            assert_eq!(
                u64::from(answer.status.as_u16()),
                expect["status"],
                "{name}: {answer:?}"
            );
            let error = answer.assert_envelope();
            for key in ["type", "code", "param"] {
                if let Some(value) = expect.get(key) {
                    assert_eq!(error[key], *value, "{name}: {key}");
                }
            }
            if let Some(part) = expect["message_contains"].as_str() {
                assert!(
                    error["message"].as_str().unwrap().contains(part),
                    "{name}: {error}"
                );
            }
            for absent in expect["absent_in_body"].as_array().into_iter().flatten() {
                assert!(
                    !answer.text().contains(absent.as_str().unwrap()),
                    "{name}: {error}"
                );
            }
            for (header, value) in expect["headers"].as_object().into_iter().flatten() {
                assert_eq!(answer.header(header), value.as_str(), "{name}: {header}");
            }
        }
        assert!(us.received().is_empty(), "{name}");
    }
}

/// An upstream, and the pieces of the stream that it answers next.
async fn streaming_upstream() -> (ScriptedUpstream, Arc<Mutex<Vec<Bytes>>>) {
    let script = Arc::new(Mutex::new(Vec::new()));
    let upstream = {
        let script = Arc::clone(&script);
        ScriptedUpstream::start(move |_| stream(script.lock().unwrap().clone())).await
    };
    (upstream, script)
}

fn pieces_of(case: &Value) -> Vec<Bytes> {
    let is_base64 = case["encoding"] == "base64";
    let pieces = case["upstream_chunks"].as_array().unwrap().iter();
    let texts = pieces.map(|piece| piece.as_str().unwrap());
    texts
        .map(|text| match is_base64 {
            true => support::from_base64(text).into(),
            false => text.to_owned().into(),
        })
        .collect()
}

fn request_of(case: &Value) -> Value {
    let mut request = support::ask_streamed("Hello");
    if case["client"]["include_usage"] == true {
        request["stream_options"] = json!({"include_usage": true});
    }
    request
}

const WIDE: &str = "requests_per_minute = 100_000\ntokens_per_minute = 100_000_000";

#[tokio::test]
async fn streams_however_they_are_cut() {
    let us = obliging_upstream().await;
    let (eu, script) = streaming_upstream().await;
    for case in cases(STREAMS) {
        let pieces = pieces_of(&case);
        let whole = Bytes::from(pieces.concat());
        let bytes = (0..whole.len()).map(|at| whole.slice(at..at + 1)).collect();
        for pieces in [pieces, vec![whole], bytes] {
            *script.lock().unwrap() = pieces;
            // A gateway for each: some of these streams are an upstream's failure.
            let gateway = gateway("", WIDE, &eu, &us).await;
            let request = request_of(&case);
            let answer = caller(&gateway).chat("eu", &request).await;
            assert_stream(&case, &answer);
            let sent = eu.take_received().pop().unwrap().json();
            assert_eq!(sent["stream_options"], json!({"include_usage": true}));
        }
    }
}

fn assert_stream(case: &Value, answer: &Answer) {
    let name = &case["name"];
    let expected = case["expect_client_events"].as_array().unwrap();
    // What fails before its first event is an answer with a status.
    if expected[0].get("error").is_some() {
        assert!(answer.status.as_u16() >= 400, "{name}: {answer:?}");
        if let Some(status) = case["expect_if_peeking"]["status"].as_u64() {
            assert_eq!(u64::from(answer.status.as_u16()), status, "{name}");
        }
        answer.assert_envelope();
        return;
    }
    assert_eq!(answer.status, 200, "{name}: {answer:?}");
    let mut events: Vec<&str> = answer.text().split("\n\n").collect();
    assert_eq!(events.pop(), Some(""), "{name}: the last event is whole");
    assert_eq!(events.len(), expected.len(), "{name}: {}", answer.text());
    let ignored: Vec<&str> = case["ignore_keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| key.as_str().unwrap())
        .collect();
    let relevant = |value: &Value| {
        let mut value = value.clone();
        for key in &ignored {
            value.as_object_mut().unwrap().remove(*key);
        }
        value
    };
    for (event, expected) in events.iter().zip(expected) {
        let data = event.strip_prefix("data: ").unwrap();
        if expected["done"] == true {
            assert_eq!(data, "[DONE]", "{name}");
            continue;
        }
        let seen: Value = serde_json::from_str(data).unwrap();
        if let Some(data) = expected.get("data") {
            assert_eq!(relevant(&seen), relevant(data), "{name}");
            continue;
        }
        let error = seen["error"].as_object().unwrap();
        assert_eq!(error.len(), 4, "{name}: {data}");
        for (key, value) in expected["error"].as_object().unwrap() {
            if key == "message_contains" {
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(value.as_str().unwrap()), "{name}: {data}");
            } else {
                assert_eq!(error[key], *value, "{name}: {data}");
            }
        }
    }
    for part in case["raw_contains"].as_array().into_iter().flatten() {
        assert!(answer.text().contains(part.as_str().unwrap()), "{name}");
    }
}

#[tokio::test]
async fn async_openai_reads_every_stream() {
    let us = obliging_upstream().await;
    let (eu, script) = streaming_upstream().await;
    for case in cases(STREAMS) {
        let name = &case["name"];
        *script.lock().unwrap() = pieces_of(&case);
        let gateway = gateway("", WIDE, &eu, &us).await;
        let config = OpenAIConfig::new()
            .with_api_base(format!("http://{}/openai/eu/v1", gateway.address()))
            .with_api_key("good-key");
        let request: CreateChatCompletionRequest =
            serde_json::from_value(request_of(&case)).unwrap();
        let client = async_openai::Client::with_config(config);
        let expected = case["expect_client_events"].as_array().unwrap();
        let whole = expected.last().unwrap()["done"] == true;
        let seen: Vec<_> = match client.chat().create_stream(request).await {
            Ok(stream) => stream.collect().await,
            Err(error) => vec![Err(error)],
        };
        let errors: Vec<_> = seen
            .iter()
            .filter_map(|chunk| chunk.as_ref().err())
            .collect();
        assert_eq!(errors.is_empty(), whole, "{name}: {errors:?}");
        if whole {
            // All but `[DONE]`.
            assert_eq!(seen.len(), expected.len() - 1, "{name}");
        }
    }
}
