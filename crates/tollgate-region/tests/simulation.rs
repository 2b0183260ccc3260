//! Many calls on a paused clock, to upstreams of two regions that fail in every way they can.
//!
//! `TOLLGATE_SIMULATED_CALLS` sets the number of calls for each seed, `TOLLGATE_SEED` a single seed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tollgate_core::RequestBody;
use tollgate_region::{BreakerState, Fault, Region, Upstream, Upstreams};
use tollgate_testing::ScriptedBody;
use tower::{Layer, Service, ServiceExt};

use support::*;

/// Which call an attempt belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CallId(u64);

/// Steele, Lea and Flood's `SplitMix64`, of several numbers.
fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |state, number| {
        let mut z = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Answer,
    /// The head is there, and some output, and then the connection breaks.
    Cut,
    Hang,
    Refuse,
    Reset,
    Slow,
    Status(u16, Option<(&'static str, &'static str)>),
}

const BUSY: Act = Act::Status(429, None);
const ERROR: Act = Act::Status(500, None);

/// The upstreams of each region, from the best to the worst: how often a call of theirs fails in
/// a quiet minute, and how often ten seconds are not quiet; of a thousand each.
const MANNERS: [(u64, u64); 3] = [(5, 20), (60, 150), (250, 300)];

/// What an upstream does to a call, whoever asks, and however often.
fn act(seed: u64, upstream: usize, call: u64, now: Duration) -> Act {
    let (quiet, unquiet) = MANNERS[upstream % MANNERS.len()];
    let upstream = upstream as u64;
    let weather = mix(&[seed, 1, upstream, now.as_secs() / 10]);
    let dice = mix(&[seed, 2, upstream, call]);
    if weather % 1_000 < unquiet {
        match (weather >> 32) % 4 {
            0 => return Act::Refuse,
            1 => return ERROR,
            2 if dice % 2 == 0 => return BUSY,
            3 if dice % 2 == 0 => return Act::Hang,
            _ => {}
        }
    }
    if dice % 1_000 >= quiet {
        return Act::Answer;
    }
    // One 429 keeps everybody away for seconds, so they are rare.
    match (dice >> 32) % 100 {
        0 => BUSY,
        1 => Act::Status(429, Some(("retry-after", "9"))),
        2 => Act::Status(429, Some(("retry-after-ms", "700"))),
        3 => Act::Status(503, Some(("retry-after", "6"))),
        4..20 => Act::Refuse,
        20..36 => Act::Reset,
        36..52 => Act::Hang,
        52..60 => Act::Slow,
        60..72 => Act::Cut,
        72..86 => Act::Status(502, None),
        _ => ERROR,
    }
}

/// Both regions' upstreams, and what may not happen to them.
struct World {
    seed: u64,
    start: Instant,
    upstreams: Upstreams,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// For each call whether its caller has got something of an answer.
    begun: Vec<bool>,
    /// Calls that have had an attempt.
    called: BTreeSet<u64>,
    attempts: BTreeMap<String, u64>,
    rests_until: BTreeMap<String, Duration>,
    probes: BTreeMap<String, u64>,
}

#[derive(Clone)]
struct Simulated(Arc<World>);

/// A probe is over when its attempt is, however that ends.
struct Probe(Arc<World>, String);

impl Drop for Probe {
    fn drop(&mut self) {
        *self.0.seen.lock().unwrap().probes.get_mut(&self.1).unwrap() -= 1;
    }
}

impl World {
    /// Looks at an attempt before anything is done with it.
    fn check(self: &Arc<Self>, host: &str, region: &Region, CallId(call): CallId) -> Option<Probe> {
        let now = self.start.elapsed();
        let name = host.strip_suffix(".test").unwrap();
        assert!(
            name.starts_with(region.as_str()),
            "a call of {region} came to {host}"
        );
        let breaker = status_of(&self.upstreams, name).breaker;
        let mut seen = self.seen.lock().unwrap();
        assert!(
            !seen.begun[call as usize],
            "call {call} was sent again after its first output"
        );
        *seen.attempts.entry(name.to_owned()).or_default() += 1;
        // The layer's clock counts whole milliseconds.
        let rests_until = seen.rests_until.get(name).copied().unwrap_or_default();
        assert!(
            now + Duration::from_millis(1) >= rests_until,
            "{name} was to be left alone"
        );
        let first = seen.called.insert(call);
        let alternatives = self.upstreams.status();
        let mut alternatives = alternatives.iter().filter(|of| of.region == *region);
        if first && alternatives.all(|of| of.blocked_for.is_some()) {
            // Where all breakers are open or being probed, they keep no call away.
            return None;
        }
        assert_ne!(breaker, BreakerState::Open, "{name}'s breaker is open");
        if breaker == BreakerState::Closed {
            return None;
        }
        let probes = seen.probes.entry(name.to_owned()).or_default();
        *probes += 1;
        assert_eq!(*probes, 1, "{name} is probed twice at a time");
        drop(seen);
        Some(Probe(Arc::clone(self), name.to_owned()))
    }

    async fn act(&self, host: &str, id: CallId) -> Result<Response<ScriptedBody>, ClientError> {
        let name = host.strip_suffix(".test").unwrap();
        let (region, number) = name.split_at(2);
        let upstream = number.parse::<usize>().unwrap() + if region == "us" { 3 } else { 0 };
        let act = act(self.seed, upstream, id.0, self.start.elapsed());
        let jitter = mix(&[self.seed, 3, upstream as u64, id.0]) % 60;
        let latency = match act {
            Act::Refuse => 1,
            Act::Slow => 1_500,
            _ => 20 + jitter,
        };
        sleep(Duration::from_millis(latency)).await;
        let body = ScriptedBody::new().data("data: 1\n\n").pending();
        Ok(match act {
            Act::Answer | Act::Slow => Response::new(body.data("data: [DONE]\n\n")),
            Act::Cut => Response::new(body.error()),
            Act::Hang => std::future::pending().await,
            Act::Refuse => return Err(ClientError(Fault::Connect)),
            Act::Reset => return Err(ClientError(Fault::BeforeHead)),
            Act::Status(status, header) => {
                let mut answer = Response::builder().status(status);
                let mut wait = Duration::from_secs(5);
                if let Some((name, value)) = header {
                    answer = answer.header(name, value);
                    let value = value.parse().unwrap();
                    wait = wait.max(match name {
                        "retry-after" => Duration::from_secs(value),
                        _ => Duration::from_millis(value),
                    });
                }
                if status == 429 || header.is_some() {
                    let until = self.start.elapsed() + wait;
                    let mut seen = self.seen.lock().unwrap();
                    let rests_until = seen.rests_until.entry(name.to_owned()).or_default();
                    *rests_until = until.max(*rests_until);
                }
                answer.body(ScriptedBody::new()).unwrap()
            }
        })
    }
}

impl Service<Request<RequestBody<ScriptedBody>>> for Simulated {
    type Response = Response<ScriptedBody>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ScriptedBody>, ClientError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<ScriptedBody>>) -> Self::Future {
        let world = Arc::clone(&self.0);
        let id = *request.extensions().get::<CallId>().unwrap();
        let region = request.extensions().get::<Region>().unwrap();
        let host = request.uri().host().unwrap().to_owned();
        let probe = world.check(&host, region, id);
        Box::pin(async move {
            let _probe = probe;
            world.act(&host, id).await
        })
    }
}

/// How it went for the callers of a run: for each call whether it failed before its first output.
struct Outcome {
    failed: Vec<bool>,
}

impl Outcome {
    fn successes(&self, of_eu: bool, seed: u64) -> usize {
        let calls = (0..).zip(&self.failed);
        let calls = calls.filter(|(call, _)| is_eu(seed, *call) == of_eu);
        calls.filter(|(_, failed)| !**failed).count()
    }
}

fn is_eu(seed: u64, call: u64) -> bool {
    mix(&[seed, 4, call]) % 2 == 0
}

/// A hundred calls a second, to those upstreams of each region whose numbers are given.
async fn run(seed: u64, calls: u64, numbers: &[usize]) -> Outcome {
    let pool = |name: &'static str| {
        let upstreams = numbers.iter().map(move |number| {
            azure(&format!("{name}{number}"), name).head_timeout(Duration::from_secs(2))
        });
        (region(name), upstreams.collect::<Vec<Upstream>>())
    };
    let mut builder = Upstreams::builder().seed(seed);
    for (region, upstreams) in ["eu", "us"].map(pool) {
        builder = builder.pool(region, upstreams);
    }
    let upstreams = builder.build().unwrap();
    let world = Arc::new(World {
        seed,
        start: Instant::now(),
        upstreams: upstreams.clone(),
        seen: Mutex::new(Seen {
            begun: vec![false; calls as usize],
            ..Seen::default()
        }),
    });
    let service = layer(&upstreams)
        .head_timeout(Duration::from_secs(8))
        .layer(Simulated(Arc::clone(&world)));
    let mut tasks = JoinSet::new();
    for id in 0..calls {
        sleep_until(world.start + Duration::from_millis(10 * id)).await;
        let service = service.clone();
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let mut request = call(if is_eu(seed, id) { "eu" } else { "us" });
            request.extensions_mut().insert(CallId(id));
            let answer = service.oneshot(request).await.unwrap();
            let has_failed = answer.status() != 200;
            let mut body = answer.into_body();
            if let Some(Ok(_)) = body.frame().await {
                world.seen.lock().unwrap().begun[id as usize] = true;
            }
            while let Some(Ok(_)) = body.frame().await {}
            (id, has_failed)
        });
    }
    let mut failed = vec![false; calls as usize];
    for (id, has_failed) in tasks.join_all().await {
        failed[id as usize] = has_failed;
    }

    let seconds = world.start.elapsed().as_secs();
    let seen = world.seen.lock().unwrap();
    for region in upstreams.region_status() {
        assert_eq!(region.cross_region, 0);
        assert_eq!(region.not_replayable, 0);
        let allowed = 10 + (region.calls / 10).max(seconds + 1);
        assert!(
            region.retries <= allowed,
            "{} of {allowed} retries",
            region.retries
        );
        let name = region.region.as_str();
        let of_region = seen
            .attempts
            .iter()
            .filter(|(host, _)| host.starts_with(name));
        let attempts: u64 = of_region.map(|(_, attempts)| attempts).sum();
        assert_eq!(attempts, region.calls + region.retries);
    }
    for status in upstreams.status() {
        assert_eq!(status.outstanding, 0, "{status:?}");
        let attempts = seen.attempts.get(&*status.upstream).copied();
        assert_eq!(status.attempts, attempts.unwrap_or_default());
    }
    Outcome { failed }
}

fn number(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn faults_stay_in_their_region_and_callers_seldom_notice() {
    let calls = number("TOLLGATE_SIMULATED_CALLS").unwrap_or(4_000);
    let seeds = number("TOLLGATE_SEED").map_or_else(|| vec![1, 2], |seed| vec![seed]);
    for seed in seeds {
        println!("seed {seed}, {calls} calls");
        let together = run(seed, calls, &[0, 1, 2]).await;
        let mut alone = Vec::new();
        for number in 0..3 {
            alone.push(run(seed, calls, &[number]).await);
        }
        for of_eu in [true, false] {
            let all = (0..calls)
                .filter(|call| is_eu(seed, *call) == of_eu)
                .count();
            let together = together.successes(of_eu, seed);
            let alone = alone.iter().map(|outcome| outcome.successes(of_eu, seed));
            let alone: Vec<_> = alone.collect();
            println!("eu: {of_eu}, of {all} calls {together} succeed, with one upstream {alone:?}");
            assert!(alone.iter().all(|alone| together >= *alone));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_says_all() {
    let once = run(11, 1_000, &[0, 1, 2]).await;
    let again = run(11, 1_000, &[0, 1, 2]).await;
    assert!(once.failed.contains(&true));
    assert_eq!(once.failed, again.failed);
}

#[tokio::test(start_paused = true)]
async fn shares_follow_weights() {
    const CALLS: u64 = 20_000;
    const WEIGHTS: [u32; 4] = [1, 2, 5, 12];
    let upstreams = eu(WEIGHTS.map(|weight| {
        let name = format!("w{weight}");
        azure(&name, "eu").weight(NonZeroU32::new(weight).unwrap())
    }));
    let client = tower::service_fn(|_: Request<RequestBody<ScriptedBody>>| async {
        sleep(Duration::from_millis(100)).await;
        Ok::<_, ClientError>(Response::new(ScriptedBody::new()))
    });
    let service = layer(&upstreams).layer(client);
    let mut tasks = JoinSet::new();
    for id in 0..CALLS {
        // Some fifty at a time.
        sleep(Duration::from_micros(mix(&[5, id]) % 4_000)).await;
        let answer = service.clone().oneshot(call("eu"));
        tasks.spawn(async { drop(answer.await) });
    }
    tasks.join_all().await;
    for weight in WEIGHTS {
        let attempts = status_of(&upstreams, &format!("w{weight}")).attempts;
        let expected = CALLS * u64::from(weight) / 20;
        println!("weight {weight}: {attempts} of {expected}");
        assert!(attempts.abs_diff(expected) * 100 <= expected * 5);
    }
}
