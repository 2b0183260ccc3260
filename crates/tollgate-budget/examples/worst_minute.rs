//! The worst minute of four ways to limit tokens, simulated, and drawn for the docs.
//!
//! `cargo run --release -p tollgate-budget --example worst_minute` prints the table and writes
//! `docs/worst-minute.svg`.
//!
//! Twenty minutes of calls under a limit of 60,000 tokens a minute. Prompts have 50 to 350 tokens;
//! outputs are log-normal with a mean of about 500 and at most 4,096, and come at 50 tokens a
//! second. What is measured is what the model really does: the prompt when a call starts, its
//! output as it is generated.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an example")]

use std::{
    convert::Infallible,
    fmt::Write,
    future::{Ready, ready},
    num::NonZeroU64,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tollgate_budget::{Budget, BudgetBody, BudgetLayer, Limits, MemoryStore, Quota};
use tollgate_core::{ChatRequest, Model, TokenBounds, TokenCounter, Usage, UsageSlot, Workspace};
use tower::{Layer, Service};

const LIMIT: u64 = 60_000;
const CAP: u64 = 4_096;
const SPEED: u64 = 50;
const SECONDS: usize = 20 * 60;

fn main() -> std::io::Result<()> {
    let steady: Vec<usize> = (0..SECONDS).map(|_| 4).collect();
    let bursts: Vec<usize> = (0..SECONDS)
        .map(|s| if s % 20 == 10 { 300 } else { 0 })
        .collect();
    let mut rows = Vec::new();
    for (name, policy) in [
        (
            "charged after the call, by the clock's minute",
            fixed as fn() -> Box<dyn Policy>,
        ),
        ("token bucket, unused tokens given back", bucket),
        ("this crate, callers state max_tokens", strict),
        ("this crate, callers state nothing", learnt),
    ] {
        let [steady, bursts] = [&steady, &bursts].map(|demand| simulate(&mut *policy(), demand));
        println!(
            "{name}: steady {:.3} (mean {:.2}), bursts {:.3} (mean {:.2})",
            steady.worst, steady.mean, bursts.worst, bursts.mean
        );
        rows.push((name, steady, bursts));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/worst-minute.svg");
    std::fs::write(path, draw(&rows))
}

/// A way to limit tokens. Time is in seconds.
trait Policy {
    /// Admits a call of this prompt, and says how to settle it.
    fn admit(&mut self, now: usize, prompt: u64, output: u64) -> Option<Ticket>;
    fn settle(&mut self, now: usize, ticket: Ticket, actual: u64);
}

enum Ticket {
    Reserved(u64),
    Answer(Box<Response<BudgetBody<Full<Bytes>>>>, UsageSlot),
}

struct Outcome {
    worst: f64,
    mean: f64,
}

fn simulate(policy: &mut dyn Policy, demand: &[usize]) -> Outcome {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut used = vec![0_u64; SECONDS + 200];
    let mut ends: Vec<Vec<(Ticket, u64)>> = (0..SECONDS + 200).map(|_| Vec::new()).collect();
    for now in 0..used.len() {
        for (ticket, actual) in std::mem::take(&mut ends[now]) {
            policy.settle(now, ticket, actual);
        }
        for _ in 0..demand.get(now).copied().unwrap_or(0) {
            let prompt = 50 + random.below(301);
            let output = random.output();
            let Some(ticket) = policy.admit(now, prompt, output) else {
                continue;
            };
            used[now] += prompt;
            let mut left = output;
            let mut second = now;
            while left > 0 {
                let part = left.min(SPEED);
                used[second] += part;
                left -= part;
                second += 1;
            }
            ends[second.max(now + 1)].push((ticket, prompt + output));
        }
    }
    let minutes: Vec<u64> = used.windows(60).map(|minute| minute.iter().sum()).collect();
    let worst = minutes.iter().max().copied().unwrap_or(0);
    // Without the start, when there is nothing to count yet.
    let settled = &minutes[60..SECONDS - 60];
    let mean = settled.iter().sum::<u64>() as f64 / settled.len() as f64;
    Outcome {
        worst: worst as f64 / LIMIT as f64,
        mean: mean / LIMIT as f64,
    }
}

/// Nobody is charged before the end, and the count begins anew with every minute.
struct Fixed {
    minute: usize,
    used: u64,
}

fn fixed() -> Box<dyn Policy> {
    Box::new(Fixed { minute: 0, used: 0 })
}

impl Fixed {
    fn turn(&mut self, now: usize) {
        if now / 60 != self.minute {
            *self = Self {
                minute: now / 60,
                used: 0,
            };
        }
    }
}

impl Policy for Fixed {
    fn admit(&mut self, now: usize, _: u64, _: u64) -> Option<Ticket> {
        self.turn(now);
        (self.used < LIMIT).then_some(Ticket::Reserved(0))
    }

    fn settle(&mut self, now: usize, _: Ticket, actual: u64) {
        self.turn(now);
        self.used += actual;
    }
}

/// A bucket of the limit's size that refills in a minute; unused tokens are put back, up to full.
struct Bucket {
    now: usize,
    level: u64,
}

fn bucket() -> Box<dyn Policy> {
    Box::new(Bucket {
        now: 0,
        level: LIMIT,
    })
}

impl Bucket {
    fn refill(&mut self, now: usize) {
        let seconds = (now - self.now) as u64;
        self.level = (self.level + seconds * LIMIT / 60).min(LIMIT);
        self.now = now;
    }
}

impl Policy for Bucket {
    fn admit(&mut self, now: usize, prompt: u64, _: u64) -> Option<Ticket> {
        self.refill(now);
        self.level = self.level.checked_sub(prompt + CAP)?;
        Some(Ticket::Reserved(prompt + CAP))
    }

    fn settle(&mut self, now: usize, ticket: Ticket, actual: u64) {
        self.refill(now);
        if let Ticket::Reserved(reserved) = ticket {
            self.level = (self.level + reserved.saturating_sub(actual)).min(LIMIT);
        }
    }
}

/// The layer itself, around a service that hands out its slot.
struct Layered {
    service: Budget<Inner, MemoryStore, Exactly>,
    seconds: Arc<AtomicU64>,
    states_cap: bool,
}

fn strict() -> Box<dyn Policy> {
    layered(true)
}

fn learnt() -> Box<dyn Policy> {
    layered(false)
}

fn layered(states_cap: bool) -> Box<dyn Policy> {
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&seconds);
    let store =
        MemoryStore::new().clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    let limit = NonZeroU64::new(LIMIT).expect("the limit is not zero");
    let layer = BudgetLayer::new(store, Limits::new(Quota::tokens_per_minute(limit)));
    Box::new(Layered {
        service: layer.counter(Exactly).layer(Inner),
        seconds,
        states_cap,
    })
}

impl Policy for Layered {
    fn admit(&mut self, now: usize, prompt: u64, _: u64) -> Option<Ticket> {
        self.seconds.store(now as u64, Ordering::Relaxed);
        let mut chat = ChatRequest::builder("m").user(prompt.to_string());
        if self.states_cap {
            chat = chat.output_cap("max_tokens", CAP);
        }
        let mut request = Request::new(());
        let extensions = request.extensions_mut();
        extensions.insert(Workspace::new("acme"));
        extensions.insert(Model::new("m"));
        extensions.insert(chat.build());
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(mut response)) = pin!(self.service.call(request)).poll(&mut cx) else {
            unreachable!("nothing here waits or fails");
        };
        let slot = response.extensions_mut().remove::<UsageSlot>()?;
        Some(Ticket::Answer(Box::new(response), slot))
    }

    fn settle(&mut self, now: usize, ticket: Ticket, actual: u64) {
        self.seconds.store(now as u64, Ordering::Relaxed);
        if let Ticket::Answer(answer, slot) = ticket {
            slot.record(Usage::new(0, actual));
            drop(answer);
        }
    }
}

/// Knows the prompt's length, which the simulation has written where the user's name goes.
#[derive(Clone)]
struct Exactly;

impl TokenCounter for Exactly {
    fn bounds(&self, request: &ChatRequest, _: &Model) -> TokenBounds {
        let tokens = request.user().and_then(|user| user.parse().ok());
        TokenBounds::exact(tokens.unwrap_or(0))
    }
}

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        let mut response = Response::new(Full::from("…"));
        let slot = request.extensions_mut().remove::<UsageSlot>();
        response
            .extensions_mut()
            .insert(slot.expect("the layer has made one"));
        ready(Ok(response))
    }
}

/// The same calls for everybody.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Log-normal, σ = 1, with a mean of 500 before it is cut off.
    fn output(&mut self) -> u64 {
        let (a, b) = (self.unit().max(1e-12), self.unit());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        let tokens = (500_f64.ln() - 0.5 + normal).exp();
        (tokens as u64).clamp(1, CAP)
    }
}

/// Bars of the worst minutes, and a line where the limit is. Colours are for light and dark alike.
fn draw(rows: &[(&str, Outcome, Outcome)]) -> String {
    const SCALE: f64 = 120.0;
    const LEFT: f64 = 20.0;
    let height = 46 + rows.len() * 62;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 {height}\" width=\"640\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#888\" role=\"img\" \
         aria-label=\"Worst true usage in any 60 seconds, as a multiple of the limit\">\n"
    );
    for (at, (name, steady, bursts)) in rows.iter().enumerate() {
        let top = 20 + at * 62;
        let limit = LEFT + SCALE;
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{name}</text>", top + 10);
        for (line, (outcome, load)) in [(steady, "steady"), (bursts, "bursts")]
            .into_iter()
            .enumerate()
        {
            let y = top + 16 + line * 19;
            let colour = if outcome.worst > 1.0 {
                "#d1495b"
            } else {
                "#2a9d8f"
            };
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.0}\" height=\"15\" fill=\"{colour}\"/>\
                 <text x=\"{:.0}\" y=\"{}\" font-size=\"11\">{:.2} × limit, {load}</text>",
                outcome.worst * SCALE,
                LEFT + outcome.worst.max(1.0) * SCALE + 8.0,
                y + 12,
                outcome.worst,
            );
        }
        let _ = writeln!(
            svg,
            "<line x1=\"{limit}\" x2=\"{limit}\" y1=\"{}\" y2=\"{}\" stroke=\"#888\" \
             stroke-dasharray=\"4 3\"/>",
            top + 14,
            top + 52
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\">Worst true usage in any 60 seconds; the dashed line is the \
         limit.</text>\n</svg>",
        height - 8
    );
    svg
}
