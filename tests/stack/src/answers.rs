use http::StatusCode;
use serde_json::{Value, json};
use tollgate_testing::upstream::Reply;

/// A chat completion as Azure writes one, that took 10 + 5 tokens.
pub fn completion(text: &str) -> Reply {
    completion_that_took(10, 5, text)
}

/// The same, but for what it took.
pub fn completion_that_took(prompt: u64, output: u64, text: &str) -> Reply {
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
    as_azure(Reply::json(body))
}

/// A stream of these texts as Azure writes it, cut in the middle of every event.
///
/// It took 10 + 5 tokens, and says so whether it was asked or not.
pub fn stream(texts: &[&str]) -> Reply {
    let mut end = event(&chunk_of(&json!({}), &json!("stop")));
    end.push_str(&event(&chunk_with(
        &json!([]),
        &json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}),
    )));
    end.push_str("data: [DONE]\n\n");
    halves(beginning(texts), &end)
}

/// The same, but that nothing comes after the last text, and the connection stays open.
pub fn stalled_stream(texts: &[&str]) -> Reply {
    beginning(texts).stall()
}

/// The same, but that the connection breaks after the last text.
pub fn broken_stream(texts: &[&str]) -> Reply {
    beginning(texts).close()
}

/// A stream that is nothing but an error.
pub fn failed_stream() -> Reply {
    let error =
        json!({"error": {"message": "Something about resource contoso-eu.", "code": "500"}});
    as_azure(Reply::sse([error]))
}

fn beginning(texts: &[&str]) -> Reply {
    let start = as_azure(Reply::sse([""; 0]));
    texts.iter().fold(start, |reply, text| {
        halves(reply, &event(&chunk(text, None)))
    })
}

/// An error as Azure writes one.
pub fn error(status: StatusCode, code: &str) -> Reply {
    let body = json!({"error": {"code": code, "message": "Something about resource contoso-eu."}});
    as_azure(Reply::json(body).status(status))
}

fn as_azure(reply: Reply) -> Reply {
    reply
        .header("x-ms-region", "Sweden Central")
        .header("x-ratelimit-remaining-tokens", "7")
}

fn halves(reply: Reply, text: &str) -> Reply {
    let (first, second) = text.split_at(text.len() / 2);
    reply.data(first.to_owned()).data(second.to_owned())
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// A chunk of a stream with this text.
#[must_use]
pub fn chunk(text: &str, finish_reason: Option<&str>) -> Value {
    chunk_of(&json!({"content": text}), &json!(finish_reason))
}

fn chunk_of(delta: &Value, finish_reason: &Value) -> Value {
    let choice =
        json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
    chunk_with(&json!([choice]), &Value::Null)
}

fn chunk_with(choices: &Value, usage: &Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_730_000_000,
        "model": "gpt-4o-2024-11-20", "choices": choices, "usage": usage,
    })
}
