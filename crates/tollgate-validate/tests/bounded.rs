//! What hostile and huge bodies cost: time in proportion to their length, memory hardly any.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use rustix::time::{ClockId, clock_gettime};
use tollgate_core::{Rejection, RequestBody, RequestId};
use tollgate_testing::{Allocations, measure_allocations};
use tollgate_validate::{Policy, ValidateLayer};
use tower::{Layer, ServiceExt, service_fn};

const MESSAGES: &str = r#""messages":[{"role":"user","content":"x"}]"#;

fn request(json: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::post("/")
        .header("content-type", "application/json")
        .body(Full::new(json))
        .unwrap();
    request.extensions_mut().insert(RequestId::mint());
    request
}

/// Checks a body, which takes one poll; the answer and what it allocated.
fn check(policy: Policy, json: Bytes) -> (Response<()>, Allocations) {
    let inner = service_fn(|_: Request<RequestBody<Full<Bytes>>>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(())))
    });
    let layer = ValidateLayer::new(policy).max_body_bytes(1 << 30);
    let service = layer.layer(inner);
    let request = request(json);
    measure_allocations(|| {
        let future = pin!(service.oneshot(request));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(response) => response.unwrap().map(drop),
            Poll::Pending => panic!("the body is there"),
        }
    })
}

/// Checks a body of `n` hostile pieces, and one of a sixteenth, which must not take much less than
/// a sixteenth of the time.
fn linear(what: &str, n: usize, body: impl Fn(usize) -> String, status: StatusCode) {
    let bodies = [n / 16, n].map(|n| Bytes::from(body(n)));
    let look_at = |json: &Bytes, answer: &Response<()>, allocated: Allocations| {
        assert_eq!(answer.status(), status, "{what}");
        let most_bytes = match answer.extensions().get::<Rejection>() {
            Some(rejection) => {
                let length = rejection.message().len() + rejection.param().map_or(0, str::len);
                assert!(length < 2_000, "{what}: the answer has {length} bytes");
                1 << 20
            }
            // What is worth counting is noted, at three times its length if it is very short.
            None => (1 << 20) + 4 * json.len() as u64,
        };
        assert!(allocated.peak_bytes < most_bytes, "{what}: {allocated:?}");
    };
    // 16 if it is linear, 256 if it were quadratic.
    let ratio = ratio(&bodies, 64.0, look_at);
    assert!(
        ratio < 64.0,
        "{what}: {n} pieces took {ratio} times as long as a sixteenth"
    );
}

/// How much longer the second body takes than the first, in the time of this thread alone.
///
/// They take turns, and the shortest times count, until the ratio is below what is hoped for: a
/// busy machine can only lengthen a time, so that no number of turns makes slow work fast.
fn ratio(
    bodies: &[Bytes; 2],
    hoped_for: f64,
    look_at: impl Fn(&Bytes, &Response<()>, Allocations),
) -> f64 {
    let mut best = [Duration::MAX; 2];
    let mut ratio = f64::INFINITY;
    for _ in 0..20 {
        for (best, json) in best.iter_mut().zip(bodies) {
            let start = thread_time();
            let (answer, allocated) = check(Policy::compatible(), json.clone());
            *best = (thread_time() - start).min(*best);
            look_at(json, &answer, allocated);
        }
        // What ends at once is as good as anything that does.
        ratio = best[1].as_secs_f64() / best[0].as_secs_f64().max(50e-6);
        if ratio < hoped_for {
            break;
        }
    }
    ratio
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

fn with(member: &str) -> String {
    format!(r#"{{"model":"gpt-4o",{MESSAGES},{member}}}"#)
}

fn saying(content: &str) -> String {
    format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":{content}}}]}}"#)
}

#[test]
fn nesting() {
    let n = 100_000;
    let bad = StatusCode::BAD_REQUEST;
    for (what, open, close) in [("arrays", "[", "]"), ("objects", r#"{"a":"#, "}")] {
        let nested = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        linear(what, n, nested, bad);
        linear(
            what,
            n,
            |n| with(&format!(r#""metadata":{}"#, nested(n))),
            bad,
        );
        linear(
            what,
            n,
            |n| with(&format!(r#""unknown":{}"#, nested(n))),
            bad,
        );
        linear(what, n, |n| saying(&nested(n)), bad);
        // Never closed.
        linear(
            what,
            n,
            |n| with(&format!(r#""tools":{}"#, open.repeat(n))),
            bad,
        );
    }
}

#[test]
fn one_character_all_along() {
    let bad = StatusCode::BAD_REQUEST;
    for c in ['x', ' ', '[', ']', '{', '"', '\\', '0', '-', ',', '\u{e9}'] {
        let body = |n: usize| c.to_string().repeat(n);
        linear(&format!("{c:?}"), 2_000_000, body, bad);
    }
    let text = |c: &'static str| move |n: usize| saying(&format!("\"{}\"", c.repeat(n)));
    linear("letters", 10_000_000, text("x"), StatusCode::OK);
    let n = 1_000_000;
    for c in [" ", "é", "\u{1F680}", r"\n", r"\u00e9"] {
        linear(c, n, text(c), StatusCode::OK);
    }
    let spaces = |n: usize| with(&format!(r#"{}"stop"{0}:{0}"x"{0}"#, " ".repeat(n)));
    linear("spaces between", n, spaces, StatusCode::OK);
    let digits = |n: usize| with(&format!(r#""temperature":0.{}"#, "0".repeat(n)));
    linear("digits", n, digits, StatusCode::OK);
    let digits = |n: usize| with(&format!(r#""max_tokens":{}"#, "9".repeat(n)));
    linear("digits", n, digits, bad);
}

#[test]
fn very_many_things() {
    let many = |one: &str, n: usize| vec![one; n].join(",");
    let bad = StatusCode::BAD_REQUEST;
    let n = 1_000_000;
    let message = r#"{"role":"user","content":""}"#;
    for item in ["{}", "0", message] {
        let body = |n| format!(r#"{{"model":"m","messages":[{}]}}"#, many(item, n));
        linear("messages", n, body, bad);
    }
    for name in [
        "tools",
        "functions",
        "stop",
        "modalities",
        "store",
        "messages2",
    ] {
        let body = |n| with(&format!(r#""{name}":[{}]"#, many("{}", n)));
        linear(name, n / 4, body, bad);
    }
    let part = r#"{"text":"","type":"text"}"#;
    linear(
        "parts",
        20_000,
        |n| saying(&format!("[{}]", many(part, n))),
        StatusCode::OK,
    );
    let image = r#"{"type":"image_url","image_url":{"url":"http://x"}}"#;
    linear(
        "images",
        12_000,
        |n| saying(&format!("[{}]", many(image, n))),
        StatusCode::OK,
    );
    // The role that decides about the parts comes last.
    let late = |n| {
        let parts = many(part, n);
        format!(r#"{{"messages":[{{"content":[{parts}],"role":"system"}}],"model":"m"}}"#)
    };
    linear("late roles", 80_000, late, StatusCode::OK);
}

#[test]
fn very_many_and_very_long_keys() {
    let keys = |n: usize| {
        let keys: Vec<String> = (0..n).map(|i| format!("\"{i}\":1")).collect();
        keys.join(",")
    };
    let bad = StatusCode::BAD_REQUEST;
    let n = 300_000;
    linear("unknown", n, |n| with(&keys(n)), bad);
    for name in [
        "metadata",
        "logit_bias",
        "response_format",
        "stream_options",
        "audio",
    ] {
        linear(
            name,
            n,
            |n| with(&format!(r#""{name}":{{{}}}"#, keys(n))),
            bad,
        );
    }
    let inside = |n: usize| {
        let keys = keys(n);
        format!(r#"{{"model":"m","messages":[{{"role":"user",{keys},"content":"x"}}]}}"#)
    };
    linear("in a message", 16_000, inside, StatusCode::OK);
    linear("too many in a message", 16 * n, inside, bad);

    let n = 1 << 20;
    let long = |n: usize| format!("\"{}\":1", "k".repeat(n));
    linear("long", n, |n| with(&long(n)), bad);
    linear(
        "long, escaped",
        n / 4,
        |n| with(&format!("\"{}\":1", r"\u006d".repeat(n))),
        bad,
    );
    for name in ["metadata", "logit_bias", "response_format"] {
        linear(
            name,
            n,
            |n| with(&format!(r#""{name}":{{{}}}"#, long(n))),
            bad,
        );
    }
}

#[test]
fn unknown_keys_that_pass_are_compared_in_no_time() {
    let policy = || Policy::compatible().allow_unknown();
    let members = |n: usize| -> Vec<String> {
        (0..n)
            .map(|i| format!("\"{}{i}\":1", "k".repeat(20)))
            .collect()
    };
    let status = |members: &[String]| {
        let body = with(&members.join(","));
        check(policy(), body.into()).0.status()
    };
    assert_eq!(status(&members(16_000)), StatusCode::OK);
    let mut twins = members(16_000);
    twins.push(twins[0].clone());
    assert_eq!(status(&twins), StatusCode::BAD_REQUEST);
    // More are not compared, and not passed on.
    assert_eq!(status(&members(100_000)), StatusCode::BAD_REQUEST);
}

#[test]
fn calls_with_long_ids_are_told_apart_in_no_time() {
    // Ids that differ in their last characters only, and are escaped.
    let body = |n: usize| {
        let ids: Vec<String> = (0..128)
            .map(|i| format!(r"\u0061{}{i:03}", "x".repeat(n)))
            .collect();
        let calls = ids.iter().map(|id| {
            format!(r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":""}}}}"#)
        });
        let calls = calls.collect::<Vec<_>>().join(",");
        let answers = ids
            .iter()
            .rev()
            .map(|id| format!(r#",{{"role":"tool","content":"","tool_call_id":"{id}"}}"#));
        let answers: String = answers.collect();
        let caller = format!(r#"{{"role":"assistant","tool_calls":[{calls}]}}"#);
        format!(r#"{{"model":"m","messages":[{caller}{answers}]}}"#)
    };
    linear("ids", 2_000, body, StatusCode::OK);
    // 128 times 128 comparisons of 8,000 escaped characters would take a second or more.
    let json = Bytes::from(body(8_000));
    let plain = saying(&format!("\"{}\"", r"\u0061".repeat(json.len() / 6)));
    let ratio = ratio(&[plain.into(), json], 20.0, |_, answer, _| {
        assert_eq!(answer.status(), StatusCode::OK);
    });
    assert!(ratio < 20.0, "{ratio}");
}

#[test]
fn members_that_are_told_again_cost_nothing() {
    let again = |one: &str, n: usize| vec![one; n].join(",");
    let bad = StatusCode::BAD_REQUEST;
    let n = 200_000;
    linear("parameters", n, |n| with(&again(r#""stop":"a""#, n)), bad);
    for member in [r#""name":"a""#, r#""content":"a""#, r#""tool_calls":null"#] {
        let message = |n| {
            let members = again(member, n);
            format!(r#"{{"model":"m","messages":[{{{members},"role":"user"}}]}}"#)
        };
        linear(member, n, message, bad);
    }
    // Each answer is looked for among all the ids that came before.
    let dialogue = |n: usize| {
        let ids = again(r#""id":"a""#, n);
        let answers = again(
            r#"{"role":"tool","content":"","tool_call_id":"b"}"#,
            n / 100,
        );
        let caller = format!(r#"{{"role":"assistant","tool_calls":[{{{ids}}}]}}"#);
        format!(r#"{{"model":"m","messages":[{caller},{answers}]}}"#)
    };
    linear("ids", n, dialogue, bad);
}

#[test]
fn refusals_do_not_repeat_all_that_was_said() {
    let length = |policy, json: String| {
        let (answer, _) = check(policy, json.into());
        let rejection = answer.extensions().get::<Rejection>().unwrap();
        rejection.message().len() + rejection.param().map_or(0, str::len)
    };
    let long = "k".repeat(1 << 20);
    let twice = with(&format!(r#""{long}":1,"{long}":2"#));
    assert!(length(Policy::compatible().allow_unknown(), twice) < 2_000);

    let call = |at| {
        let id = format!("{at}{}", "x".repeat(400));
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":""}}}}"#)
    };
    let calls = (0..128).map(call).collect::<Vec<_>>().join(",");
    let unanswered =
        format!(r#"{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{calls}]}}]}}"#);
    assert!(length(Policy::compatible(), unanswered) < 2_000);
}

#[test]
fn allocations_do_not_grow_with_the_messages() {
    let conversation = |n: usize| {
        let turn = r#"{"role":"user","name":"ann","content":[{"type":"text","text":"a\nb"}]},{"role":"assistant","content":"hello there"}"#;
        let turns = vec![turn; n].join(",");
        Bytes::from(format!(
            r#"{{"model":"gpt-4o","stream":true,"temperature":0.5,"max_tokens":100,"messages":[{turns}]}}"#
        ))
    };
    let counts = [1, 10, 100, 1_000].map(|n| {
        let (answer, allocated) = check(Policy::compatible(), conversation(n));
        assert_eq!(answer.status(), StatusCode::OK);
        allocated.count
    });
    assert!(counts[0] <= MOST_ALLOCATIONS, "{counts:?}");
    assert_eq!(counts, [counts[0]; 4]);
}

/// Eight for the check and its results, and one for each fact's place in the request.
const MOST_ALLOCATIONS: u64 = 10;
