//! Whatever ends a call, and wherever: what is used is what was observed, settled once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "tests"
)]

mod support;

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use support::{facts, limit, slow::SlowStore, standing};
use tokio::time::sleep;
use tollgate_budget::{BudgetLayer, DrainTask, Limits, MemoryStore, Quota};
use tollgate_core::{Fact, Usage, UsageSlot};
use tollgate_testing::{ScriptedBody, check_body};
use tower::{Layer, Service, ServiceExt, service_fn};

const PROMPT: u64 = 19;

fn limits() -> Limits {
    Limits::new(Quota::per_minute(limit(500), limit(60_000)))
}

/// Counts what it passes on, and reports usage before its last frame, as `SseLayer` does.
struct Counting {
    inner: ScriptedBody,
    slot: UsageSlot,
    panics_at: Option<u64>,
}

impl Body for Counting {
    type Data = Bytes;
    type Error = tollgate_testing::ScriptError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().unwrap();
            if bytes == "[DONE]" {
                self.slot.record(Usage::new(14, 86));
            } else {
                assert_ne!(Some(self.slot.output_pieces()), self.panics_at, "a bug");
                self.slot.add_output(1, bytes.len() as u64);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn script(kind: usize) -> ScriptedBody {
    let deltas = ScriptedBody::new()
        .data("a")
        .pending()
        .data("bb")
        .data("ccc")
        .pending();
    match kind {
        0 => deltas.data("[DONE]"),
        1 => deltas.data("[DONE]").announce_length(),
        2 => deltas.error(),
        // A broken upstream ends without usage.
        _ => deltas.data("d"),
    }
}

/// A service that takes two polls to answer, with the body of this kind.
fn upstream(
    kind: usize,
    seen: Arc<Mutex<Option<UsageSlot>>>,
) -> impl Service<
    Request<&'static str>,
    Response = Response<Counting>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Counting>, Infallible>> + Send,
> + Clone {
    service_fn(move |request: Request<&'static str>| {
        let slot = UsageSlot::of(request.extensions()).unwrap().clone();
        *seen.lock().unwrap() = Some(slot.clone());
        async move {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let inner = script(kind);
            Ok(Response::new(Counting {
                inner,
                slot,
                panics_at: None,
            }))
        }
    })
}

/// Polls a call `polls` times and drops it; says how many frames came, and whether it ended.
fn poll_and_drop<S, B>(service: S, polls: usize) -> (u64, bool)
where
    S: Service<Request<&'static str>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut left = 0..polls;
    let mut future = pin!(service.oneshot(facts("acme", "m", 500)));
    let response = loop {
        if left.next().is_none() {
            return (0, false);
        }
        if let Poll::Ready(response) = future.as_mut().poll(&mut cx) {
            break response.unwrap();
        }
    };
    let mut body = pin!(response.into_body());
    let mut frames = 0;
    while left.next().is_some() {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) => frames += 1,
            Poll::Ready(_) => return (frames, true),
            Poll::Pending => continue,
        }
        if body.is_end_stream() {
            return (frames, true);
        }
    }
    (frames, false)
}

#[tokio::test]
async fn dropped_at_any_await_or_frame_used_is_observed() {
    // Enough polls to reach the end by every way.
    const POLLS: usize = 16;
    for kind in 0..4 {
        let mut outcomes = Vec::new();
        for polls in 0..POLLS {
            let memory = MemoryStore::new();
            let store = SlowStore::new(memory.clone(), 2);
            let seen = Arc::default();
            let layer = BudgetLayer::new(store.clone(), limits());
            let service = layer.layer(upstream(kind, Arc::clone(&seen)));
            let (frames, ended) = poll_and_drop(service, polls);

            let slot = seen.lock().unwrap().take();
            let expected = match &slot {
                None => (0, 0),
                Some(slot) => match slot.usage() {
                    Some(usage) => (1, usage.total_tokens),
                    None => (1, PROMPT + frames.max(slot.output_bytes() / 3)),
                },
            };
            let used = standing(&memory, "acme", "m").await;
            assert_eq!(used, expected, "kind {kind}, dropped after {polls} polls");
            assert_eq!(store.settled(), store.granted());
            assert_eq!(store.granted(), u64::from(slot.is_some()));
            outcomes.push((used, ended));
        }
        // The loop has seen all there is: nothing charged, the prompt, each delta, the end.
        assert_eq!(outcomes[0], ((0, 0), false));
        assert!(outcomes.contains(&((1, PROMPT), false)));
        for deltas in 1..=3 {
            assert!(
                outcomes.contains(&((1, PROMPT + deltas), false)),
                "{outcomes:?}"
            );
        }
        assert!(outcomes[POLLS - 1].1, "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_call_is_settled_at_its_end_and_not_at_its_drop() {
    for (body, expected) in [
        (script(0), (1, 100)),
        (script(1), (1, 100)),
        (script(2), (1, PROMPT + 3)),
        (script(3), (1, PROMPT + 4)),
        (ScriptedBody::new().announce_length(), (1, PROMPT)),
    ] {
        let store = MemoryStore::new();
        let body = Arc::new(Mutex::new(Some(body)));
        let service = BudgetLayer::new(store.clone(), limits()).layer(service_fn(
            move |request: Request<&'static str>| {
                let slot = UsageSlot::of(request.extensions()).unwrap().clone();
                let inner = body.lock().unwrap().take().unwrap();
                std::future::ready(Ok::<_, Infallible>(Response::new(Counting {
                    inner,
                    slot,
                    panics_at: None,
                })))
            },
        ));
        let response = service.oneshot(facts("acme", "m", 500)).await.unwrap();
        let mut body = pin!(response.into_body());
        // As hyper does: never asked again once the end is announced.
        while !body.is_end_stream() {
            match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                Some(Ok(_)) => {}
                _ => break,
            }
        }
        assert_eq!(standing(&store, "acme", "m").await, expected);
    }
}

#[tokio::test]
async fn a_panic_is_a_caller_who_left() {
    let memory = MemoryStore::new();
    let store = SlowStore::new(memory.clone(), 0);
    let layer = BudgetLayer::new(store.clone(), limits());

    let in_call = layer.layer(service_fn(
        |_: Request<&'static str>| -> std::future::Ready<Result<Response<ScriptedBody>, Infallible>> {
            panic!("a bug")
        },
    ));
    let outcome = catch_unwind(AssertUnwindSafe(|| poll_and_drop(in_call, 9)));
    assert!(outcome.is_err());
    assert_eq!(standing(&memory, "acme", "m").await, (1, PROMPT));

    let in_future = layer.layer(service_fn(|_: Request<&'static str>| async {
        tokio::task::yield_now().await;
        if true {
            panic!("a bug");
        }
        Ok::<_, Infallible>(Response::new(ScriptedBody::new()))
    }));
    let outcome = catch_unwind(AssertUnwindSafe(|| poll_and_drop(in_future, 9)));
    assert!(outcome.is_err());
    assert_eq!(standing(&memory, "acme", "m").await, (2, 2 * PROMPT));

    let in_body = layer.layer(service_fn(|request: Request<&'static str>| {
        let slot = UsageSlot::of(request.extensions()).unwrap().clone();
        std::future::ready(Ok::<_, Infallible>(Response::new(Counting {
            inner: script(0),
            slot,
            panics_at: Some(2),
        })))
    }));
    let outcome = catch_unwind(AssertUnwindSafe(|| poll_and_drop(in_body, 9)));
    assert!(outcome.is_err());
    assert_eq!(standing(&memory, "acme", "m").await, (3, 3 * PROMPT + 2));
    assert_eq!((store.granted(), store.settled()), (3, 3));
}

fn spawn(task: DrainTask) {
    tokio::spawn(task);
}

async fn leave_after_a_frame(
    script: ScriptedBody,
    max_bytes: u64,
) -> (MemoryStore, tollgate_testing::BodyWatch) {
    let store = MemoryStore::new();
    let watch = script.watch();
    let script = Arc::new(Mutex::new(Some(script)));
    let service = BudgetLayer::new(store.clone(), limits())
        .drain(spawn, max_bytes, Duration::from_secs(30))
        .layer(service_fn(move |request: Request<&'static str>| {
            let slot = UsageSlot::of(request.extensions()).unwrap().clone();
            let inner = script.lock().unwrap().take().unwrap();
            std::future::ready(Ok::<_, Infallible>(Response::new(Counting {
                inner,
                slot,
                panics_at: None,
            })))
        }));
    let response = service.oneshot(facts("acme", "m", 500)).await.unwrap();
    let mut body = Box::pin(response.into_body());
    let first = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    assert_eq!(first.unwrap().unwrap().into_data().unwrap(), "a");
    drop(body);
    (store, watch)
}

#[tokio::test(start_paused = true)]
async fn a_drained_answer_is_read_to_its_usage() {
    let (store, watch) = leave_after_a_frame(script(0), 1 << 20).await;
    assert!(!watch.is_dropped());
    sleep(Duration::from_millis(1)).await;
    assert!(watch.is_dropped());
    assert_eq!(standing(&store, "acme", "m").await, (1, 100));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_after_so_many_bytes() {
    // "bb" fits, "ccc" does not.
    let (store, watch) = leave_after_a_frame(script(0), 4).await;
    sleep(Duration::from_millis(1)).await;
    assert!(watch.is_dropped());
    assert_eq!(standing(&store, "acme", "m").await, (1, PROMPT + 3));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_after_so_long() {
    let silent = ScriptedBody::new().data("a").hang();
    let (store, watch) = leave_after_a_frame(silent, 1 << 20).await;
    sleep(Duration::from_millis(29_999)).await;
    assert!(!watch.is_dropped());
    // What has not ended is still reserved: the upper bound of the prompt, and the cap.
    assert_eq!(standing(&store, "acme", "m").await, (1, 541));
    sleep(Duration::from_millis(2)).await;
    assert!(watch.is_dropped());
    assert_eq!(standing(&store, "acme", "m").await, (1, PROMPT + 1));
}

#[tokio::test]
async fn a_body_that_may_be_drained_is_passed_on_whole() {
    for kind in [0, 1, 3] {
        let spawned = Arc::new(Mutex::new(0));
        let count = Arc::clone(&spawned);
        let seen = Arc::default();
        let service = BudgetLayer::new(MemoryStore::new(), limits())
            .drain(move |_| *count.lock().unwrap() += 1, 1, Duration::ZERO)
            .layer(upstream(kind, seen));
        let response = service.oneshot(facts("acme", "m", 500)).await.unwrap();
        let received = check_body(response.into_body()).await;
        assert!(received.data.starts_with(b"abbccc"));
        assert_eq!(*spawned.lock().unwrap(), 0, "it had ended");
    }
}
