//! What OpenAI and Azure answer when a model cannot do what is asked, as recorded.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use http::{Request, Response};
use serde_json::{Value, json};
use tollgate_core::{ChatRequest, Feature, InputKind, Member, SharedBody};
use tollgate_models::{Models, ModelsLayer, known};
use tollgate_testing::{ReadyProbe, ScriptedBody, check_body};
use tower::{Layer, ServiceExt};

#[tokio::test]
async fn all_of_the_shared_cases() {
    let cases = include_str!("../../../tests/fixtures/requests.jsonl").lines();
    let cases = cases.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut seen = 0;
    for case in cases.filter(|case| case["layer"] == "capability") {
        seen += 1;
        let (name, expect) = (&case["name"], case["expect"].as_object().unwrap());
        let (status, error) = ask(&case["request"]).await;
        assert_eq!(json!(status), expect["status"], "{name}");
        for member in ["type", "param", "code"] {
            if let Some(expected) = expect.get(member) {
                assert_eq!(error[member], *expected, "{name} {member}");
            }
        }
        if let Some(part) = expect.get("message_contains") {
            let message = error["message"].as_str().unwrap();
            assert!(
                message.contains(part.as_str().unwrap()),
                "{name}: {message}"
            );
        }
    }
    assert!(seen >= 12);
}

async fn ask(body: &Value) -> (u16, Value) {
    let models = ["gpt-4o", "gpt-4o-mini", "gpt-4", "gpt-35-turbo"];
    let models = models.iter().fold(Models::builder(), |models, name| {
        models.model(known(name).unwrap())
    });
    let probe = ReadyProbe::new(|_: Request<()>| Response::new(ScriptedBody::new().data("{}")));
    let service = ModelsLayer::new(models.build().unwrap()).layer(probe);
    let mut request = Request::new(());
    request.extensions_mut().insert(describe(body));
    request.extensions_mut().insert(shared(body));
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    let answer: Value = serde_json::from_slice(&check_body(body).await.data).unwrap();
    (head.status.as_u16(), answer["error"].clone())
}

/// The facts that `ValidateLayer` would find.
fn describe(body: &Value) -> ChatRequest {
    let mut request = ChatRequest::builder(body["model"].as_str().unwrap());
    for (i, message) in body["messages"].as_array().unwrap().iter().enumerate() {
        let role = message["role"].as_str().unwrap().to_owned();
        request = request.message().text(InputKind::Role, role, false);
        if let Some(text) = message["content"].as_str() {
            request = request.text(InputKind::Content, text.to_owned(), false);
        }
        for (j, part) in message["content"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let place = format!("messages.[{i}].content.[{j}].type");
            request = match part["type"].as_str().unwrap() {
                "image_url" => request.needs(Feature::Images, place),
                "input_audio" => request.needs(Feature::Audio, place),
                _ => request,
            };
        }
    }
    for param in ["max_tokens", "max_completion_tokens"] {
        if let Some(tokens) = body[param].as_u64() {
            request = request.output_cap(param, tokens);
        }
    }
    match body["response_format"]["type"].as_str() {
        Some("json_object") => request = request.needs(Feature::JsonObject, "response_format"),
        Some("json_schema") => request = request.needs(Feature::JsonSchema, "response_format"),
        _ => {}
    }
    for (param, feature) in [
        ("reasoning_effort", Feature::Reasoning),
        ("verbosity", Feature::Verbosity),
        ("web_search_options", Feature::WebSearch),
        ("logprobs", Feature::Logprobs),
        ("tools", Feature::Tools),
        ("functions", Feature::Tools),
    ] {
        if !body[param].is_null() {
            request = request.needs(feature, param);
        }
    }
    request.build()
}

fn shared(body: &Value) -> SharedBody {
    let (mut json, mut members) = (String::new(), Vec::new());
    for (name, value) in body.as_object().unwrap() {
        json.push(if members.is_empty() { '{' } else { ',' });
        let (start, value) = (json.len(), value.to_string());
        json.push_str(&format!("{}:", json!(name)));
        members.push(Member::new(
            name.clone(),
            start,
            json.len()..json.len() + value.len(),
        ));
        json.push_str(&value);
    }
    json.push('}');
    SharedBody::new(json.into(), members)
}
