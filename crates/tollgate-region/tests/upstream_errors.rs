//! What callers see of upstreams' errors, case by case.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use serde_json::Value;
use tollgate_core::UpstreamFault;
use tollgate_region::{UpstreamLayer, Upstreams};
use tollgate_testing::ScriptedBody;
use tower::{Layer, ServiceExt};

use support::*;

const CASES: &str = include_str!("../../../tests/fixtures/upstream_errors.jsonl");

async fn through(reaction: Reaction) -> (http::Response<()>, String) {
    let mut reaction = Some(reaction);
    let client = Client::new(move |_| reaction.take().unwrap());
    let upstreams = Upstreams::builder().pool(region("eu"), [azure("sweden", "eu")]);
    let service = UpstreamLayer::new(upstreams.build().unwrap())
        .classify(classify)
        .layer(client);
    read(service.oneshot(call("eu")).await.unwrap()).await
}

fn error(text: &str) -> Value {
    let body: Value = serde_json::from_str(text).unwrap();
    let error = body["error"].as_object().unwrap();
    let mut keys: Vec<_> = error.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["code", "message", "param", "type"]);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
    );
    body["error"].clone()
}

#[tokio::test]
async fn every_recorded_error_is_mapped() {
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (name, upstream, expected) = (&case["name"], &case["upstream"], &case["expect_client"]);
        let headers = upstream["headers"].as_object().unwrap();
        let headers: Vec<_> = headers
            .iter()
            .map(|(k, v)| (&**k, v.as_str().unwrap()))
            .collect();
        let body = match &upstream["body"] {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let status = u16::try_from(upstream["status"].as_u64().unwrap()).unwrap();
        let (head, text) = through(answer_with(status, &headers, &body)).await;

        assert_eq!(
            u64::from(head.status().as_u16()),
            expected["status"],
            "{name}"
        );
        assert_eq!(head.headers()["content-type"], "application/json", "{name}");
        assert_eq!(head.headers()["x-tollgate-region"], "eu", "{name}");
        assert_eq!(head.headers()["x-tollgate-upstream"], "sweden", "{name}");
        assert!(head.headers().contains_key("x-request-id"), "{name}");
        let error = error(&text);
        for key in ["type", "code", "param"] {
            if let Some(value) = expected.get(key) {
                assert_eq!(error[key], *value, "{name}: {key}");
            }
        }
        if let Some(part) = expected["message_contains"].as_str() {
            assert!(
                error["message"].as_str().unwrap().contains(part),
                "{name}: {text}"
            );
        }
        for absent in expected["absent_in_body"].as_array().into_iter().flatten() {
            assert!(!text.contains(absent.as_str().unwrap()), "{name}: {text}");
        }
        for (header, value) in expected["headers"].as_object().into_iter().flatten() {
            assert_eq!(
                head.headers()[header],
                value.as_str().unwrap(),
                "{name}: {header}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_of_the_operator_shows_in_a_body() {
    let texts = [
        "Key key-of-sweden is wrong",
        "No route to SWEDEN.test",
        "sweden-secret-deployment is down",
        "Azure says no",
        "see https://internal.example",
    ];
    // What the caller did wrong is told in the upstream's words, unless they betray the operator.
    let callers = [400, 413, 422];
    for status in [
        400, 401, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503, 504, 599, 302, 204,
    ] {
        for text in &texts[..if callers.contains(&status) { 3 } else { 5 }] {
            for place in ["message", "code", "param", "type"] {
                let mut body = serde_json::json!({"error": {"message": "m", "innererror": text}});
                body["error"][place] = (*text).into();
                let (_, body) = through(answer(status, &body.to_string())).await;
                let error = error(&body);
                if !(500..600).contains(&status) || place == "message" || text.contains("sweden") {
                    assert!(
                        !error.to_string().contains(text),
                        "{status} {place}: {body}"
                    );
                }
            }
        }
    }
    let (head, text) = through(Reaction::Break(tollgate_region::Fault::Connect)).await;
    assert_eq!(head.status(), 502);
    assert_eq!(error(&text)["code"], "upstream_unavailable");
    assert!(!text.contains("sweden") && !text.contains("http"), "{text}");
}

#[tokio::test]
async fn what_does_not_betray_is_told() {
    const GENERIC: &str =
        "The server had an error while processing your request. Sorry about that!";
    for (status, upstream, seen) in [
        (
            400,
            r#"{"message":"In sweden-secret-deployment: no.","type":null,"param":"prompt","code":"content_filter"}"#,
            r#"{"message":"The request is invalid.","type":"invalid_request_error","param":"prompt","code":"content_filter"}"#,
        ),
        (
            422,
            r#"{"message":null,"type":"t","param":"messages","code":"context_length_exceeded"}"#,
            r#"{"message":"The request is invalid.","type":"t","param":"messages","code":"context_length_exceeded"}"#,
        ),
        (
            400,
            r#"{"message":"m","type":"key-of-sweden","param":"http://SWEDEN.test","code":"400"}"#,
            r#"{"message":"m","type":"invalid_request_error","param":null,"code":null}"#,
        ),
        (
            500,
            r#"{"message":"Ask Azure.","type":"t","param":"Azure","code":"InternalServerError"}"#,
            &format!(
                r#"{{"message":"{GENERIC}","type":"server_error","param":null,"code":"InternalServerError"}}"#
            ),
        ),
    ] {
        let (head, text) = through(answer(status, &format!(r#"{{"error":{upstream}}}"#))).await;
        assert_eq!(head.status(), status);
        let seen: Value = serde_json::from_str(seen).unwrap();
        assert_eq!(error(&text), seen, "{upstream}");
    }
}

#[tokio::test]
async fn a_short_name_is_not_found_in_other_words() {
    let upstream = tollgate_region::Upstream::azure("u", region("eu"), "http://eu", "0123456789");
    let upstreams = eu([upstream.deployment("gpt-4o", "rai")]);
    for (message, is_told) in [
        ("Neutral failures: training is rainy.", true),
        ("The deployment 'RAI' is not there.", false),
        ("eu: no route", false),
    ] {
        let body = serde_json::json!({"error": {"message": message}}).to_string();
        let mut reaction = Some(answer(400, &body));
        let client = Client::new(move |_| reaction.take().unwrap());
        let service = layer(&upstreams).layer(client);
        let (_, text) = read(service.oneshot(call("eu")).await.unwrap()).await;
        assert_eq!(error(&text)["message"] == message, is_told, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_that_is_no_error_object_is_understood() {
    let flat =
        r#"{"statusCode":429,"message":"Token rate limit is exceeded. Try again in 26 seconds."}"#;
    let (head, text) = through(answer(429, flat)).await;
    assert_eq!(head.headers()["retry-after"], "26");
    assert_eq!(error(&text)["type"], "tokens");
    assert!(!text.contains("exceeded. T"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn waits_are_copied_in_both_units() {
    for (name, value, seconds, millis) in [
        ("retry-after", "90", "90", "90000"),
        ("retry-after-ms", "1500", "2", "1500"),
        ("retry-after", "1e99", "86400", "86400000"),
    ] {
        let (head, text) = through(answer_with(429, &[(name, value)], "")).await;
        assert_eq!(head.headers()["retry-after"], seconds);
        assert_eq!(head.headers()["retry-after-ms"], millis);
        assert!(
            error(&text)["message"]
                .as_str()
                .unwrap()
                .ends_with(&format!("in {seconds}s."))
        );
        let gives_up = head.headers().get("x-should-retry");
        assert_eq!(gives_up.is_some(), seconds == "86400");
    }
    // Nothing is said: the deployment is left alone for its cooldown, and no caller need come back
    // before that.
    let (head, _) = through(answer(429, "")).await;
    assert_eq!(head.headers()["retry-after"], "5");
    assert_eq!(head.headers()["retry-after-ms"], "5000");
}

#[tokio::test]
async fn an_error_in_the_first_event_is_mapped_like_an_answer() {
    let mut fault = UpstreamFault::new(http::StatusCode::TOO_MANY_REQUESTS, "tokens", "S0 tier");
    fault.retry_after = Some(std::time::Duration::from_secs(7));
    let mut response = http::Response::new(ScriptedBody::new().data("rendered by an inner layer"));
    response
        .extensions_mut()
        .insert(tollgate_core::Rejection::from(&fault));
    response.extensions_mut().insert(fault);
    let (head, text) = through(Reaction::Answer(response)).await;
    assert_eq!(head.status(), 429);
    assert_eq!(head.headers()["retry-after"], "7");
    let error = error(&text);
    assert_eq!(
        (&error["type"], &error["code"]),
        (&"tokens".into(), &"rate_limit_exceeded".into())
    );
    assert!(!text.contains("S0"));
}

#[tokio::test]
async fn what_is_no_answer_becomes_502() {
    for reaction in [
        answer(204, ""),
        answer(201, "{}"),
        answer_with(302, &[("location", "https://us.example")], ""),
        answer_with(
            200,
            &[("content-type", "Text/HTML; charset=utf-8")],
            "<html>sign in</html>",
        ),
        // No layer outside would count it, or notice that it stops.
        answer_with(200, &[("content-type", "text/plain")], "data: {}\n\n"),
        answer_with(200, &[("content-type", "application/jsonlines")], "{}"),
        // Nobody asked for it, and no layer outside could read it.
        answer_with(200, &[("content-encoding", "gzip")], "\u{1f}"),
        answer_with(
            200,
            &[("content-encoding", "identity"), ("content-encoding", "br")],
            "x",
        ),
        answer(999, "{}"),
    ] {
        let (head, text) = through(reaction).await;
        assert_eq!(head.status(), 502, "{text}");
        assert_eq!(error(&text)["code"], "upstream_unavailable");
        assert!(!head.headers().contains_key("location"));
    }
}

#[tokio::test]
async fn an_answer_may_spell_its_type_in_any_way() {
    for kind in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "text/event-stream;charset=utf-8",
    ] {
        let (head, _) = through(answer_with(200, &[("content-type", kind)], "{}")).await;
        assert_eq!(head.status(), 200, "{kind}");
    }
    let unsaid = http::Response::new(ScriptedBody::new().data("{}"));
    assert_eq!(through(Reaction::Answer(unsaid)).await.0.status(), 200);
}

#[tokio::test]
async fn an_error_is_read_up_to_its_cap() {
    let message = "m".repeat(60 << 10);
    let body = |message: &str| format!(r#"{{"error":{{"message":"{message}"}}}}"#);
    let (_, text) = through(answer(400, &body(&message))).await;
    assert_eq!(error(&text)["message"], message);

    let endless = ScriptedBody::new().frames(vec!["x".repeat(1 << 10); 100]);
    let watch = endless.watch();
    let response = http::Response::builder().status(400).body(endless).unwrap();
    let (head, text) = through(Reaction::Answer(response)).await;
    assert_eq!(head.status(), 400);
    assert_eq!(error(&text)["message"], "The request is invalid.");
    assert_eq!(watch.polls(), 65, "one more than fit");

    let cut = ScriptedBody::new().data(r#"{"error":"#).error();
    let response = http::Response::builder().status(503).body(cut).unwrap();
    let (head, _) = through(Reaction::Answer(response)).await;
    assert_eq!(head.status(), 503);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_worth_another_try() {
    let text = r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40012.","type":"tokens","code":"rate_limit_exceeded"}}"#;
    let (head, text) = through(answer(429, text)).await;
    assert_eq!(head.status(), 429);
    assert_eq!(head.headers()["x-should-retry"], "false");
    assert_eq!(error(&text)["type"], "tokens");
}

#[tokio::test]
async fn silence_before_the_first_event_is_a_timeout() {
    let status = http::StatusCode::GATEWAY_TIMEOUT;
    let fault = UpstreamFault::new(status, "server_error", "The model stopped answering.");
    let mut response = http::Response::new(ScriptedBody::new());
    let fault = fault.with_code("upstream_timeout");
    response.extensions_mut().insert(fault);
    let (head, text) = through(Reaction::Answer(response)).await;
    assert_eq!(head.status(), 504);
    assert_eq!(error(&text)["code"], "upstream_timeout");
}
