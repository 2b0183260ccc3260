//! What a running gateway charges for prompts whose tokens are known, as its headers tell.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{CONFIG, Caller, start_config};

const CASES: &str = include_str!("../../../tests/fixtures/tokens.jsonl");

/// A limit, and what is reserved under it for the answer to a call that states no cap: an eighth of
/// it, or 1,024. This one is so narrow that every prompt is counted, because one token matters.
const NARROW: (u64, u64) = (800, 100);
/// Some images cost more than most minutes have.
const WIDE: (u64, u64) = (1_000_000, 1_024);

#[tokio::test]
async fn prompts_are_charged_what_they_hold() {
    let mut charged = 0;
    for case in CASES.lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let (input, expected) = (&case["input"], case["expect_tokens"].as_u64().unwrap());
        let (request, expected) = match case["kind"].as_str().unwrap() {
            // The frame of a message, its role, and what opens the answer.
            "text" => {
                let model = match case["encoding"].as_str().unwrap() {
                    "cl100k_base" => "gpt-35-turbo",
                    _ => "gpt-4o",
                };
                let messages = json!([{"role": "user", "content": input}]);
                let request = json!({"model": model, "messages": messages});
                (request, 3 + 1 + expected + 3)
            }
            kind if kind.starts_with("chat") => {
                let mut request = input.clone();
                // What the vocabulary was measured on, and no parameter.
                request.as_object_mut().unwrap().remove("rendered");
                (request, expected)
            }
            "image_tiles" | "image_patches" => {
                let detail = input["detail"].as_str().unwrap_or("high");
                let image = json!({"url": gif(input), "detail": detail});
                let content = json!([{"type": "image_url", "image_url": image}]);
                let messages = json!([{"role": "user", "content": content}]);
                let request = json!({"model": input["model"], "messages": messages});
                (request, 3 + 1 + expected + 3)
            }
            other => panic!("a case of the unknown kind {other}"),
        };
        let is_image = case["kind"].as_str().unwrap().starts_with("image");
        let (limit, answer_tokens) = if is_image { WIDE } else { NARROW };
        // Each with a budget that nobody has used.
        let gateway = start_config(&config(limit, request["model"].as_str().unwrap())).await;
        let answer = Caller::new(&gateway).chat("us", &request).await;
        let name = &case["name"];
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let remaining = answer.header("x-ratelimit-remaining-tokens").unwrap();
        let remaining: u64 = remaining.parse().unwrap();
        assert_eq!(limit - answer_tokens - remaining, expected, "{name}");
        charged += 1;
    }
    assert_eq!(charged, CASES.lines().count());
}

fn config(limit: u64, model: &str) -> String {
    let mut top = format!("budget = {{ tokens_per_minute = {limit} }}\n");
    if !CONFIG.contains(&format!("[models.{model}]")) {
        top += &format!("models.{model:?} = {{}}\n");
    }
    let exact = "token_counts = \"exact\"";
    CONFIG
        .replacen("token_counts = \"estimate\"", exact, 1)
        .replacen("{}", &top, 1)
}

/// The first bytes of a GIF of this size, as a data URL.
fn gif(size: &Value) -> String {
    let [w, h] = ["width", "height"].map(|side| {
        let side = u16::try_from(size[side].as_u64().unwrap()).unwrap();
        side.to_le_bytes()
    });
    let bytes = [
        b'G', b'I', b'F', b'8', b'9', b'a', w[0], w[1], h[0], h[1], 0, 0,
    ];
    let mut url = String::from("data:image/gif;base64,");
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            url.push(char::from(BASE64[bits >> shift & 63]));
        }
    }
    url
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
