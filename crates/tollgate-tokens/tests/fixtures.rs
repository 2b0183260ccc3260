//! Counts that were measured or published, and the requests behind them.
#![cfg(feature = "exact")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "tests"
)]

mod support;

use std::sync::LazyLock;

use serde_json::{Value, json};
use support::describe;
use tollgate_core::{ChatRequest, ImageDetail, ImageInput, Model, TokenBounds, TokenCounter};
use tollgate_tokens::{Encoding, Estimator, ExactCounter, ImageRule};

static EXACT: LazyLock<ExactCounter> = LazyLock::new(|| {
    let counter = ExactCounter::new(Encoding::ALL);
    counter.load();
    counter
});

#[test]
fn all_of_the_shared_cases() {
    let cases = include_str!("../../../tests/fixtures/tokens.jsonl");
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (name, input) = (case["name"].as_str().unwrap(), &case["input"]);
        let expected = case["expect_tokens"].as_u64().unwrap();
        let encoding = Encoding::from_name(case["encoding"].as_str().unwrap());
        match case["kind"].as_str().unwrap() {
            "text" => text(name, input.as_str().unwrap(), encoding.unwrap(), expected),
            "chat" => chat(name, input, encoding, expected, true),
            "chat_functions_legacy" | "chat_tools_cookbook" => {
                chat(name, input, encoding, expected, false);
            }
            "image_tiles" | "image_patches" => image(name, input, expected),
            other => panic!("{name} is of the unknown kind {other}"),
        }
    }
    assert!(cases.lines().count() >= 50);
}

fn text(name: &str, text: &str, encoding: Encoding, expected: u64) {
    assert_eq!(EXACT.text(text, encoding), Some(expected), "{name}");
    let bounds = Estimator::new().text(text, encoding);
    assert!(
        bounds.lower <= expected && expected <= bounds.upper,
        "{name}: {bounds:?}"
    );
}

fn chat(name: &str, body: &Value, encoding: Option<Encoding>, expected: u64, is_exact: bool) {
    let (request, model) = describe(body);
    assert_eq!(Encoding::of_model(&model), encoding, "{name}");
    let counted = EXACT.count(&request, &model);
    assert_eq!(counted.estimate, expected, "{name}: {counted:?}");
    assert_eq!(
        counted.lower == counted.upper,
        is_exact,
        "{name}: {counted:?}"
    );
    for bounds in [
        counted,
        EXACT.bounds(&request, &model),
        Estimator::new().bounds(&request, &model),
        Estimator::new().count(&request, &model),
    ] {
        assert!(
            bounds.lower <= expected && expected <= bounds.upper,
            "{name}: {bounds:?}"
        );
    }
}

fn image(name: &str, input: &Value, expected: u64) {
    let [width, height] =
        ["width", "height"].map(|side| u32::try_from(input[side].as_u64().unwrap()).unwrap());
    let detail = match input["detail"].as_str() {
        Some("low") => ImageDetail::Low,
        _ => ImageDetail::High,
    };
    let model = input["model"].as_str().unwrap();
    let rule = ImageRule::of_model(model).unwrap();
    assert_eq!(rule.tokens(width, height, detail), expected, "{name}");

    // The same, found in the header of a data URL.
    let request = ChatRequest::builder(model)
        .image(ImageInput::new(gif(width, height), detail))
        .build();
    let bounds = Estimator::new().bounds(&request, &Model::new(model));
    assert_eq!(bounds, TokenBounds::exact(3 + expected), "{name}");
}

/// The first bytes of a GIF of this size.
fn gif(width: u32, height: u32) -> String {
    let [w, h] = [width, height].map(|side| u16::try_from(side).unwrap().to_le_bytes());
    let bytes = [
        b'G', b'I', b'F', b'8', b'9', b'a', w[0], w[1], h[0], h[1], 0, 0,
    ];
    let mut url = String::from("data:image/gif;base64,");
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            url.push(char::from(ALPHABET[bits >> shift & 63]));
        }
    }
    url
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What OpenAI's own notebook prints for its sample.
#[test]
fn the_cookbooks_sample() {
    let messages = json!([
        {"role": "system", "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
        {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
        {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
        {"role": "system", "name": "example_user", "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
        {"role": "system", "name": "example_assistant", "content": "Let's talk later when we're less busy about how to do better."},
        {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client deliverable."},
    ]);
    for (model, tokens) in [
        ("gpt-4", 129),
        ("gpt-3.5-turbo", 129),
        ("gpt-3.5-turbo-0301", 127),
        ("gpt-4o", 124),
        ("gpt-4o-mini", 124),
    ] {
        let (request, model) = describe(&json!({"model": model, "messages": messages}));
        assert_eq!(EXACT.count(&request, &model), TokenBounds::exact(tokens));
    }
}

/// What the API charged for functions and their calls, as published by those who asked it.
#[test]
fn functions_as_they_were_charged() {
    let empty = json!({"type": "object", "properties": {}});
    let foo = json!([{"name": "foo", "parameters": empty}]);
    let do_stuff = json!([{"name": "do_stuff", "parameters": empty}]);
    let bing_bong = |properties: Value| json!([{"name": "bing_bong", "description": "Do a bing bong", "parameters": {"type": "object", "properties": properties}}]);
    let hello = json!([{"role": "user", "content": "hello"}]);
    for (tokens, messages, functions) in [
        (
            8,
            json!([{"role": "system", "content": "hello"}]),
            json!(null),
        ),
        (
            9,
            json!([{"role": "system", "content": "hello:"}]),
            json!(null),
        ),
        (
            27,
            json!([
                {"role": "system", "content": "# Important: you're the best robot"},
                {"role": "user", "content": "hello robot"},
                {"role": "assistant", "content": "hello world"},
            ]),
            json!(null),
        ),
        (31, hello.clone(), foo),
        (
            36,
            hello.clone(),
            json!([{"name": "foo", "description": "Do a foo", "parameters": empty}]),
        ),
        (
            49,
            hello.clone(),
            bing_bong(json!({"foo": {"type": "string"}})),
        ),
        (
            57,
            hello.clone(),
            bing_bong(
                json!({"foo": {"type": "string"}, "bar": {"type": "number", "description": "A number"}}),
            ),
        ),
        (
            68,
            hello.clone(),
            bing_bong(json!({"foo": {"type": "object", "properties": {
                "bar": {"type": "string", "enum": ["a", "b", "c"]},
                "baz": {"type": "boolean"},
            }}})),
        ),
        (
            15,
            json!([{"role": "user", "content": "hello world"}, {"role": "function", "name": "do_stuff", "content": "{}"}]),
            json!(null),
        ),
        (
            28,
            json!([{"role": "user", "content": "hello world"}, {"role": "function", "name": "do_stuff", "content": "{\"foo\": \"bar\", \"baz\": 1.5}"}]),
            json!(null),
        ),
        (
            24,
            json!([{"role": "function", "name": "dance_the_tango", "content": "{\"a\": { \"b\" : { \"c\": false}}}"}]),
            json!(null),
        ),
        (
            26,
            json!([{"role": "assistant", "content": "", "function_call": {"name": "do_stuff", "arguments": "{\"foo\": \"bar\", \"baz\": 1.5}"}}]),
            json!(null),
        ),
        (
            25,
            json!([{"role": "assistant", "content": "", "function_call": {"name": "do_stuff", "arguments": "{\"foo\":\"bar\", \"baz\":\n\n 1.5}"}}]),
            json!(null),
        ),
        (
            35,
            json!([{"role": "system", "content": "Hello"}, {"role": "user", "content": "Hi there"}]),
            do_stuff.clone(),
        ),
        (
            35,
            json!([{"role": "system", "content": "Hello:"}, {"role": "user", "content": "Hi there"}]),
            do_stuff.clone(),
        ),
        (
            40,
            json!([{"role": "system", "content": "Hello:"}, {"role": "system", "content": "Hello"}, {"role": "user", "content": "Hi there"}]),
            do_stuff,
        ),
        (
            106,
            hello,
            json!([{"name": "get_recipe", "parameters": {
                "type": "object",
                "required": ["ingredients", "instructions", "time_to_cook"],
                "properties": {
                    "ingredients": {"type": "array", "items": {
                        "type": "object",
                        "required": ["name", "unit", "amount"],
                        "properties": {
                            "name": {"type": "string"},
                            "unit": {"enum": ["grams", "ml", "cups", "pieces", "teaspoons"], "type": "string"},
                            "amount": {"type": "number"},
                        },
                    }},
                    "instructions": {"type": "array", "items": {"type": "string"}, "description": "Steps to prepare the recipe (no numbering)"},
                    "time_to_cook": {"type": "number", "description": "Total time to prepare the recipe in minutes"},
                },
            }}]),
        ),
    ] {
        let body = json!({"model": "gpt-3.5-turbo", "messages": messages, "functions": functions});
        let (request, model) = describe(&body);
        let counted = EXACT.count(&request, &model);
        assert_eq!(counted.estimate, tokens, "{body}");
        for bounds in [counted, EXACT.bounds(&request, &model)] {
            assert!(
                bounds.lower <= tokens && tokens <= bounds.upper,
                "{body}: {bounds:?}"
            );
        }
    }
}

/// What OpenAI's own notebook prints for its sample tool.
#[test]
fn the_cookbooks_tool() {
    let mut body = json!({
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
            {"role": "user", "content": "What's the weather like in San Francisco?"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                    "unit": {"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["location"],
            },
        }}],
    });
    for (model, tokens) in [
        ("gpt-4", 105),
        ("gpt-3.5-turbo", 105),
        ("gpt-4o", 101),
        ("gpt-4o-mini", 101),
    ] {
        body["model"] = model.into();
        let (request, model) = describe(&body);
        assert_eq!(EXACT.count(&request, &model).estimate, tokens, "{model:?}");
    }
}
