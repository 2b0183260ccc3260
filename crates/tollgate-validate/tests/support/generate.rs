//! Good requests, and changes that may make them bad.

use serde_json::{Map, Value, json};

use super::Rng;

/// A request that breaks no rule, with about a dozen parameters.
pub fn request(rng: &mut Rng, strict: bool) -> Value {
    let mut request = Map::new();
    let mut put = |name: &str, value: Value| {
        request.insert(name.to_owned(), value);
    };
    put(
        "model",
        rng.pick(&["gpt-4o", "gpt-4o-mini", "gpt-4", "gpt-35-turbo", "é/m"])
            .into(),
    );
    let json_mode = rng.once_in(6);
    put("messages", messages(rng, json_mode));
    if json_mode {
        put("response_format", json!({"type": "json_object"}));
    } else if rng.once_in(5) {
        put("response_format", response_format(rng));
    }
    if rng.once_in(3) {
        let tools = (0..=rng.below(3)).map(|i| tool(rng, i)).collect();
        put("tools", Value::Array(tools));
        if rng.once_in(2) {
            put("tool_choice", tool_choice(rng));
        }
    }
    if rng.once_in(6) {
        let functions = (0..=rng.below(2)).map(|i| function(rng, i)).collect();
        put("functions", Value::Array(functions));
        if rng.once_in(2) {
            put(
                "function_call",
                rng.pick(&[json!("none"), json!("auto"), json!({"name": "f0"})]),
            );
        }
    }
    match rng.below(4) {
        0 => put(
            "max_tokens",
            rng.pick(&[json!(1), json!(256), json!(100.0)]),
        ),
        1 => put("max_completion_tokens", json!(1 + rng.below(100_000))),
        _ => {}
    }
    match rng.below(4) {
        0 => put("logprobs", json!(rng.once_in(2))),
        1 => {
            put("logprobs", json!(true));
            put("top_logprobs", json!(rng.below(21)));
        }
        _ => {}
    }
    let simple: [(&str, &[Value]); 22] = [
        ("temperature", &[json!(0), json!(0.7), json!(2), json!(1e0)]),
        ("top_p", &[json!(0), json!(0.5), json!(1)]),
        ("presence_penalty", &[json!(-2), json!(2.0), json!(0.1)]),
        ("frequency_penalty", &[json!(-2.0), json!(2), json!(0)]),
        ("user", &[json!(""), json!("u-1"), json!("日本")]),
        (
            "seed",
            &[json!(0), json!(i64::MIN), json!(i64::MAX), json!(3.0)],
        ),
        ("safety_identifier", &[json!("s"), json!("é".repeat(64))]),
        ("prompt_cache_key", &[json!(""), json!("k".repeat(64))]),
        (
            "prompt_cache_retention",
            &[json!("in_memory"), json!("24h")],
        ),
        ("prompt_cache_options", &[json!({"a": [1]})]),
        ("moderation", &[json!({})]),
        (
            "reasoning_effort",
            &[json!("low"), json!("none"), json!("xhigh")],
        ),
        ("verbosity", &[json!("low"), json!("medium"), json!("high")]),
        (
            "logit_bias",
            &[
                json!({}),
                json!({"15339": -100, "1917": 99.5}),
                json!({"0": 0}),
            ],
        ),
        (
            "stop",
            &[json!("\n"), json!(["a"]), json!(["a", "", "c", "d"])],
        ),
        ("stream", &[json!(true), json!(false)]),
        ("store", &[json!(true), json!(false)]),
        (
            "metadata",
            &[json!({}), json!({"a": "b", "": "c".repeat(512)})],
        ),
        (
            "prediction",
            &[
                json!({"type": "content", "content": "x"}),
                json!({"type": "content", "content": [{"type": "text", "text": "x"}]}),
            ],
        ),
        (
            "modalities",
            &[json!(["text"]), json!(["text", "audio"]), json!([])],
        ),
        ("audio", &[json!({"voice": "alloy", "format": "wav"})]),
        (
            "web_search_options",
            &[json!({}), json!({"search_context_size": "low"})],
        ),
    ];
    for (name, values) in simple {
        match rng.below(24) {
            0 => put(name, Value::Null),
            1..=4 => put(name, rng.pick(values)),
            _ => {}
        }
    }
    let restricted: [(&str, &[Value]); 3] = [
        ("n", &[json!(1), json!(1.0)]),
        ("parallel_tool_calls", &[json!(true)]),
        ("service_tier", &[json!("auto"), json!("default")]),
    ];
    for (name, harmless) in restricted {
        match rng.below(8) {
            0 => put(name, Value::Null),
            1 if !strict => put(name, rng.pick(harmless)),
            _ => {}
        }
    }
    if !strict && rng.once_in(5) {
        put("stream", json!(true));
        let options = [
            json!({}),
            json!({"include_usage": true}),
            json!({"include_usage": null, "include_obfuscation": false}),
        ];
        put("stream_options", rng.pick(&options));
    }
    Value::Object(request)
}

fn text(rng: &mut Rng) -> Value {
    let texts = [
        "hello",
        "",
        " ",
        "JSON please",
        "naïve 🚀 日本",
        "\"quoted\"\n\\",
        "a/b",
    ];
    rng.pick(&texts).into()
}

fn messages(rng: &mut Rng, json_mode: bool) -> Value {
    let mut messages = Vec::new();
    if json_mode || rng.once_in(3) {
        let role = rng.pick(&["system", "developer"]);
        let said = if json_mode {
            json!("Answer in jSoN.")
        } else {
            text(rng)
        };
        let parts = json!([{"type": "text", "text": said}]);
        messages.push(json!({"role": role, "content": if rng.once_in(4) { parts } else { said }}));
    }
    for _ in 0..=rng.below(3) {
        messages.push(user(rng));
        match rng.below(5) {
            0 => messages.push(json!({"role": "assistant", "content": text(rng)})),
            1 => calls(rng, &mut messages),
            2 => {
                let call = json!({"name": "f0", "arguments": "{}"});
                messages.push(json!({"role": "assistant", "content": null, "function_call": call}));
                messages.push(json!({"role": "function", "name": "f0", "content": text(rng)}));
            }
            3 => {
                let refusal = json!([{"type": "refusal", "refusal": text(rng)}]);
                messages.push(rng.pick(&[
                    json!({"role": "assistant", "content": refusal}),
                    json!({"role": "assistant", "refusal": "No.", "content": null}),
                    json!({"role": "assistant", "audio": {"id": "a-1"}}),
                    json!({"role": "assistant", "content": "x", "tool_calls": null, "audio": null}),
                ]));
            }
            _ => {}
        }
    }
    if let Some(Value::Object(last)) = messages.last_mut().filter(|_| rng.once_in(5)) {
        last.insert("timestamp".to_owned(), json!({"deep": [1, null]}));
    }
    Value::Array(messages)
}

fn user(rng: &mut Rng) -> Value {
    let mut message = if rng.once_in(3) {
        let parts = (0..=rng.below(3)).map(|_| part(rng)).collect();
        json!({"role": "user", "content": Value::Array(parts)})
    } else {
        json!({"role": "user", "content": text(rng)})
    };
    if rng.once_in(4) {
        message["name"] = rng.pick(&[json!("ann"), json!("ünal-1"), json!(null)]);
    }
    message
}

fn part(rng: &mut Rng) -> Value {
    let text = text(rng);
    rng.pick(&[
        json!({"type": "text", "text": text}),
        json!({"type": "text", "text": "x", "prompt_cache_breakpoint": {}}),
        json!({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}),
        json!({"type": "image_url", "image_url": {"url": "HTTP://x", "detail": null}}),
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}),
        json!({"type": "image_url", "image_url": {"url": "http://x", "detail": "original"}}),
        json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        json!({"type": "file", "file": {"file_id": "file-1"}}),
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:;base64,aa"}}),
    ])
}

fn calls(rng: &mut Rng, messages: &mut Vec<Value>) {
    let ids: Vec<String> = (0..=rng.below(3)).map(|i| format!("call_{i}")).collect();
    let calls = ids.iter().map(|id| {
        json!({"id": id, "type": "function",
            "function": {"name": "f0", "arguments": "{\"a\":1}"}, "index": 0})
    });
    messages.push(json!({"role": "assistant", "tool_calls": calls.collect::<Vec<_>>()}));
    let answers = ids.iter().map(
        |id| json!({"role": "tool", "tool_call_id": id, "content": "done", "name": "any name"}),
    );
    let mut answers: Vec<Value> = answers.collect();
    if rng.once_in(2) {
        answers.reverse();
    }
    messages.extend(answers);
}

fn function(rng: &mut Rng, i: usize) -> Value {
    let mut function = json!({"name": format!("f{i}")});
    if rng.once_in(2) {
        function["description"] = rng.pick(&[json!("x"), json!(null), json!("y".repeat(1_024))]);
    }
    if rng.once_in(2) {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        function["parameters"] = rng.pick(&[schema, json!({}), json!(null)]);
    }
    function
}

fn tool(rng: &mut Rng, i: usize) -> Value {
    let mut function = function(rng, i);
    if rng.once_in(3) {
        function["strict"] = rng.pick(&[json!(true), json!(null)]);
    }
    json!({"type": "function", "function": function})
}

fn tool_choice(rng: &mut Rng) -> Value {
    rng.pick(&[
        json!("none"),
        json!("auto"),
        json!("required"),
        json!({"type": "function", "function": {"name": "f0"}}),
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
    ])
}

fn response_format(rng: &mut Rng) -> Value {
    let named = json!({"name": "s_1", "schema": {"type": "object"}, "strict": true});
    rng.pick(&[
        json!({"type": "text"}),
        json!({"type": "json_schema", "json_schema": {"name": "s"}}),
        json!({"type": "json_schema", "json_schema": named}),
    ])
}

// === Mutations ===

/// Changes one thing somewhere in the request; says what.
pub fn mutate(rng: &mut Rng, request: &mut Value) -> String {
    let mut places = Vec::new();
    collect(request, String::new(), &mut places);
    let place = rng.pick(&places);
    let at = if place.is_empty() {
        &mut *request
    } else {
        request.pointer_mut(&place).unwrap()
    };
    let what = match (rng.below(4), &mut *at) {
        (0, Value::Object(members)) if !members.is_empty() => {
            let keys: Vec<String> = members.keys().cloned().collect();
            let key = rng.pick(&keys);
            members.remove(&key);
            format!("remove {key}")
        }
        (1, Value::Object(members)) => {
            let key = rng.pick(&NAMES);
            let value = value(rng);
            members.insert(key.to_owned(), value.clone());
            format!("put {key}: {value}")
        }
        (0, Value::Array(items)) if !items.is_empty() => {
            let at = rng.below(items.len());
            items.remove(at);
            format!("remove item {at}")
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            let at = rng.below(items.len());
            let twin = items[at].clone();
            items.push(twin);
            format!("repeat item {at}")
        }
        (2, Value::Array(items)) if !items.is_empty() => {
            let twin = items[0].clone();
            let length = rng.pick(&[5, 17, 129, 130]);
            items.resize(length, twin);
            format!("resize to {length}")
        }
        _ => {
            let value = value(rng);
            *at = value.clone();
            format!("set to {value}")
        }
    };
    format!("{what} at {place:?}")
}

/// JSON pointers to every value.
fn collect(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{path}/{key}"), places);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                collect(value, format!("{path}/{i}"), places);
            }
        }
        _ => {}
    }
    places.push(path);
}

fn value(rng: &mut Rng) -> Value {
    let long = rng.pick(&[64, 65, 512, 513, 1_024, 1_025]);
    rng.pick(&[
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(2.5),
        json!(21),
        json!(129),
        json!(-3),
        json!(1e3),
        json!(-101),
        json!(u64::MAX),
        json!(1e30),
        json!(""),
        json!("x"),
        json!("a b"),
        json!("auto"),
        json!("text"),
        json!("user"),
        json!("assistant"),
        json!("tool"),
        json!("function"),
        json!("system"),
        json!("json_object"),
        json!("image_url"),
        json!("input_audio"),
        json!("file"),
        json!("refusal"),
        json!("https://x.example"),
        json!("https://"),
        json!("call_0"),
        json!("f0"),
        json!("y".repeat(long)),
        json!([]),
        json!(["x"]),
        json!([null]),
        json!([{}]),
        json!([{"type": "text", "text": "x"}]),
        json!([{"type": "image_url", "image_url": {"url": "https://x.example"}}]),
        json!({}),
        json!({"name": "f1"}),
        json!({"type": "function"}),
        json!({"200000": 1}),
        json!({"201088": 1}),
        json!({"-1": 1}),
        json!({"id": "x"}),
    ])
}

const NAMES: [&str; 40] = [
    "n",
    "seed",
    "user",
    "stop",
    "top_k",
    "name",
    "type",
    "role",
    "content",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "audio",
    "max_tokens",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "stream",
    "stream_options",
    "parallel_tool_calls",
    "service_tier",
    "metadata",
    "response_format",
    "detail",
    "url",
    "image_url",
    "text",
    "strict",
    "arguments",
    "description",
    "parameters",
    "json_schema",
    "12345",
    "Model",
    "file_id",
];
