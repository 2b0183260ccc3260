//! What a budget costs: nanoseconds for each call, bytes for each key, and governor beside it.
//!
//! `cargo bench -p tollgate-budget`, on Linux. The best of many short rounds is printed: whatever
//! else the machine does only adds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::{black_box, spin_loop},
    num::{NonZeroU32, NonZeroU64},
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use bytes::Bytes;
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::Instant;
use tollgate_budget::{
    BudgetLayer, Charge, Decision, Limit, Limits, MemoryHeld, MemoryStore, Quota, Span, Store,
    Units, WindowSpec,
};
use tollgate_core::{ChatRequest, InputKind, Model, Usage, UsageSlot, Workspace};
use tower::{Layer, Service, service_fn};

const ROUNDS: usize = 300;
const CALLS: usize = 2_000;

fn main() {
    // `cargo test` runs benchmarks too, and only wants to know that they build.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    memory();
    let counts = [1, 1_000, 1_000_000];
    println!("ns for each admit and settle\n");
    println!(
        "| | {} |",
        ["1 key", "1,000 keys", "1,000,000 keys"].join(" | ")
    );
    println!("|--|--|--|--|");
    for threads in [1, 2] {
        row("memory store", threads, counts, |keys| {
            let store = store(keys);
            move |key: &str| pair(&store, key)
        });
        row("… by the processor's own clock", threads, counts, |keys| {
            let store = store(keys).clock(processors());
            move |key: &str| pair(&store, key)
        });
        row("… the clock stands still", threads, counts, |keys| {
            let store = store(keys).clock(|| Duration::from_secs(1));
            move |key: &str| pair(&store, key)
        });
        row("… also smoothed by the second", threads, counts, |keys| {
            let store = store(keys * 2);
            move |key: &str| smoothed_pair(&store, key)
        });
        row("governor, two limiters, no refund", threads, counts, |_| {
            let (requests, tokens) = (governor(), governor());
            move |key: &str| governor_pair(&requests, &tokens, key)
        });
        row("the clock alone", threads, counts, |_| {
            |_: &str| {
                black_box(Instant::now());
            }
        });
    }
    denials();
    layer();
}

/// The clock that governor goes by.
fn processors() -> impl Fn() -> Duration {
    let clock = quanta::Clock::new();
    let start = clock.now();
    move || clock.now() - start
}

fn store(keys: usize) -> MemoryStore {
    MemoryStore::new().max_keys(keys * 2)
}

const WIDE: Limit = Limit {
    requests: Some(NonZeroU64::MAX),
    tokens: Some(NonZeroU64::MAX),
};

fn reserve(store: &MemoryStore, key: &str, limit: Limit) -> Option<MemoryHeld> {
    let windows = [WindowSpec::new("", "gpt-4o", Span::Minute, limit)];
    let charge = Charge::new(key, &windows, Units::new(1, 500));
    match store.reserve(&charge).into_inner().unwrap() {
        Decision::Granted { held, .. } => Some(held),
        Decision::Denied(_) => None,
    }
}

fn pair(store: &MemoryStore, key: &str) {
    let held = reserve(store, key, WIDE).unwrap();
    store.settle(held, Units::new(1, 100));
}

fn smoothed_pair(store: &MemoryStore, key: &str) {
    let windows = [
        WindowSpec::new("", "gpt-4o", Span::Minute, WIDE),
        WindowSpec::new("", "gpt-4o", Span::Second, WIDE),
    ];
    let charge = Charge::new(key, &windows, Units::new(1, 500));
    let Decision::Granted { held, .. } = store.reserve(&charge).into_inner().unwrap() else {
        panic!("nothing is that narrow");
    };
    store.settle(held, Units::new(1, 100));
}

type Governor = DefaultKeyedRateLimiter<String>;

fn governor() -> Governor {
    RateLimiter::keyed(governor::Quota::per_second(NonZeroU32::MAX))
}

fn governor_pair(requests: &Governor, tokens: &Governor, key: &str) {
    // It looks keys up by reference to what it stores.
    let key = key.to_owned();
    let _ = black_box(requests.check_key(&key));
    let _ = black_box(tokens.check_key_n(&key, NonZeroU32::new(500).unwrap()));
}

fn row<F>(name: &str, threads: usize, counts: [usize; 3], build: impl Fn(usize) -> F)
where
    F: Fn(&str) + Sync,
{
    let cells = counts.map(|keys| format!("{:.0}", best(threads, keys, &build(keys))));
    let threads = if threads == 1 {
        "1 thread"
    } else {
        "2 threads"
    };
    println!("| {name}, {threads} | {} |", cells.join(" | "));
}

/// Nanoseconds for each call, as the slower of the threads has it, in the best of the rounds that
/// they began together.
fn best<F: Fn(&str) + Sync>(threads: usize, keys: usize, call: &F) -> f64 {
    let names: Vec<String> = (0..keys).map(|n| format!("workspace-{n}")).collect();
    for name in &names {
        call(name);
    }
    let ready = AtomicUsize::new(0);
    let walk = |thread: usize| -> Vec<(Instant, f64)> {
        let mut at = thread;
        let round = |round| {
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < (round + 1) * threads {
                spin_loop();
            }
            let start = Instant::now();
            let ns = ns_of(|| {
                // A walk that no prefetcher follows.
                at = at
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                call(&names[(at >> 33) % names.len()]);
            });
            (start, ns)
        };
        (0..ROUNDS * threads).map(round).collect()
    };
    let walks: Vec<_> = thread::scope(|scope| {
        let walk = &walk;
        let start = |n| scope.spawn(move || walk(n));
        let threads: Vec<_> = (0..threads).map(start).collect();
        let ends = threads.into_iter().map(|thread| thread.join().unwrap());
        ends.collect()
    });
    let rounds = (0..walks[0].len()).filter_map(|round| {
        let starts = || walks.iter().map(|walk| walk[round].0);
        let apart = starts().max()? - starts().min()?;
        let slower = walks.iter().map(|walk| walk[round].1).fold(0.0, f64::max);
        (apart.as_nanos() as f64 <= slower * CALLS as f64 / 20.0).then_some(slower)
    });
    rounds.fold(f64::INFINITY, f64::min)
}

/// Nanoseconds for each of a round of calls.
fn ns_of(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_nanos() as f64 / CALLS as f64
}

fn denials() {
    let store = MemoryStore::new();
    let narrow = Limit {
        requests: None,
        tokens: NonZeroU64::new(600),
    };
    let _open = reserve(&store, "workspace-0", narrow);
    let refuse = |key: &str| assert!(reserve(&store, key, narrow).is_none());
    let ns = best(1, 1, &refuse);
    println!("\nns for each denial, one key: {ns:.0}");
}

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

/// A request through the layer, beside the same request without it.
fn layer() {
    let inner = service_fn(|request: Request<()>| -> Answer {
        if let Some(slot) = request.extensions().get::<UsageSlot>() {
            slot.record(Usage::new(14, 86));
        }
        ready(Ok(Response::new(Full::default())))
    });
    // Wide enough for all rounds, and no wider: long numbers take longer to print.
    let wide = [1_000_000, 100_000_000].map(|limit| NonZeroU64::new(limit).unwrap());
    let limits = Limits::new(Quota::per_minute(wide[0], wide[1]));
    let layered = BudgetLayer::new(MemoryStore::new(), limits).layer(inner);
    let (mut with, mut without) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        without = without.min(ns_of_calls(inner));
        with = with.min(ns_of_calls(layered.clone()));
    }
    println!(
        "ns for each request through the whole layer: {:.0} ({with:.0} less {without:.0} without it)",
        with - without
    );
}

fn ns_of_calls<S, B>(mut service: S) -> f64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let chat = ChatRequest::builder("gpt-4o")
        .output_cap("max_tokens", 500)
        .message()
        .text(InputKind::Content, "Write a short poem about cats.", false)
        .build();
    let (workspace, model) = (Workspace::new("acme"), Model::new("gpt-4o"));
    let mut cx = Context::from_waker(Waker::noop());
    ns_of(|| {
        let mut request = Request::new(());
        let extensions = request.extensions_mut();
        extensions.insert(workspace.clone());
        extensions.insert(model.clone());
        extensions.insert(chat.clone());
        extensions.insert(request_id());
        assert!(service.poll_ready(&mut cx).is_ready());
        let Poll::Ready(response) = pin!(service.call(request)).poll(&mut cx) else {
            panic!("nothing waits");
        };
        drop(black_box(response));
    })
}

/// As the outermost layer of a stack has minted it.
fn request_id() -> tollgate_core::RequestId {
    static ID: LazyLock<tollgate_core::RequestId> = LazyLock::new(tollgate_core::RequestId::mint);
    ID.clone()
}

fn memory() {
    const KEYS: usize = 200_000;
    println!("bytes for each of {KEYS} keys, by resident memory");
    let names: Vec<String> = (0..KEYS).map(|n| format!("workspace-{n}")).collect();

    let before = resident();
    let idle = store(KEYS);
    for name in &names {
        pair(&idle, name);
    }
    println!("used once: {}", (resident() - before) / KEYS);

    let before = resident();
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let seconds = move || Duration::from_secs(clock.load(Ordering::Relaxed));
    let busy = store(KEYS).clock(seconds);
    for _ in 0..61 {
        for name in &names[..KEYS / 10] {
            pair(&busy, name);
        }
        time.fetch_add(1, Ordering::Relaxed);
    }
    println!(
        "used in every second of a minute: {}",
        (resident() - before) / (KEYS / 10)
    );
    println!(
        "an open reservation: {} (in the answer's body)",
        size_of::<MemoryHeld>()
    );
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}
