//! Budget, upstreams and streams as one stack: whatever becomes of a call, and whoever ends it, it
//! is charged once, for what its caller got.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    future::{Future, pending, poll_fn},
    num::NonZeroU64,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::sleep;
use tollgate::{
    BudgetLayer, ChatRequest, Fact, Fault, Limits, Member, MemoryStore, Model, Quota, Region,
    RequestBody, SharedBody, SseLayer, Upstream, UpstreamLayer, Upstreams, Workspace,
    budget::{Ending, Key, Observe, Units},
};
use tollgate_testing::ScriptedBody;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Steele, Lea and Flood's `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn chunk(more: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",{more}}}\n\n"
    )
}

fn piece(random: &mut Random) -> String {
    let text = ["a", "b\\\"c", "\\u65e5", "日本"][random.below(4) as usize];
    let delta = match random.below(4) {
        0 => format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{text}"}}}}]}}"#),
        1 => format!(r#"{{"refusal":"{text}"}}"#),
        _ => format!(r#"{{"content":"{text}"}}"#),
    };
    chunk(&format!(
        r#""choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]"#
    ))
}

const PROMPT: u64 = 20;

fn stream(random: &mut Random) -> ScriptedBody {
    let mut text = Vec::new();
    let noise = [": hello\n\n", "event: x\n\n", "data: \n\n"];
    for noise in noise.iter().take(random.below(4) as usize) {
        text.push((*noise).to_owned());
    }
    if random.one_in(8) {
        text.push("data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n".to_owned());
    }
    let pieces = random.below(12);
    let reports_as_it_goes = random.one_in(5);
    for n in 1..=pieces {
        text.push(piece(random));
        if reports_as_it_goes && random.one_in(3) {
            text.push(usage(n));
        }
    }
    let broken = random.below(8);
    match broken {
        0 => text.push("data: {\"error\":{\"message\":\"m\"}}\n\n".to_owned()),
        1 => text.push("data: {\"choices\"\n\n".to_owned()),
        2 => {}
        _ => {
            text.push(chunk(
                r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#,
            ));
            if !random.one_in(4) {
                text.push(usage(pieces));
            }
            if !random.one_in(4) {
                text.push("data: [DONE]\n\n".to_owned());
            }
        }
    }
    let text = Bytes::from(text.concat());
    let mut body = ScriptedBody::new();
    let mut at = 0;
    while at < text.len() {
        let end = text.len().min(at + 1 + random.below(300) as usize);
        body = body.data(text.slice(at..end));
        if random.one_in(3) {
            body = body.pending();
        }
        at = end;
        if random.one_in(60) {
            return if random.one_in(2) {
                body.hang()
            } else {
                body.error()
            };
        }
    }
    if random.one_in(3) {
        body.announce_length()
    } else {
        body
    }
}

fn usage(completion: u64) -> String {
    chunk(&format!(
        r#""choices":[],"usage":{{"prompt_tokens":{PROMPT},"completion_tokens":{completion},"total_tokens":{}}}"#,
        PROMPT + completion
    ))
}

fn whole(random: &mut Random) -> ScriptedBody {
    let usage = match random.below(3) {
        0 => String::new(),
        _ => format!(
            r#","usage":{{"prompt_tokens":{PROMPT},"completion_tokens":9,"total_tokens":{}}}"#,
            PROMPT + 9
        ),
    };
    let json = format!(
        r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"content":"hello there"}},"finish_reason":"stop"}}]{usage}}}"#
    );
    let cut = if random.one_in(5) {
        json.len() / 2
    } else {
        json.len()
    };
    let body = ScriptedBody::new().data(Bytes::from(json).slice(..cut));
    match random.below(6) {
        0 => body.error(),
        1 => body.pending().hang(),
        2 | 3 => body.announce_length(),
        _ => body,
    }
}

/// How one attempt goes.
async fn attempt(mut random: Random, streams: bool) -> Result<Response<ScriptedBody>, Fault> {
    if random.one_in(3) {
        sleep(Duration::from_secs(random.below(30))).await;
    }
    match random.below(16) {
        0 => return Err(Fault::Connect),
        1 => return Err(Fault::BeforeHead),
        2 => return Err(Fault::Other),
        3 => pending().await,
        4..6 => {
            let status = [204, 302, 400, 401, 404, 408, 422, 429, 500, 503, 504];
            let status = status[random.below(status.len() as u64) as usize];
            let body = ScriptedBody::new().data(r#"{"error":{"message":"m"}}"#);
            return Ok(Response::builder().status(status).body(body).unwrap());
        }
        _ => {}
    }
    let answer = Response::builder();
    Ok(if streams {
        let body = stream(&mut random);
        answer
            .header("content-type", "text/event-stream")
            .body(body)
    } else {
        let body = whole(&mut random);
        answer.header("content-type", "application/json").body(body)
    }
    .unwrap())
}

#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    reserved: u64,
    ended: Vec<Ending>,
}

impl Observe for Ledger {
    fn reserved(&self, _key: &Key<'_>, _cost: Units) {
        self.0.lock().unwrap().reserved += 1;
    }

    fn ended(&self, _key: &Key<'_>, ending: &Ending) {
        self.0.lock().unwrap().ended.push(*ending);
    }
}

fn request(stream: bool, usage_wanted: bool) -> Request<ScriptedBody> {
    let json = r#"{"model": "m", "messages": []}"#;
    let members = vec![
        Member::new("model", 1, 10..13),
        Member::new("messages", 15, 27..29),
    ];
    let chat = ChatRequest::builder("m")
        .stream(stream)
        .usage_wanted(usage_wanted)
        .output_cap("max_tokens", 100);
    let mut request = Request::post("/").body(ScriptedBody::new()).unwrap();
    let facts = request.extensions_mut();
    facts.insert(chat.build());
    facts.insert(SharedBody::new(json.into(), members));
    facts.insert(Workspace::new("acme"));
    facts.insert(Model::new("m"));
    facts.insert(Region::new("eu").unwrap());
    request
}

/// Output in what a caller has received: in how many pieces, and how it ended.
#[derive(Debug, Default)]
struct Got {
    pieces: u64,
    done: u64,
    errors: u64,
    usage: u64,
}

fn read(text: &str) -> Got {
    let mut got = Got::default();
    let events: Vec<_> = text.split_terminator("\n\n").collect();
    for (at, event) in events.iter().enumerate() {
        let data = event.strip_prefix("data: ").unwrap();
        assert!(!data.contains('\n'));
        let is_last = at + 1 == events.len();
        if data == "[DONE]" {
            assert!(is_last, "{text}");
            got.done += 1;
        } else if data.starts_with("{\"error\"") {
            assert!(is_last, "{text}");
            got.errors += 1;
        } else if data.contains("\"usage\":{") {
            got.usage += 1;
        } else if !data.contains("\"delta\":{}") {
            got.pieces += 1;
        }
    }
    got
}

#[tokio::test(start_paused = true)]
async fn a_call_is_charged_once_for_what_its_caller_got() {
    let eu = Region::new("eu").unwrap();
    let upstreams = ["a", "b", "c"].map(|name| {
        Upstream::azure(name, eu.clone(), format!("http://{name}.test"), "key")
            .deployment("m", "d")
            .head_timeout(Duration::from_secs(20))
    });
    let upstreams = Upstreams::builder()
        .pool(eu, upstreams)
        .breaker(1_000, Duration::ZERO)
        .cooldown(Duration::ZERO)
        .retries(300, 0, 100)
        .build()
        .unwrap();
    let ledger = Ledger::default();
    let quota = Quota::tokens_per_minute(NonZeroU64::new(1 << 40).unwrap());
    let seeds = Arc::new(Mutex::new(Random(11)));
    let client = service_fn(move |request: Request<RequestBody<ScriptedBody>>| {
        let seed = seeds.lock().unwrap().below(u64::MAX);
        attempt(
            Random(seed),
            ChatRequest::of(request.extensions()).unwrap().stream(),
        )
    });
    let service = ServiceBuilder::new()
        .layer(BudgetLayer::new(MemoryStore::new(), Limits::new(quota)).observe(ledger.clone()))
        .layer(
            UpstreamLayer::new(upstreams.clone())
                .classify(|fault: &Fault| *fault)
                .head_timeout(Duration::from_secs(40)),
        )
        .layer(SseLayer::new().idle_timeout(Duration::from_secs(15)))
        .service(client);
    let mut outcomes: BTreeMap<Option<u16>, u64> = BTreeMap::new();
    for round in 0..5_000u64 {
        let mut caller = Random(round.wrapping_mul(77));
        let streams = !caller.one_in(3);
        let wanted = caller.one_in(2);
        // After how many steps the caller leaves.
        let mut left = if caller.one_in(2) {
            u64::MAX
        } else {
            caller.below(8)
        };
        let mut text = Vec::new();
        let mut complete = false;
        let mut status = None;
        {
            let call = service.clone().oneshot(request(streams, wanted));
            let mut call: Pin<Box<dyn Future<Output = _>>> = Box::pin(call);
            let answer = poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    left -= 1;
                    Poll::Pending
                }
            })
            .await;
            drop(call);
            if let Some(answer) = answer {
                let answer = answer.unwrap();
                status = Some(answer.status());
                assert!(
                    answer
                        .headers()
                        .contains_key("x-ratelimit-remaining-tokens")
                );
                let mut body = pin!(answer.into_body());
                loop {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    match body.frame().await {
                        Some(frame) => text.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                        None => {
                            complete = true;
                            break;
                        }
                    }
                }
            }
        }
        let (reserved, ending) = {
            let entries = ledger.0.lock().unwrap();
            assert_eq!(entries.ended.len() as u64, round + 1, "{round}");
            (entries.reserved, *entries.ended.last().unwrap())
        };
        assert_eq!(reserved, round + 1);
        let text = String::from_utf8(text).unwrap();
        let charged = ending.actual;
        let context = format!("{round}: {status:?} {ending:?} {text}");
        match status {
            None => assert_eq!(charged.requests, 1, "{context}"),
            Some(StatusCode::OK) if streams => {
                let got = read(&text);
                assert!(
                    charged.tokens
                        >= ending.usage.map_or(ending.estimate, |u| u.prompt_tokens) + got.pieces,
                    "{context}"
                );
                if complete {
                    assert_eq!(got.done + got.errors, 1, "{context}");
                }
                assert!(got.done + got.errors <= 1);
                assert!(wanted || got.usage == 0, "{context}");
                assert!(
                    charged.tokens <= ending.estimate.max(PROMPT) + 12 * 3,
                    "{context}"
                );
            }
            Some(StatusCode::OK) => {
                assert!(charged.tokens >= 3, "{context}");
            }
            Some(status) => {
                assert!(!complete || text.contains("\"error\""), "{context}");
                let expected = match status.as_u16() {
                    408 | 504 => Units::new(1, ending.estimate),
                    429 | 500.. => Units::ZERO,
                    _ => Units::new(1, 0),
                };
                assert_eq!(charged, expected, "{context}");
            }
        }
        *outcomes
            .entry(status.map(|status| status.as_u16()))
            .or_default() += 1;
        for upstream in upstreams.status() {
            assert_eq!(upstream.outstanding, 0, "{context}");
        }
    }
    // Nothing of it was left to chance.
    for outcome in [200, 400, 422, 429, 500, 502, 503, 504]
        .map(Some)
        .into_iter()
        .chain([None])
    {
        assert!(outcomes.contains_key(&outcome), "{outcome:?}");
    }
}
