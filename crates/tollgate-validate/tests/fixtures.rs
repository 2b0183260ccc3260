//! The shared cases of the wire protocol, as far as this layer decides them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use http::{Request, Response, StatusCode};
use serde_json::Value;
use tollgate_core::RequestBody;
use tollgate_testing::{ReadyProbe, ScriptedBody, check_body};
use tollgate_validate::{Policy, ValidateLayer};
use tower::{Layer, ServiceExt};

const CASES: &str = include_str!("../../../tests/fixtures/requests.jsonl");
const LAYERS: [&str; 5] = ["schema", "semantic", "policy", "json", "order"];

struct Answer {
    status: StatusCode,
    error: Value,
    /// What reached the service.
    forwarded: Option<Value>,
}

async fn ask(policy: Policy, body: String) -> Answer {
    let probe = ReadyProbe::new(|request: Request<RequestBody<ScriptedBody>>| {
        Response::new(request.into_body())
    });
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(ScriptedBody::new().data(body))
        .unwrap();
    let response = ValidateLayer::new(policy).layer(probe).oneshot(request);
    let (head, body) = response.await.unwrap().into_parts();
    let body = serde_json::from_slice(&check_body(body).await.data).unwrap_or_default();
    let passed = head.status == StatusCode::OK;
    Answer {
        status: head.status,
        error: if passed {
            Value::Null
        } else {
            body_error(&body)
        },
        forwarded: passed.then_some(body),
    }
}

fn body_error(body: &Value) -> Value {
    for key in ["message", "type", "param", "code"] {
        assert!(body["error"].get(key).is_some(), "{body} lacks {key}");
    }
    body["error"].clone()
}

/// What is wrong with this answer by this expectation.
fn wrong(answer: &Answer, expect: &Value) -> Option<String> {
    // Which models there are is not this layer's business.
    let status = match expect["status"].as_u64().unwrap() {
        404 => 200,
        status => status,
    };
    if u64::from(answer.status.as_u16()) != status {
        return Some(format!("status {}", answer.status));
    }
    for key in ["param", "code", "type"] {
        let expected = expect.get(key).filter(|_| status != 200);
        if expected.is_some_and(|expected| *expected != answer.error[key]) {
            return Some(format!("{key} is {}", answer.error[key]));
        }
    }
    if let Some(part) = expect.get("message_contains").filter(|_| status != 200) {
        let message = answer.error["message"].as_str().unwrap();
        if !message.contains(part.as_str().unwrap()) {
            return Some(format!("message is {message:?}"));
        }
    }
    let absent = expect.get("forward_absent").and_then(Value::as_array);
    for name in absent.into_iter().flatten() {
        let forwarded = answer.forwarded.as_ref().unwrap();
        if forwarded.get(name.as_str().unwrap()).is_some() {
            return Some(format!("{name} was passed on"));
        }
    }
    None
}

fn body(request: &Value) -> String {
    match request {
        Value::String(raw) => raw.clone(),
        Value::Null => String::new(),
        json => json.to_string(),
    }
}

async fn run(policy: fn() -> Policy, expectation: impl Fn(&Value) -> Option<&Value>) {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let layer = case["layer"].as_str().unwrap();
        let Some(expect) = expectation(&case).filter(|_| LAYERS.contains(&layer)) else {
            continue;
        };
        count += 1;
        let answer = ask(policy(), body(&case["request"])).await;
        if let Some(wrong) = wrong(&answer, expect) {
            failures.push(format!("{}: {wrong}, expected {expect}", case["name"]));
        }
    }
    assert!(
        failures.is_empty(),
        "{count} cases:\n{}",
        failures.join("\n")
    );
    assert!(count > 200, "only {count} cases were found");
}

#[tokio::test]
async fn strict() {
    run(Policy::strict, |case| case.get("expect")).await;
}

#[tokio::test]
async fn compatible() {
    run(Policy::compatible, |case| {
        case.get("expect_lenient").or_else(|| case.get("expect"))
    })
    .await;
}
