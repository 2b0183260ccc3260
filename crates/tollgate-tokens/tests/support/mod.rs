//! A chat request of a few lines of JSON, described as `ValidateLayer` would.

use serde_json::Value;
use tollgate_core::{ChatRequest, InputKind, Model};

pub(crate) fn describe(body: &Value) -> (ChatRequest, Model) {
    let name = body["model"].as_str().unwrap();
    let mut request = ChatRequest::builder(name);
    for message in body["messages"].as_array().unwrap() {
        request = request.message();
        let mut add = |kind, text: &Value| {
            if let Some(text) = text.as_str() {
                // As it would stand in a body.
                let json = Value::from(text).to_string();
                let inside = json[1..json.len() - 1].to_owned();
                request = request.clone().text(kind, inside, true);
            }
        };
        add(InputKind::Role, &message["role"]);
        add(InputKind::Name, &message["name"]);
        add(InputKind::Content, &message["content"]);
        let call = &message["function_call"];
        add(InputKind::ToolCall, &call["name"]);
        add(InputKind::ToolCall, &call["arguments"]);
    }
    for list in ["tools", "functions"] {
        for schema in body[list].as_array().into_iter().flatten() {
            request = request.text(InputKind::Schema, schema.to_string(), false);
        }
    }
    for choice in ["tool_choice", "function_call"] {
        if !body[choice].is_null() {
            request = request.text(InputKind::ToolChoice, body[choice].to_string(), false);
        }
    }
    (request.build(), Model::new(name))
}
