//! The fixtures of the wire protocol: every stream, however it is cut, comes out as it should.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod random;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use tollgate_core::ChatRequest;
use tollgate_sse::{Reframer, SseLayer, StreamEnd};
use tollgate_testing::{ReadyProbe, ScriptedBody, Splits, check_body};
use tower::{Layer, ServiceExt};

struct Case {
    name: String,
    pieces: Vec<Bytes>,
    json: Value,
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../../tests/fixtures/streams.jsonl");
    let cases: Vec<Case> = text.lines().map(case).collect();
    assert_eq!(cases.len(), 73);
    cases
}

fn case(line: &str) -> Case {
    let json: Value = serde_json::from_str(line).unwrap();
    let pieces = json["upstream_chunks"].as_array().unwrap().iter();
    let text = pieces.map(|piece| piece.as_str().unwrap());
    let pieces = match json["encoding"].as_str().unwrap() {
        "utf8" => text.map(|text| Bytes::from(text.to_owned())).collect(),
        "base64" => text.map(|text| base64(text).into()).collect(),
        other => panic!("{other}"),
    };
    Case {
        name: json["name"].as_str().unwrap().to_owned(),
        pieces,
        json,
    }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').chars();
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits {
        bits = bits << 6 | u32::try_from(ALPHABET.find(digit).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    bytes
}

/// All output, and the re-framer after its end.
fn reframe(case: &Case, pieces: impl IntoIterator<Item = Bytes>) -> (Vec<u8>, Reframer) {
    let asked = case.json["client"]["include_usage"].as_bool().unwrap();
    let model = case.json["requested_model"].as_str().unwrap_or("gpt-4o");
    let mut reframer = Reframer::new()
        .show_usage(asked)
        .fill_with("chatcmpl-own", model, 7);
    let mut output = Vec::new();
    for piece in pieces {
        reframer.push(piece);
        output.extend_from_slice(&reframer.take_output());
    }
    reframer.finish();
    output.extend_from_slice(&reframer.take_output());
    (output, reframer)
}

#[test]
fn every_stream_comes_out_as_it_should() {
    for case in cases() {
        let (output, reframer) = reframe(&case, case.pieces.iter().cloned());
        check(&case, &output, &reframer);
    }
}

fn check(case: &Case, output: &[u8], reframer: &Reframer) {
    let name = &case.name;
    let text = std::str::from_utf8(output).unwrap();
    let ignored: Vec<&str> = case.json["ignore_keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| key.as_str().unwrap())
        .collect();
    let without_ignored = |value: &Value| {
        let mut value = value.clone();
        for key in &ignored {
            value.as_object_mut().unwrap().remove(*key);
        }
        value
    };
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    let expected = case.json["expect_client_events"].as_array().unwrap();
    assert_eq!(events.len(), expected.len(), "{name}: {text}");
    for (event, expected) in events.iter().zip(expected) {
        let data = event.strip_prefix("data: ").unwrap();
        assert!(!data.contains(['\n', '\r']), "{name}");
        if expected["done"] == true {
            assert_eq!(data, "[DONE]", "{name}");
            continue;
        }
        let value: Value = serde_json::from_str(data).unwrap();
        if let Some(data) = expected.get("data") {
            assert_eq!(without_ignored(&value), without_ignored(data), "{name}");
            continue;
        }
        let error = value["error"].as_object().unwrap();
        assert_eq!(error.len(), 4, "{name}");
        for (key, expected) in expected["error"].as_object().unwrap() {
            if key == "message_contains" {
                let part = expected.as_str().unwrap();
                assert!(error["message"].as_str().unwrap().contains(part), "{name}");
            } else {
                assert_eq!(&error[key], expected, "{name}");
            }
        }
    }
    for part in case.json["raw_contains"].as_array().into_iter().flatten() {
        assert!(text.contains(part.as_str().unwrap()), "{name}");
    }
    if case.json["invariants"][0] == "same non-empty id in every event" {
        assert_eq!(
            text.matches(r#""id":"chatcmpl-own""#).count(),
            events.len() - 1
        );
    }
    let whole = text.ends_with("data: [DONE]\n\n");
    assert_eq!(
        reframer.end() == Some(&StreamEnd::Complete),
        whole,
        "{name}"
    );
    let usage = reframer.usage();
    match case.json.get("expect_usage") {
        Some(expected) => {
            let usage = usage.unwrap();
            assert_eq!(expected["prompt_tokens"], usage.prompt_tokens, "{name}");
            assert_eq!(
                expected["completion_tokens"], usage.completion_tokens,
                "{name}"
            );
        }
        None => assert_eq!(usage, None, "{name}"),
    }
}

#[test]
fn no_cut_makes_a_difference() {
    for case in cases() {
        let whole: Bytes = case.pieces.concat().into();
        let (expected, reframer) = reframe(&case, [whole.clone()]);
        check(&case, &expected, &reframer);
        let pairs = random::cases(100);
        let output = Splits::of(whole).seed(4).pairs(pairs).check(|pieces| {
            let (output, reframer) = reframe(&case, pieces);
            check_end(&case, &reframer);
            String::from_utf8(output).unwrap()
        });
        assert_eq!(output.as_bytes(), expected, "{}", case.name);
    }
}

#[test]
fn no_event_waits_for_what_comes_after_it() {
    // What came byte by byte is answered like what came at once, at any point of the stream.
    for (at, case) in cases().iter().enumerate() {
        let whole: Bytes = case.pieces.concat().into();
        let mut reframer = Reframer::new();
        let mut output = Vec::new();
        for come in 1..=whole.len() {
            reframer.push(whole.slice(come - 1..come));
            output.extend_from_slice(&reframer.take_output());
            if (come + at) % 11 == 0 {
                let mut other = Reframer::new();
                other.push(whole.slice(..come));
                assert_eq!(output, other.take_output(), "{} at {come}", case.name);
            }
        }
    }
}

fn check_end(case: &Case, reframer: &Reframer) {
    let usage = reframer.usage().map(|usage| usage.completion_tokens);
    let expected = case.json.get("expect_usage");
    let expected = expected.map(|usage| usage["completion_tokens"].as_u64().unwrap());
    assert_eq!(usage, expected, "{}", case.name);
}

#[tokio::test]
async fn a_stream_without_any_output_is_an_answer_with_a_status() {
    for case in cases() {
        let mut request = Request::new(());
        let asked = case.json["client"]["include_usage"].as_bool().unwrap();
        let chat = ChatRequest::builder("gpt-4o")
            .stream(true)
            .usage_wanted(asked);
        request.extensions_mut().insert(chat.build());
        let pieces = case.pieces.clone();
        let upstream = ReadyProbe::new(move |_: Request<()>| {
            let response = Response::builder().header("content-type", "text/event-stream");
            response
                .body(ScriptedBody::new().frames(pieces.clone()))
                .unwrap()
        });
        let response = SseLayer::new()
            .layer(upstream)
            .oneshot(request)
            .await
            .unwrap();
        let status = response.status().as_u16();
        let body = check_body(response.into_body()).await;
        if let Some(peeking) = case.json.get("expect_if_peeking") {
            assert_eq!(peeking["status"], status, "{}", case.name);
            let error: Value = serde_json::from_slice(&body.data).unwrap();
            let expected = &case.json["expect_client_events"][0]["error"]["code"];
            assert_eq!(&error["error"]["code"], expected, "{}", case.name);
        } else {
            assert_eq!(status, 200, "{}", case.name);
            let (output, _) = reframe(&case, case.pieces.iter().cloned());
            if case.json.get("ignore_keys").is_none() {
                assert!(body.data == output, "{}", case.name);
            }
        }
    }
}
