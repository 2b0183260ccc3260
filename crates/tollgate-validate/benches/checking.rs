//! What a checked request costs, beside parsing it into a tree and beside the floor.
//!
//! `cargo bench -p tollgate-validate` prints a table; `-- ValidateLayer 16KB 1000` runs one case
//! of one size a thousand times and prints nothing, for a counter of instructions to watch. Rounds
//! are interleaved and the best one counts: what matters are the ratios within one run.
#![allow(
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::panic,
    reason = "real time is what is measured; a benchmark may panic"
)]

use std::{
    convert::Infallible,
    fmt::Write,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tollgate_core::{RequestBody, RequestId};
use tollgate_validate::{Validate, ValidateLayer};
use tower::{Layer, Service, util::ServiceFn};

type Run = fn(&Bytes);

const CASES: [(&str, Run); 4] = [
    ("ValidateLayer", layer),
    ("serde_json, Value", value),
    ("serde_json, ignored", ignored),
    ("simdutf8", utf8),
];
const ROUNDS: usize = 25;
const BYTES_FOR_A_ROUND: usize = 1 << 20;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let bodies = [
        ("1KB", small()),
        ("16KB", tools()),
        ("256KB", long()),
        ("1MB", image()),
    ];
    if let [case, size, times] = &args[..] {
        let (_, run) = CASES.iter().find(|(name, _)| name == case).unwrap();
        let (_, body) = bodies.iter().find(|(name, _)| name == size).unwrap();
        for _ in 0..times.parse().unwrap() {
            run(body);
        }
        return;
    }
    println!("{:<20}{:>8}{:>14}{:>8}", "", "body", "ns", "GB/s");
    for (size, body) in &bodies {
        let times = (BYTES_FOR_A_ROUND / body.len()).max(1);
        let mut best = [f64::INFINITY; CASES.len()];
        for _ in 0..ROUNDS {
            for ((_, run), best) in CASES.iter().zip(&mut best) {
                let clock = Instant::now();
                for _ in 0..times {
                    run(black_box(body));
                }
                *best = best.min(clock.elapsed().as_nanos() as f64 / times as f64);
            }
        }
        for ((name, _), ns) in CASES.iter().zip(best) {
            let rate = body.len() as f64 / ns;
            println!("{name:<20}{size:>8}{ns:>14.0}{rate:>8.2}");
        }
    }
}

type Inner =
    ServiceFn<fn(Request<RequestBody<Full<Bytes>>>) -> Ready<Result<Response<()>, Infallible>>>;

/// Everything from the request in one frame to the call of the inner service, both facts included.
fn layer(body: &Bytes) {
    thread_local! {
        static SERVICE: Validate<Inner> = ValidateLayer::default().layer(tower::service_fn(
            (|request| {
                black_box(request);
                ready(Ok(Response::new(())))
            }) as fn(Request<RequestBody<Full<Bytes>>>) -> _,
        ));
        static ID: RequestId = RequestId::mint();
    }
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = http::Method::POST;
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert("content-type", json);
    request.extensions_mut().insert(ID.with(RequestId::clone));
    let mut service = SERVICE.with(Validate::clone);
    let mut context = Context::from_waker(Waker::noop());
    let future = pin!(service.call(request));
    let Poll::Ready(Ok(response)) = future.poll(&mut context) else {
        panic!("everything is there");
    };
    assert_eq!(response.status(), 200);
}

fn value(body: &Bytes) {
    black_box(serde_json::from_slice::<serde_json::Value>(body).unwrap());
}

fn ignored(body: &Bytes) {
    black_box(serde_json::from_slice::<serde::de::IgnoredAny>(body).unwrap());
}

fn utf8(body: &Bytes) {
    black_box(simdutf8::basic::from_utf8(body).unwrap());
}

// === Bodies ===

const ENGLISH: &str = "The ferry leaves from the northern pier at a quarter past six, and again \
    whenever enough passengers are waiting; tickets are sold on board.";
const CODE: &str = "fn main() {\\n    let x = \\\"a\\\";\\n\\tprintln!(\\\"{x}\\\");\\n}\\n";
const CHINESE: &str = "渡轮六点一刻从北码头出发,乘客足够时会再次开航。🚢";

/// Four messages.
fn small() -> Bytes {
    body(&conversation(4, &[ENGLISH, ENGLISH]), "")
}

/// Tools, and messages of several paragraphs.
fn tools() -> Bytes {
    body(
        &conversation(20, &[ENGLISH, ENGLISH, ENGLISH, ENGLISH, CODE]),
        &schemas(6),
    )
}

/// Code, CJK, escapes, emoji.
fn long() -> Bytes {
    let texts = [
        ENGLISH, CODE, CODE, CHINESE, ENGLISH, CODE, CHINESE, ENGLISH, CODE, ENGLISH, CODE,
        CHINESE, CODE,
    ];
    body(&conversation(220, &texts), &schemas(12))
}

/// One photograph.
fn image() -> Bytes {
    let base64 = "iVBORw0KGgo+/A9z".repeat(1 << 16);
    body(
        &format!(
            r#"{{"role":"user","content":[{{"type":"text","text":"{ENGLISH}"}},{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{base64}"}}}}]}}"#
        ),
        "",
    )
}

fn conversation(messages: usize, texts: &[&str]) -> String {
    let text = texts.concat();
    let mut json = String::from(r#"{"role":"system","content":"You are helpful."}"#);
    for i in 1..messages {
        let role = if i % 2 == 1 { "user" } else { "assistant" };
        write!(json, r#",{{"role":"{role}","content":"{text}"}}"#).unwrap();
    }
    json
}

fn schemas(tools: usize) -> String {
    let tool = |i| {
        format!(
            r#"{{"type":"function","function":{{"name":"f{i}","description":"{ENGLISH}","parameters":{{"type":"object","properties":{{"port":{{"type":"string","description":"Where to"}},"day":{{"type":"string","enum":["mon","tue","wed"]}},"seats":{{"type":"integer","minimum":1}}}},"required":["port","day"],"additionalProperties":false}}}}}}"#
        )
    };
    let tools: Vec<String> = (0..tools).map(tool).collect();
    format!(r#""tools":[{}],"#, tools.join(","))
}

fn body(messages: &str, tools: &str) -> Bytes {
    format!(
        r#"{{"model":"gpt-4o","temperature":0.7,"max_tokens":512,"stream":true,{tools}"messages":[{messages}]}}"#
    )
    .into()
}
