use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tollgate_testing::ScriptedBody;

/// A chat completion as Azure writes one, that took 10 + 5 tokens.
#[must_use]
pub fn completion(text: &str) -> Response<ScriptedBody> {
    completion_that_took(10, 5, text)
}

/// The same, but for what it took.
#[must_use]
pub fn completion_that_took(prompt: u64, output: u64, text: &str) -> Response<ScriptedBody> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_730_000_000,
        "model": "gpt-4o-2024-11-20",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null, "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
        },
    });
    answer(StatusCode::OK, "application/json", one(&body.to_string()))
}

/// A stream of these texts as Azure writes it, cut in the middle of every event.
///
/// It took 10 + 5 tokens, and says so whether it was asked or not.
#[must_use]
pub fn stream(texts: &[&str]) -> Response<ScriptedBody> {
    let mut end = event(&delta(&json!({}), &json!("stop")));
    end.push_str(&event(&chunk(
        &json!([]),
        &json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}),
    )));
    end.push_str("data: [DONE]\n\n");
    let body = halves(beginning(texts), &end);
    answer(StatusCode::OK, "text/event-stream", body)
}

/// The same, but that nothing comes after the last text, and the connection stays open.
#[must_use]
pub fn stalled_stream(texts: &[&str]) -> Response<ScriptedBody> {
    answer(StatusCode::OK, "text/event-stream", beginning(texts).hang())
}

/// The same, but that the connection breaks after the last text.
#[must_use]
pub fn broken_stream(texts: &[&str]) -> Response<ScriptedBody> {
    // A server that hears of the error before it has flushed would drop what it holds.
    let body = beginning(texts).pending().error();
    answer(StatusCode::OK, "text/event-stream", body)
}

/// A stream that is nothing but an error.
#[must_use]
pub fn failed_stream() -> Response<ScriptedBody> {
    let error =
        json!({"error": {"message": "Something about resource contoso-eu.", "code": "500"}});
    let body = one(&event(&error));
    answer(StatusCode::OK, "text/event-stream", body)
}

fn beginning(texts: &[&str]) -> ScriptedBody {
    texts.iter().fold(ScriptedBody::new(), |body, text| {
        halves(
            body,
            &event(&delta(&json!({"content": text}), &Value::Null)),
        )
    })
}

/// An error as Azure writes one.
#[must_use]
pub fn error(status: StatusCode, code: &str) -> Response<ScriptedBody> {
    let body = json!({"error": {"code": code, "message": "Something about resource contoso-eu."}});
    answer(status, "application/json", one(&body.to_string()))
}

fn answer(status: StatusCode, content_type: &str, body: ScriptedBody) -> Response<ScriptedBody> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-ms-region", "Sweden Central")
        .header("x-ratelimit-remaining-tokens", "7")
        .body(body)
        .unwrap()
}

fn one(text: &str) -> ScriptedBody {
    ScriptedBody::new().data(text.to_owned()).announce_length()
}

fn halves(body: ScriptedBody, text: &str) -> ScriptedBody {
    let text = Bytes::from(text.to_owned());
    let middle = text.len() / 2;
    body.data(text.slice(..middle))
        .pending()
        .data(text.slice(middle..))
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn delta(delta: &Value, finish_reason: &Value) -> Value {
    chunk(
        &json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]),
        &Value::Null,
    )
}

fn chunk(choices: &Value, usage: &Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_730_000_000,
        "model": "gpt-4o-2024-11-20", "choices": choices, "usage": usage,
    })
}
