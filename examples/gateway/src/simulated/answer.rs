//! Answers in Azure's dialect, whole and in chunks.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::{Value, json};
use tollgate::RequestId;

use super::{
    SLOW,
    call::{Call, Form, Trigger},
    json_response,
    sample::sample,
    script::Script,
};

/// What a region's deployments answer.
pub(super) struct Answers {
    region: String,
    /// From deployment to model.
    deployments: HashMap<String, String>,
}

impl Answers {
    pub(super) fn new<N, M>(region: &str, deployments: impl IntoIterator<Item = (N, M)>) -> Self
    where
        N: Into<String>,
        M: Into<String>,
    {
        Self {
            region: region.to_owned(),
            deployments: deployments
                .into_iter()
                .map(|(name, model)| (name.into(), model.into()))
                .collect(),
        }
    }

    pub(super) fn knows(&self, deployment: &str) -> bool {
        self.deployments.contains_key(deployment)
    }

    pub(super) fn answer(&self, deployment: &str, call: &Call) -> Response<Script> {
        let model = self.deployments.get(deployment).map_or("", String::as_str);
        let completion = Completion {
            id: format!("chatcmpl-{}", random_hex()),
            created: unix_seconds(),
            model: snapshot(model),
            said: self.say(call),
            call,
        };
        if call.stream {
            completion.streamed()
        } else {
            completion.whole()
        }
    }

    fn say(&self, call: &Call) -> Said {
        let region = &self.region;
        let text = match &call.form {
            Form::Text => {
                let question: String = call.question.chars().take(ECHOED_CHARS).collect();
                format!("Hello from the simulated {region} upstream. You said: {question}")
            }
            Form::ToolResult(result) => {
                let result: String = result.chars().take(ECHOED_CHARS).collect();
                format!("The tool told the simulated {region} upstream: {result}")
            }
            Form::ToolCall { name, parameters } => {
                return Said::ToolCall {
                    id: format!("call_{}", random_hex()),
                    name: name.clone(),
                    arguments: sample(parameters).to_string(),
                };
            }
            Form::JsonObject => {
                json!({"greeting": "hello", "region": region, "simulated": true}).to_string()
            }
            Form::JsonSchema(schema) => sample(schema).to_string(),
        };
        let mut tokens: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let cap = call.cap.unwrap_or(usize::MAX);
        let finish_reason = if tokens.len() > cap { "length" } else { "stop" };
        tokens.truncate(cap);
        Said::Text {
            tokens,
            finish_reason,
        }
    }
}

/// The content of an answer.
enum Said {
    Text {
        /// A word of text is a token here.
        tokens: Vec<String>,
        finish_reason: &'static str,
    },
    ToolCall {
        id: String,
        name: String,
        arguments: String,
    },
}

/// One answer, whatever its form.
struct Completion<'a> {
    id: String,
    created: u64,
    model: String,
    said: Said,
    call: &'a Call,
}

impl Completion<'_> {
    fn whole(&self) -> Response<Script> {
        let mut message = json!({"role": "assistant", "content": null, "refusal": null});
        match &self.said {
            Said::Text { tokens, .. } => message["content"] = json!(tokens.concat()),
            Said::ToolCall {
                id,
                name,
                arguments,
            } => {
                message["tool_calls"] = json!([{
                    "id": id,
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }]);
            }
        }
        let completion = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": null,
                "finish_reason": self.finish_reason(),
                "content_filter_results": filter_results(),
            }],
            "usage": self.usage(),
            "system_fingerprint": FINGERPRINT,
            "prompt_filter_results": prompt_filter_results(),
        });
        let mut response = json_response(StatusCode::OK, &completion);
        if self.call.trigger == Trigger::Cut {
            *response.body_mut() = Script::half(completion.to_string().into());
        }
        response
    }

    fn streamed(&self) -> Response<Script> {
        let pause = match self.call.trigger {
            Trigger::Slow => SLOW,
            _ => PAUSE,
        };
        let mut deltas = self.deltas();
        if self.call.trigger == Trigger::Cut {
            deltas.truncate(deltas.len().div_ceil(2));
        }
        let mut script = Script::new();
        script.send(Duration::ZERO, event(&prompt_filter_chunk()));
        for (delta, filters) in deltas {
            let choice = json!({
                "index": 0,
                "delta": delta,
                "logprobs": null,
                "finish_reason": null,
                "content_filter_results": filters,
            });
            script.send(pause, event(&self.chunk(&json!([choice]), &Value::Null)));
        }
        if self.call.trigger == Trigger::Cut {
            script.cut();
        } else {
            let choice = json!({
                "index": 0,
                "delta": {},
                "logprobs": null,
                "finish_reason": self.finish_reason(),
                "content_filter_results": {},
            });
            script.send(pause, event(&self.chunk(&json!([choice]), &Value::Null)));
            if self.call.include_usage {
                let usage = self.chunk(&json!([]), &self.usage());
                script.send(Duration::ZERO, event(&usage));
            }
            script.send(Duration::ZERO, Bytes::from_static(b"data: [DONE]\n\n"));
        }

        let mut response = Response::new(script);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    /// The deltas of a stream, each with the filter results of its choice.
    fn deltas(&self) -> Vec<(Value, Value)> {
        let unfiltered = json!({});
        match &self.said {
            Said::Text { tokens, .. } => {
                let first = json!({"role": "assistant", "content": "", "refusal": null});
                let content = tokens
                    .iter()
                    .map(|token| (json!({"content": token}), filter_results()));
                std::iter::once((first, unfiltered))
                    .chain(content)
                    .collect()
            }
            Said::ToolCall {
                id,
                name,
                arguments,
            } => {
                let call = json!({
                    "index": 0,
                    "id": id,
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                });
                let first = json!({"role": "assistant", "content": null, "tool_calls": [call]});
                let fragments = arguments.split_inclusive([':', ',']).map(|fragment| {
                    let call = json!({"index": 0, "function": {"arguments": fragment}});
                    (json!({"tool_calls": [call]}), unfiltered.clone())
                });
                std::iter::once((first, unfiltered.clone()))
                    .chain(fragments)
                    .collect()
            }
        }
    }

    fn chunk(&self, choices: &Value, usage: &Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "system_fingerprint": FINGERPRINT,
        });
        // Only callers who asked see the member, and then on every chunk.
        if self.call.include_usage {
            chunk["usage"] = usage.clone();
        }
        chunk
    }

    fn finish_reason(&self) -> &'static str {
        match &self.said {
            Said::Text { finish_reason, .. } => finish_reason,
            Said::ToolCall { .. } => "tool_calls",
        }
    }

    fn usage(&self) -> Value {
        let completion = match &self.said {
            Said::Text { tokens, .. } => tokens.len(),
            Said::ToolCall { arguments, .. } => 8 + arguments.len() / 4,
        };
        let prompt = self.call.prompt_tokens;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0,
                "audio_tokens": 0,
                "reasoning_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }
}

/// The chunk with which Azure opens every stream: nothing in it is a choice.
fn prompt_filter_chunk() -> Value {
    json!({
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": prompt_filter_results(),
    })
}

fn prompt_filter_results() -> Value {
    let mut results = filter_results();
    results["jailbreak"] = json!({"filtered": false, "detected": false});
    json!([{"prompt_index": 0, "content_filter_results": results}])
}

fn filter_results() -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe})
}

fn event(chunk: &Value) -> Bytes {
    format!("data: {chunk}\n\n").into()
}

/// The dated name under which Azure answers for a model.
fn snapshot(model: &str) -> String {
    let dated = match model {
        "gpt-4o" => "gpt-4o-2024-11-20",
        "gpt-4o-mini" => "gpt-4o-mini-2024-07-18",
        "gpt-4" => "gpt-4-0613",
        "gpt-35-turbo" => "gpt-3.5-turbo-0125",
        other => other,
    };
    dated.to_owned()
}

/// 128 random bits.
pub(super) fn random_hex() -> String {
    let id = RequestId::mint();
    let digits = id.as_str();
    digits.strip_prefix("req_").unwrap_or(digits).to_owned()
}

pub(super) fn random_id_header() -> HeaderValue {
    RequestId::mint().header_value().clone()
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

const ECHOED_CHARS: usize = 200;
const FINGERPRINT: &str = "fp_b705f0c291";
const PAUSE: Duration = Duration::from_millis(15);
