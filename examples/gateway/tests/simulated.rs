//! The simulated upstream behaves like the service that it stands for.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use gateway::simulated::Simulated;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use support::{Answer, ask, ask_streamed};

const PATH: &str = "/openai/deployments/d/chat/completions?api-version=2024-10-21";

async fn upstream() -> Simulated {
    Simulated::start("eu", [("d", "gpt-4o")]).await.unwrap()
}

async fn call(upstream: &Simulated, path: &str, key: &str, body: &Value) -> Answer {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("{}{path}", upstream.url()))
        .header("api-key", key)
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        // What came before a break is what a caller of a broken stream has.
        body: read_all(body).await,
    }
}

async fn read_all(mut body: hyper::body::Incoming) -> Bytes {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().unwrap());
    }
    bytes.into()
}

async fn asked(upstream: &Simulated, body: &Value) -> Answer {
    call(upstream, PATH, upstream.api_key(), body).await
}

#[tokio::test]
async fn answers_have_azures_shape() {
    let upstream = upstream().await;
    let answer = asked(&upstream, &ask("Hello")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("x-ms-region"), Some("Sweden Central"));
    let json = answer.json();
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(json["model"], "gpt-4o-2024-11-20");
    let choice = &json["choices"][0];
    let content = choice["message"]["content"].as_str().unwrap();
    assert!(
        content.contains("eu") && content.ends_with("Hello"),
        "{content}"
    );
    assert_eq!(choice["finish_reason"], "stop");
    assert!(choice["content_filter_results"]["hate"].is_object());
    assert!(json["prompt_filter_results"][0].is_object());
    let usage = &json["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
}

#[tokio::test]
async fn streams_have_azures_shape() {
    let upstream = upstream().await;
    let mut request = ask_streamed("Hello");
    request["stream_options"] = json!({"include_usage": true});
    let answer = asked(&upstream, &request).await;
    let (events, done) = answer.events();
    assert!(done);
    assert_eq!(events[0]["choices"], json!([]));
    assert!(events[0]["prompt_filter_results"].is_array());
    assert_eq!(events[1]["choices"][0]["delta"]["role"], "assistant");
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert!(text.ends_with("Hello"), "{text}");
    let [.., last, usage] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"], Value::Null);
    assert!(usage["usage"]["total_tokens"].as_u64().unwrap() > 0);

    let (events, done) = asked(&upstream, &ask_streamed("Hello")).await.events();
    assert!(done);
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn a_cap_shortens_the_answer() {
    let mut request = ask("Hello");
    request["max_tokens"] = json!(2);
    let json = asked(&upstream().await, &request).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "Hello from ");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn tools_are_called_with_fitting_arguments() {
    let upstream = upstream().await;
    let mut request = ask("Weather?");
    request["tools"] = json!([{"type": "function", "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }}]);
    let whole = asked(&upstream, &request).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "get_weather");
    assert_eq!(function["arguments"], r#"{"city":"Berlin"}"#);

    request["stream"] = json!(true);
    let (events, _) = asked(&upstream, &request).await.events();
    let arguments: String = events
        .iter()
        .filter_map(|event| {
            event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
        })
        .collect();
    assert_eq!(arguments, r#"{"city":"Berlin"}"#);
}

#[tokio::test]
async fn json_is_answered_when_it_is_wanted() {
    let upstream = upstream().await;
    let content = async |format: Value| -> Value {
        let mut request = ask("json please");
        request["response_format"] = format;
        let answer = asked(&upstream, &request).await.json();
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap()
    };
    assert!(content(json!({"type": "json_object"})).await.is_object());
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "p", "schema": schema}});
    assert_eq!(content(format).await, json!({"age": 1}));
}

#[tokio::test]
async fn what_azure_refuses_is_refused() {
    let upstream = upstream().await;
    let wrong_key = call(&upstream, PATH, "nonsense", &ask("Hello")).await;
    assert_eq!(wrong_key.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong_key.json()["error"]["code"], "401");

    let key = upstream.api_key();
    for (path, code) in [
        ("/openai/deployments/d/chat/completions", "404"),
        (
            "/openai/deployments/x/chat/completions?api-version=1",
            "DeploymentNotFound",
        ),
        ("/v1/chat/completions?api-version=1", "404"),
    ] {
        let answer = call(&upstream, path, key, &ask("Hello")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json()["error"]["code"], code, "{path}");
    }
    let answer = call(&upstream, PATH, key, &json!({"messages": []})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn triggers_do_what_they_say() {
    let upstream = upstream().await;
    for status in [400, 401, 404, 408, 429, 500, 503] {
        let answer = asked(&upstream, &ask(&format!("!status {status}"))).await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["error"]["message"].is_string());
        assert_eq!(answer.headers.contains_key("retry-after"), status == 429);
    }

    let cut = asked(&upstream, &ask_streamed("one two three !cut")).await;
    assert_eq!(cut.status, StatusCode::OK);
    assert!(cut.text().contains("Hello"));
    assert!(!cut.text().contains("[DONE]"));
    let cut = asked(&upstream, &ask("!cut")).await;
    let length: usize = length_of(&cut.headers);
    assert!(cut.body.len() < length);

    let request = ask("!hang");
    let hang = asked(&upstream, &request);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), hang)
            .await
            .is_err()
    );
}

fn length_of(headers: &HeaderMap) -> usize {
    headers["content-length"].to_str().unwrap().parse().unwrap()
}
