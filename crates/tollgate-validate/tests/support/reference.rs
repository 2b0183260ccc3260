//! The API's rules once more, slow and obvious, over a parsed value.
//!
//! Written from the published parameter tables and recorded error answers, not from the layer.

use serde_json::{Map, Value};

/// What an answer says about a fault: `param` and `code`.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

type Verdict = Result<(), Fault>;

fn fault<T>(param: impl Into<String>, code: &'static str) -> Result<T, Fault> {
    Err(Fault {
        param: Some(param.into()),
        code: Some(code),
    })
}

/// A rule without a code.
fn broken<T>(param: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        param: Some(param.into()),
        code: None,
    })
}

fn nothing<T>() -> Result<T, Fault> {
    Err(Fault {
        param: None,
        code: None,
    })
}

/// In the order in which the API reports faults.
const ORDER: [&str; 37] = [
    "model",
    "messages",
    "functions",
    "function_call",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_completion_tokens",
    "n",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "user",
    "seed",
    "moderation",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "response_format",
    "service_tier",
    "max_tokens",
    "reasoning_effort",
    "logit_bias",
    "stop",
    "stream",
    "stream_options",
    "store",
    "metadata",
    "prediction",
    "verbosity",
    "modalities",
    "audio",
    "web_search_options",
];

/// The verdict about a request, strict or compatible.
pub fn verdict(request: &Value, strict: bool) -> Verdict {
    let Some(request) = request.as_object() else {
        return nothing();
    };
    match request.get("model") {
        None | Some(Value::Null) => return nothing(),
        Some(Value::String(model)) if model.is_empty() => return nothing(),
        Some(Value::String(_)) => {}
        Some(_) => return fault("model", "invalid_type"),
    }
    match request.get("messages") {
        None => return fault("messages", "missing_required_parameter"),
        Some(Value::Null) => return fault("messages", "invalid_type"),
        Some(_) => {}
    }
    if let Some(unknown) = request.keys().find(|key| !ORDER.contains(&key.as_str())) {
        return fault(unknown, "unknown_parameter");
    }
    // Null means absent.
    let request: Map<String, Value> = request
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for name in ORDER {
        if request
            .get(name)
            .is_some_and(|value| refused(name, value, strict))
        {
            return fault(name, "unsupported_parameter");
        }
    }
    for name in ORDER {
        if let Some(value) = request.get(name) {
            parameter(name, value)?;
        }
    }
    dialogue(request["messages"].as_array().unwrap())?;
    across(&request, strict)
}

/// What is absorbed in the compatible mode.
fn is_absorbed(name: &str, value: &Value) -> bool {
    match name {
        "n" => integer(value) == Some(1.0),
        "parallel_tool_calls" => *value == Value::Bool(true),
        "service_tier" => *value == "auto" || *value == "default",
        "stream_options" => !value.is_null(),
        _ => false,
    }
}

/// What is taken out of the body: null is absence.
pub fn is_taken_out(name: &str, value: &Value, strict: bool) -> bool {
    let absent = RESTRICTED.contains(&name) && value.is_null();
    absent || (!strict && is_absorbed(name, value))
}

fn refused(name: &str, value: &Value, strict: bool) -> bool {
    RESTRICTED.contains(&name) && (strict || !is_absorbed(name, value))
}

const RESTRICTED: [&str; 4] = ["n", "parallel_tool_calls", "service_tier", "stream_options"];

/// The value of a number without a fraction, in whatever spelling.
fn integer(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.fract() == 0.0)
}

fn parameter(name: &str, value: &Value) -> Verdict {
    match name {
        "model" => Ok(()),
        "messages" => messages(value),
        "functions" => {
            let functions = array(name, value)?;
            length(name, functions.len(), 128)?;
            for (i, function) in functions.iter().enumerate() {
                let path = format!("functions[{i}]");
                definition(&path, object(&path, function)?)?;
            }
            Ok(())
        }
        "tools" => {
            let tools = array(name, value)?;
            length(name, tools.len(), 128)?;
            for (i, one) in tools.iter().enumerate() {
                tool(&format!("tools[{i}]"), one)?;
            }
            Ok(())
        }
        "function_call" => match value {
            Value::String(_) => choice(name, value, &["none", "auto"]),
            Value::Object(chosen) => function_name(name, chosen),
            _ => fault(name, "invalid_type"),
        },
        "tool_choice" => tool_choice(value),
        "n" => range(name, value, 1.0, 128.0),
        "max_tokens" | "max_completion_tokens" => range(name, value, 1.0, BEYOND_I64),
        "seed" => seed(value),
        "top_logprobs" => range(name, value, 0.0, f64::INFINITY),
        "temperature" => decimal(name, value, 0.0, 2.0),
        "top_p" => decimal(name, value, 0.0, 1.0),
        "presence_penalty" | "frequency_penalty" => decimal(name, value, -2.0, 2.0),
        "logprobs" | "stream" | "store" | "parallel_tool_calls" => boolean(name, value),
        "user" => string(name, value).map(|_| ()),
        "safety_identifier" | "prompt_cache_key" => text(name, value, 64),
        "prompt_cache_retention" => choice(name, value, &["in_memory", "in-memory", "24h"]),
        "moderation" | "prompt_cache_options" | "web_search_options" => {
            object(name, value).map(|_| ())
        }
        "response_format" => response_format(object(name, value)?),
        "service_tier" => string(name, value).map(|_| ()),
        "reasoning_effort" => choice(
            name,
            value,
            &["none", "minimal", "low", "medium", "high", "xhigh", "max"],
        ),
        "verbosity" => choice(name, value, &["low", "medium", "high"]),
        "logit_bias" => logit_bias(object(name, value)?),
        "stop" => stop(value),
        "stream_options" => {
            let options = object(name, value)?;
            for (key, value) in options {
                match key.as_str() {
                    "include_usage" | "include_obfuscation" if value.is_null() => {}
                    "include_usage" | "include_obfuscation" => {
                        boolean(&format!("stream_options.{key}"), value)?;
                    }
                    _ => return fault(format!("stream_options.{key}"), "unknown_parameter"),
                }
            }
            Ok(())
        }
        "metadata" => metadata(object(name, value)?),
        "prediction" => prediction(object(name, value)?),
        "modalities" => {
            for (i, item) in array(name, value)?.iter().enumerate() {
                choice(&format!("modalities[{i}]"), item, &["text", "audio"])?;
            }
            Ok(())
        }
        "audio" => {
            let audio = object(name, value)?;
            if !matches!(audio.get("voice"), Some(Value::Object(_))) {
                required_string(name, audio, "voice")?;
            }
            required_string(name, audio, "format")
        }
        _ => panic!("{name} is in no table"),
    }
}

// === Values ===

fn array<'v>(path: &str, value: &'v Value) -> Result<&'v [Value], Fault> {
    match value {
        Value::Array(items) => Ok(items),
        _ => fault(path, "invalid_type"),
    }
}

fn object<'v>(path: &str, value: &'v Value) -> Result<&'v Map<String, Value>, Fault> {
    match value {
        Value::Object(members) => Ok(members),
        _ => fault(path, "invalid_type"),
    }
}

fn string<'v>(path: &str, value: &'v Value) -> Result<&'v str, Fault> {
    match value {
        Value::String(text) => Ok(text),
        _ => fault(path, "invalid_type"),
    }
}

fn boolean(path: &str, value: &Value) -> Verdict {
    match value {
        Value::Bool(_) => Ok(()),
        _ => fault(path, "invalid_type"),
    }
}

/// A member that may be absent or null.
fn optional<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn required<'v>(
    path: &str,
    members: &'v Map<String, Value>,
    name: &str,
) -> Result<&'v Value, Fault> {
    match members.get(name) {
        Some(value) => Ok(value),
        None => fault(format!("{path}.{name}"), "missing_required_parameter"),
    }
}

fn required_string(path: &str, members: &Map<String, Value>, name: &str) -> Verdict {
    let value = required(path, members, name)?;
    string(&format!("{path}.{name}"), value).map(|_| ())
}

fn text(path: &str, value: &Value, max: usize) -> Verdict {
    if string(path, value)?.chars().count() > max {
        return fault(path, "string_above_max_length");
    }
    Ok(())
}

fn choice(path: &str, value: &Value, supported: &[&str]) -> Verdict {
    if !supported.contains(&string(path, value)?) {
        return fault(path, "invalid_value");
    }
    Ok(())
}

fn length(path: &str, length: usize, max: usize) -> Verdict {
    match length {
        0 => fault(path, "empty_array"),
        length if length > max => fault(path, "array_above_max_length"),
        _ => Ok(()),
    }
}

fn range(path: &str, value: &Value, min: f64, max: f64) -> Verdict {
    match integer(value) {
        None => fault(path, "invalid_type"),
        Some(number) if number < min => fault(path, "integer_below_min_value"),
        Some(number) if number > max || number >= BEYOND_I64 && max == BEYOND_I64 => {
            fault(path, "integer_above_max_value")
        }
        Some(_) => Ok(()),
    }
}

const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

fn seed(value: &Value) -> Verdict {
    if value.is_i64() {
        return Ok(());
    }
    match integer(value) {
        None => fault("seed", "invalid_type"),
        Some(number) if number < -BEYOND_I64 => fault("seed", "integer_below_min_value"),
        Some(number) if number >= BEYOND_I64 => fault("seed", "integer_above_max_value"),
        Some(_) => Ok(()),
    }
}

fn decimal(path: &str, value: &Value, min: f64, max: f64) -> Verdict {
    match value.as_f64() {
        None => fault(path, "invalid_type"),
        Some(number) if number < min => fault(path, "decimal_below_min_value"),
        Some(number) if number > max => fault(path, "decimal_above_max_value"),
        Some(_) => Ok(()),
    }
}

// === Parameters that are objects ===

fn function_name(path: &str, function: &Map<String, Value>) -> Verdict {
    let value = required(path, function, "name")?;
    let path = format!("{path}.name");
    let name = string(&path, value)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() {
        return fault(path, "empty_string");
    }
    if name.chars().count() > 64 {
        return fault(path, "string_above_max_length");
    }
    if !name.chars().all(legal) {
        return fault(path, "invalid_value");
    }
    Ok(())
}

fn definition(path: &str, function: &Map<String, Value>) -> Verdict {
    function_name(path, function)?;
    if let Some(description) = optional(function, "description") {
        text(&format!("{path}.description"), description, 1_024)?;
    }
    if let Some(parameters) = optional(function, "parameters") {
        object(&format!("{path}.parameters"), parameters)?;
    }
    if let Some(strict) = optional(function, "strict") {
        boolean(&format!("{path}.strict"), strict)?;
    }
    Ok(())
}

fn tool(path: &str, value: &Value) -> Verdict {
    let tool = object(path, value)?;
    choice(
        &format!("{path}.type"),
        required(path, tool, "type")?,
        &["function"],
    )?;
    let function = required(path, tool, "function")?;
    let path = format!("{path}.function");
    definition(&path, object(&path, function)?)
}

fn tool_choice(value: &Value) -> Verdict {
    match value {
        Value::String(_) => choice("tool_choice", value, &["none", "auto", "required"]),
        Value::Object(chosen) => {
            let kind = required("tool_choice", chosen, "type")?;
            let kinds = ["function", "allowed_tools", "custom"];
            choice("tool_choice.type", kind, &kinds)?;
            let kind = kind.as_str().unwrap();
            let path = format!("tool_choice.{kind}");
            let chosen = required("tool_choice", chosen, kind)?;
            if kind != "function" && chosen.is_null() {
                return Ok(());
            }
            let chosen = object(&path, chosen)?;
            match kind {
                "function" => function_name(&path, chosen),
                _ => Ok(()),
            }
        }
        _ => fault("tool_choice", "invalid_type"),
    }
}

fn response_format(format: &Map<String, Value>) -> Verdict {
    let known = ["type", "json_schema"];
    if let Some(key) = format.keys().find(|key| !known.contains(&key.as_str())) {
        return fault(format!("response_format.{key}"), "unknown_parameter");
    }
    let kind = required("response_format", format, "type")?;
    let kinds = ["text", "json_object", "json_schema"];
    choice("response_format.type", kind, &kinds)?;
    let path = "response_format.json_schema";
    match optional(format, "json_schema") {
        Some(schema) => {
            let schema = object(path, schema)?;
            function_name(path, schema)?;
            if let Some(description) = optional(schema, "description") {
                string(&format!("{path}.description"), description)?;
            }
            if let Some(inner) = optional(schema, "schema") {
                object(&format!("{path}.schema"), inner)?;
            }
            if let Some(strict) = optional(schema, "strict") {
                boolean(&format!("{path}.strict"), strict)?;
            }
            Ok(())
        }
        None if *kind == "json_schema" => fault(path, "missing_required_parameter"),
        None => Ok(()),
    }
}

fn logit_bias(bias: &Map<String, Value>) -> Verdict {
    if bias.len() > 300 {
        return fault("logit_bias", "object_above_max_properties");
    }
    for (key, value) in bias {
        decimal(&format!("logit_bias.{key}"), value, -100.0, 100.0)?;
    }
    Ok(())
}

fn stop(value: &Value) -> Verdict {
    match value {
        Value::String(_) => Ok(()),
        Value::Array(items) => {
            length("stop", items.len(), 4)?;
            for (i, item) in items.iter().enumerate() {
                string(&format!("stop[{i}]"), item)?;
            }
            Ok(())
        }
        _ => fault("stop", "invalid_type"),
    }
}

fn metadata(metadata: &Map<String, Value>) -> Verdict {
    if metadata.len() > 16 {
        return fault("metadata", "object_above_max_properties");
    }
    for (key, value) in metadata {
        let path = format!("metadata.{key}");
        if key.chars().count() > 64 {
            return fault(path, "property_name_above_max_length");
        }
        text(&path, value, 512)?;
    }
    Ok(())
}

fn prediction(prediction: &Map<String, Value>) -> Verdict {
    let kind = required("prediction", prediction, "type")?;
    choice("prediction.type", kind, &["content"])?;
    match required("prediction", prediction, "content")? {
        Value::String(_) => Ok(()),
        Value::Array(parts) if parts.is_empty() => fault("prediction.content", "empty_array"),
        Value::Array(parts) => {
            for (i, part) in parts.iter().enumerate() {
                let path = format!("prediction.content[{i}]");
                let part = object(&path, part)?;
                let kind = required(&path, part, "type")?;
                choice(&format!("{path}.type"), kind, &["text"])?;
                required_string(&path, part, "text")?;
            }
            Ok(())
        }
        _ => fault("prediction.content", "invalid_type"),
    }
}

// === Messages by themselves ===

fn messages(value: &Value) -> Verdict {
    let messages = array("messages", value)?;
    length("messages", messages.len(), 2_048)?;
    for (i, message) in messages.iter().enumerate() {
        self::message(&format!("messages[{i}]"), message)?;
    }
    Ok(())
}

fn message(path: &str, value: &Value) -> Verdict {
    let message = object(path, value)?;
    let role = required(path, message, "role")?;
    let roles = [
        "system",
        "assistant",
        "user",
        "function",
        "tool",
        "developer",
    ];
    choice(&format!("{path}.role"), role, &roles)?;
    let role = role.as_str().unwrap();

    content(path, message, role)?;
    if role == "function" && optional(message, "name").is_none() {
        return fault(format!("{path}.name"), "missing_required_parameter");
    }
    if let Some(name) = optional(message, "name").filter(|_| role != "tool") {
        let path = format!("{path}.name");
        let name = string(&path, name)?;
        if name.is_empty() {
            return fault(path, "empty_string");
        }
        if name
            .chars()
            .any(|c| c.is_whitespace() || "<|\\/>".contains(c))
        {
            return fault(path, "invalid_value");
        }
    }
    if let Some(id) = optional(message, "tool_call_id").filter(|_| role == "tool") {
        string(&format!("{path}.tool_call_id"), id)?;
    }
    if role != "assistant" {
        return Ok(());
    }
    if let Some(refusal) = optional(message, "refusal") {
        string(&format!("{path}.refusal"), refusal)?;
    }
    if let Some(audio) = optional(message, "audio") {
        let path = format!("{path}.audio");
        required_string(&path, object(&path, audio)?, "id")?;
    }
    if let Some(call) = optional(message, "function_call") {
        let path = format!("{path}.function_call");
        called(&path, object(&path, call)?)?;
    }
    if let Some(calls) = optional(message, "tool_calls") {
        let path = format!("{path}.tool_calls");
        let calls = array(&path, calls)?;
        if calls.len() > 128 {
            return fault(path, "array_above_max_length");
        }
        for (i, call) in calls.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let call = object(&path, call)?;
            // What is there and wrong is reported before what is missing.
            if let Some(kind) = call.get("type") {
                choice(&format!("{path}.type"), kind, &["function"])?;
            }
            required_string(&path, call, "id")?;
            required(&path, call, "type")?;
            let function = required(&path, call, "function")?;
            let path = format!("{path}.function");
            called(&path, object(&path, function)?)?;
        }
    }
    Ok(())
}

fn called(path: &str, function: &Map<String, Value>) -> Verdict {
    function_name(path, function)?;
    required_string(path, function, "arguments")
}

fn content(path: &str, message: &Map<String, Value>, role: &str) -> Verdict {
    let at = format!("{path}.content");
    match (role, message.get("content")) {
        ("assistant", None) => Ok(()),
        (_, None) => fault(at, "missing_required_parameter"),
        ("tool", Some(Value::Null)) => fault(at, "invalid_type"),
        (_, Some(Value::Null | Value::String(_))) => Ok(()),
        ("function", Some(_)) => fault(at, "invalid_type"),
        (_, Some(Value::Array(parts))) => {
            if parts.is_empty() {
                return fault(at, "empty_array");
            }
            for (j, part) in parts.iter().enumerate() {
                self::part(&format!("{at}[{j}]"), part, role)?;
            }
            Ok(())
        }
        (_, Some(_)) => fault(at, "invalid_type"),
    }
}

fn part(path: &str, value: &Value, role: &str) -> Verdict {
    let part = object(path, value)?;
    let at = format!("{path}.type");
    let kind = required(path, part, "type")?;
    let kinds = [
        "text",
        "image_url",
        "input_audio",
        "refusal",
        "audio",
        "file",
    ];
    choice(&at, kind, &kinds)?;
    let kind = kind.as_str().unwrap();
    let here: &[&str] = match role {
        "user" => &["text", "image_url", "input_audio", "file"],
        "assistant" => &["text", "refusal", "audio", "image_url"],
        // Images elsewhere break a rule of their own.
        _ => &["text", "image_url"],
    };
    if !here.contains(&kind) {
        return fault(at, "invalid_value");
    }
    let inner = format!("{path}.{kind}");
    match kind {
        "text" | "refusal" => required_string(path, part, kind),
        "image_url" => {
            let image = object(&inner, required(path, part, kind)?)?;
            required_string(&inner, image, "url")?;
            match optional(image, "detail") {
                Some(detail) => {
                    let details = ["auto", "low", "high", "original"];
                    choice(&format!("{inner}.detail"), detail, &details)
                }
                None => Ok(()),
            }
        }
        "input_audio" => {
            let audio = object(&inner, required(path, part, kind)?)?;
            required_string(&inner, audio, "data")?;
            let format = required(&inner, audio, "format")?;
            choice(&format!("{inner}.format"), format, &["wav", "mp3"])
        }
        "file" => {
            let file = object(&inner, required(path, part, kind)?)?;
            for name in ["file_id", "filename", "file_data"] {
                if let Some(value) = optional(file, name) {
                    string(&format!("{inner}.{name}"), value)?;
                }
            }
            let by_value = optional(file, "filename").and(optional(file, "file_data"));
            if optional(file, "file_id").or(by_value).is_none() {
                return fault(format!("{inner}.file_id"), "missing_required_parameter");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

// === The rules behind the schema ===

/// The rules across messages, and those about images.
fn dialogue(messages: &[Value]) -> Verdict {
    // Of the assistant's latest message: each call's id, and the message that answered it.
    let mut open: Vec<(&str, Option<usize>)> = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap();
        images(i, role, &message["content"])?;
        if role == "tool" {
            if open.is_empty() {
                return broken(format!("messages.[{i}].role"));
            }
            let param = format!("messages.[{i}].tool_call_id");
            let Some(id) = message.get("tool_call_id").and_then(Value::as_str) else {
                return broken(param);
            };
            let answered = open.iter().filter(|call| call.0 == id && call.1.is_some());
            if answered.count() > 0 || !open.iter().any(|call| call.0 == id) {
                return broken(param);
            }
            for call in open.iter_mut().filter(|call| call.0 == id) {
                call.1 = Some(i);
            }
            continue;
        }
        if open.iter().any(|call| call.1.is_none()) {
            return broken(format!("messages.[{i}].role"));
        }
        open.clear();
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten().filter(|_| role == "assistant") {
            open.push((call["id"].as_str().unwrap(), None));
        }
    }
    if open.iter().any(|call| call.1.is_none()) {
        return broken("messages");
    }
    Ok(())
}

fn images(i: usize, role: &str, content: &Value) -> Verdict {
    let parts = content.as_array().into_iter().flatten().enumerate();
    let images = parts.filter(|(_, part)| part["type"] == "image_url");
    for (j, image) in images {
        let url = image["image_url"]["url"]
            .as_str()
            .unwrap()
            .to_ascii_lowercase();
        let start: String = url.chars().take(256).collect();
        let is_data = start.starts_with("data:")
            && start
                .split_once(',')
                .is_some_and(|(head, _)| head.ends_with(";base64"));
        let web = ["http://", "https://"];
        let host = web.iter().find_map(|scheme| url.strip_prefix(scheme));
        let has_host =
            host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', '?', '#']));
        if !is_data && !has_host {
            let path = format!("messages[{i}].content[{j}].image_url.url");
            return fault(path, "invalid_value");
        }
        if role != "user" {
            return fault(format!("messages[{i}]"), "invalid_value");
        }
    }
    Ok(())
}

/// The rules across parameters.
fn across(request: &Map<String, Value>, strict: bool) -> Verdict {
    let has = |name: &str| request.contains_key(name);
    if let Some(choice) = request.get("function_call") {
        let functions = request.get("functions").and_then(Value::as_array);
        let mut functions = functions.into_iter().flatten();
        let mut is_declared =
            |chosen: &Value| functions.any(|function| function["name"] == *chosen);
        if !has("functions") || choice.get("name").is_some_and(|name| !is_declared(name)) {
            return broken("function_call");
        }
    }
    if let Some(choice) = request.get("tool_choice") {
        let empty = Vec::new();
        let tools = request
            .get("tools")
            .map_or(&empty, |tools| tools.as_array().unwrap());
        if tools.is_empty() {
            return broken("tool_choice");
        }
        let mut names = tools.iter().map(|tool| &tool["function"]["name"]);
        let chosen = &choice["function"]["name"];
        if choice["type"] == "function" && !names.any(|name| name == chosen) {
            return broken("tool_choice");
        }
    }
    if let Some(most) = request.get("top_logprobs") {
        if integer(most).unwrap() > 20.0 || request.get("logprobs") != Some(&Value::Bool(true)) {
            return broken("top_logprobs");
        }
    }
    let format = request.get("response_format").map(|format| &format["type"]);
    if format.is_some_and(|format| format == "json_object") {
        let messages = request["messages"].as_array().unwrap();
        if !messages.iter().any(says_json) {
            return broken("messages");
        }
    }
    if has("max_tokens") && has("max_completion_tokens") {
        return fault("max_tokens", "invalid_parameter_combination");
    }
    if let Some(bias) = request.get("logit_bias") {
        let model = request["model"].as_str().unwrap();
        let families = ["gpt-4-", "gpt-35-turbo", "gpt-3.5-turbo"];
        let is_cl100k = model == "gpt-4" || families.iter().any(|name| model.starts_with(name));
        let most = match model {
            _ if is_cl100k => 100_257,
            _ if model.starts_with("gpt-4o") => 201_087,
            _ => u64::MAX,
        };
        for key in bias.as_object().unwrap().keys() {
            let digits = !key.is_empty() && key.chars().all(|c| c.is_ascii_digit());
            if !digits || key.parse::<u64>().is_ok_and(|token| token > most) {
                return broken("logit_bias");
            }
        }
    }
    let streams = request.get("stream") == Some(&Value::Bool(true));
    if !strict && has("stream_options") && !streams {
        return broken("stream_options");
    }
    Ok(())
}

fn says_json(message: &Value) -> bool {
    let says = |text: &str| text.to_lowercase().contains("json");
    let content = match &message["content"] {
        Value::String(text) => says(text),
        Value::Array(parts) => parts.iter().any(|part| {
            let text = part["type"].as_str().and_then(|kind| part[kind].as_str());
            text.is_some_and(says)
        }),
        _ => false,
    };
    let refusal = message["refusal"]
        .as_str()
        .filter(|_| message["role"] == "assistant");
    content || refusal.is_some_and(says)
}
