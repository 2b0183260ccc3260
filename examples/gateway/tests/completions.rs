//! Calls that succeed, and upstreams that do not.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Caller, ask, ask_streamed, start};

#[tokio::test]
async fn each_region_answers_from_its_own_upstream() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    for (region, upstream) in [("eu", "sweden"), ("us", "virginia")] {
        let answer = caller.chat(region, &ask("Hello")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-tollgate-region"), Some(region));
        assert_eq!(answer.header("x-tollgate-upstream"), Some(upstream));
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
        answer.assert_nothing_leaks();
        let json = answer.json();
        let content = json["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(
            content.contains(&format!("simulated {region} upstream")),
            "{content}"
        );
        assert!(json["usage"]["total_tokens"].as_u64().unwrap() > 0);
        assert!(json.get("prompt_filter_results").is_none(), "{json}");
        assert!(
            json["choices"][0].get("content_filter_results").is_none(),
            "{json}"
        );
    }
    // Paths without a region are served by the default region.
    let answer = caller
        .post("/v1/chat/completions", ask("Hello").to_string())
        .await;
    assert_eq!(answer.header("x-tollgate-region"), Some("eu"));
    // Nothing that a caller sends chooses another.
    let request = http::Request::post("/openai/eu/v1/chat/completions?region=us")
        .header("authorization", format!("Bearer {}", support::KEY))
        .header("content-type", "application/json")
        .header("x-tollgate-region", "us")
        .header("host", "us")
        .body(http_body_util::Full::new(ask("Hello").to_string().into()))
        .unwrap();
    let answer = caller.send(request).await;
    assert_eq!(answer.header("x-tollgate-upstream"), Some("sweden"));
}

#[tokio::test]
async fn streams_are_clean_and_complete() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    for region in ["eu", "us"] {
        let answer = caller.chat(region, &ask_streamed("Hello")).await;
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        assert_eq!(answer.header("x-tollgate-region"), Some(region));
        answer.assert_nothing_leaks();
        let (events, done) = answer.events();
        assert!(done);
        for event in &events {
            assert_eq!(event["object"], "chat.completion.chunk");
            assert_eq!(event["choices"].as_array().unwrap().len(), 1, "{event}");
            assert!(event.get("usage").is_none(), "{event}");
            assert!(
                event["choices"][0].get("content_filter_results").is_none(),
                "{event}"
            );
        }
        assert!(text_of(&events).contains(&format!("simulated {region} upstream")));
        let last = &events.last().unwrap()["choices"][0];
        assert_eq!(last["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn usage_is_shown_to_those_who_asked() {
    let gateway = start("").await;
    let mut request = ask_streamed("Hello");
    request["stream_options"] = json!({"include_usage": true});
    let answer = Caller::new(&gateway).chat("eu", &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (events, done) = answer.events();
    assert!(done);
    let usage = events.last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_used() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    let mut request = ask("What is the weather?");
    request["tools"] = json!([{"type": "function", "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }}]);
    let first = caller.chat("eu", &request).await.json();
    let message = first["choices"][0]["message"].clone();
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    let id = message["tool_calls"][0]["id"].clone();
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(message);
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "12 degrees"}));
    let second = caller.chat("eu", &request).await;
    assert_eq!(second.status, 200, "{second:?}");
    let content = second.json()["choices"][0]["message"]["content"].clone();
    assert!(
        content.as_str().unwrap().contains("12 degrees"),
        "{content}"
    );
}

#[tokio::test]
async fn json_mode_answers_an_object() {
    let gateway = start("").await;
    let mut request = ask("Answer in json");
    request["response_format"] = json!({"type": "json_object"});
    let answer = Caller::new(&gateway).chat("us", &request).await.json();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(content).unwrap().is_object());
}

#[tokio::test]
async fn an_alias_is_answered_by_its_model() {
    let gateway = start("").await;
    let mut request = ask("Hello");
    request["model"] = json!("mini");
    let answer = Caller::new(&gateway).chat("eu", &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["model"], "gpt-4o-mini-2024-07-18");
}

#[tokio::test]
async fn models_are_listed_to_those_who_may_use_them() {
    let gateway = start("").await;
    let mut caller = Caller::new(&gateway);
    let ids = |answer: &Value| -> Vec<String> {
        let data = answer["data"].as_array().unwrap();
        let mut ids: Vec<_> = data
            .iter()
            .map(|m| m["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let answer = caller.get("/openai/eu/v1/models").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["object"], "list");
    assert_eq!(json["data"][0]["object"], "model");
    assert!(ids(&json).contains(&"gpt-4o".to_owned()));

    let one = caller.get("/openai/us/v1/models/gpt-4o").await;
    assert_eq!(one.json()["id"], "gpt-4o");
    caller
        .get("/v1/models/gpt-9")
        .await
        .assert_refusal(404, Some("model_not_found"));

    caller.key = "sk-small-1";
    let small = ids(&caller.get("/v1/models").await.json());
    assert!(!small.contains(&"gpt-4o".to_owned()), "{small:?}");
    assert!(small.contains(&"gpt-4o-mini".to_owned()), "{small:?}");
    caller
        .get("/v1/models/gpt-4o")
        .await
        .assert_refusal(404, Some("model_not_found"));
    caller.key = "sk-wrong";
    caller
        .get("/v1/models")
        .await
        .assert_refusal(401, Some("invalid_api_key"));
}

#[tokio::test]
async fn an_upstreams_errors_are_the_callers_only_where_they_concern_it() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    for (upstream, status, code) in [
        (400, 400, Some("content_filter")),
        (401, 502, Some("upstream_auth_failed")),
        (404, 502, Some("upstream_deployment_not_found")),
        (408, 504, Some("upstream_timeout")),
        (429, 429, Some("rate_limit_exceeded")),
    ] {
        // Each in a gateway that has not learnt to avoid its upstream.
        let gateway = start("").await;
        let caller = Caller::new(&gateway);
        let answer = caller
            .chat("eu", &ask(&format!("!status {upstream}")))
            .await;
        let message = answer.json()["error"]["message"].clone();
        if upstream == 400 {
            // The one text that is passed on names the vendor.
            assert_eq!(answer.status, 400);
            assert_eq!(answer.json()["error"]["param"], "prompt");
            assert_eq!(answer.json()["error"]["code"], "content_filter");
            assert!(
                answer.json()["error"].get("innererror").is_none(),
                "{message}"
            );
            continue;
        }
        answer.assert_refusal(status, code);
        assert_eq!(answer.headers.contains_key("retry-after"), upstream == 429);
    }
    for upstream in [500, 503] {
        let gateway = start("").await;
        let answer = Caller::new(&gateway)
            .chat("us", &ask(&format!("!status {upstream}")))
            .await;
        let code = answer.json()["error"]["code"].clone();
        answer.assert_refusal(upstream, code.as_str());
        assert_eq!(answer.header("x-tollgate-region"), Some("us"));
    }
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
}

#[tokio::test]
async fn a_cut_answer_never_looks_complete() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    let stream = caller.chat("eu", &ask_streamed("one two three !cut")).await;
    assert_eq!(stream.status, 200);
    let (events, done) = stream.events();
    assert!(!done);
    let error = &events.last().unwrap()["error"];
    assert_eq!(error["code"], "upstream_stream_truncated", "{events:?}");
    stream.assert_nothing_leaks();

    let whole = caller.chat("us", &ask("!cut")).await;
    let code = whole.json()["error"]["code"].clone();
    whole.assert_refusal(502, code.as_str());
}

fn text_of(events: &[Value]) -> String {
    events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect()
}
