//! Callers over HTTP/2 who leave around the moment at which a slow store grants their calls.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    convert::Infallible,
    future::pending,
    num::NonZeroU64,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{sync::Semaphore, task::yield_now};
use tollgate::{
    BudgetLayer, ChatRequest, Limits, MemoryStore, Model, Quota, Workspace,
    budget::{
        Charge, Decision, Limit, MemoryHeld, Settled, Span, Store, StoreError, Units, WindowSpec,
    },
};
use tollgate_stack_tests::{serve, soon};
use tower::{Layer, ServiceBuilder, service_fn};

/// More than a grant takes to become a call, in turns of the runtime.
const TURNS: usize = 24;

const LIMIT: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

#[tokio::test]
async fn at_any_time_around_a_grant_nothing_stays_reserved() {
    let store = SlowStore::default();
    let called = Arc::new(AtomicU64::new(0));
    let calls = Arc::clone(&called);
    // It counts those calls that are really made, and answers none.
    let silent = service_fn(move |_: Request<_>| {
        let calls = Arc::clone(&calls);
        async move {
            calls.fetch_add(1, Ordering::SeqCst);
            pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        }
    });
    let budget = BudgetLayer::new(store.clone(), Limits::new(Quota::per_minute(LIMIT, LIMIT)));
    let service = ServiceBuilder::new()
        .map_request(with_facts)
        .service(budget.layer(silent));
    let address = serve(service).await;
    let mut client = Client::builder(TokioExecutor::new());
    let client = client.http2_only(true).build_http::<Full<Bytes>>();

    for turns in 0..TURNS {
        for leaves_first in [true, false] {
            let request = Request::post(format!("http://{address}/")).body(Full::default());
            let call = tokio::spawn(client.request(request.unwrap()));
            soon(store.asked.acquire()).await.unwrap().forget();
            // A reset on its way to the gateway, and a grant on its way to the layer.
            if leaves_first {
                call.abort();
            } else {
                store.replies.add_permits(1);
            }
            for _ in 0..turns {
                yield_now().await;
            }
            if leaves_first {
                store.replies.add_permits(1);
            } else {
                call.abort();
            }
            soon(async {
                while store.open.load(Ordering::SeqCst) > 0 {
                    yield_now().await;
                }
            })
            .await;
            // Whoever left before the store's reply needs none.
            while let Ok(unused) = store.replies.try_acquire() {
                unused.forget();
            }
        }
    }

    // A call that was made costs its prompt, and one that was not costs nothing.
    let called = called.load(Ordering::SeqCst);
    assert!((1..2 * TURNS as u64).contains(&called), "{called}");
    let used = store.used();
    assert_eq!(used.requests, called);
    assert_eq!(used.tokens % called, 0, "{used:?}");
    assert!((1..50).contains(&(used.tokens / called)), "{used:?}");
}

fn with_facts<B>(mut request: Request<B>) -> Request<B> {
    let facts = request.extensions_mut();
    facts.insert(Workspace::new("acme"));
    facts.insert(Model::new("gpt-4o"));
    let chat = ChatRequest::builder("gpt-4o").output_cap("max_tokens", 5_000);
    facts.insert(chat.build());
    request
}

/// Counts at once, and replies when it is told to, as over a network.
#[derive(Clone)]
struct SlowStore {
    store: MemoryStore,
    asked: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    /// Charges that are neither settled nor given back.
    open: Arc<AtomicI64>,
}

impl SlowStore {
    /// What is used, as nothing more is asked for.
    fn used(&self) -> Units {
        let limit = Limit {
            requests: Some(LIMIT),
            tokens: Some(LIMIT),
        };
        let windows = [WindowSpec::new("", "gpt-4o", Span::Minute, limit)];
        let charge = Charge::new("acme", &windows, Units::ZERO);
        let Ok(Decision::Granted { standings, .. }) = self.store.reserve(&charge).into_inner()
        else {
            panic!("nothing always fits");
        };
        let of = |standing: Option<tollgate::budget::Standing>| {
            LIMIT.get() - standing.unwrap().remaining
        };
        Units::new(of(standings.requests), of(standings.tokens))
    }
}

impl Default for SlowStore {
    fn default() -> Self {
        Self {
            store: MemoryStore::new(),
            asked: Arc::new(Semaphore::new(0)),
            replies: Arc::new(Semaphore::new(0)),
            open: Arc::default(),
        }
    }
}

impl Store for SlowStore {
    type Held = MemoryHeld;
    type Reserve = Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn reserve(&self, charge: &Charge<'_>) -> Self::Reserve {
        let decision = self.store.reserve(charge).into_inner();
        if matches!(decision, Ok(Decision::Granted { .. })) {
            self.open.fetch_add(1, Ordering::SeqCst);
        }
        let mut on_its_way = OnItsWay {
            store: self.clone(),
            decision: Some(decision),
        };
        self.asked.add_permits(1);
        Box::pin(async move {
            let replies = Arc::clone(&on_its_way.store.replies);
            replies.acquire().await.unwrap().forget();
            on_its_way.decision.take().unwrap()
        })
    }

    fn settle(&self, held: MemoryHeld, actual: Units) -> Settled {
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.store.settle(held, actual)
    }
}

type Reply = Result<Decision<MemoryHeld>, StoreError>;

/// A reply that nobody has read yet. If nobody ever does, it is taken back.
struct OnItsWay {
    store: SlowStore,
    decision: Option<Reply>,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if let Some(Ok(Decision::Granted { held, .. })) = self.decision.take() {
            self.store.settle(held, Units::ZERO);
        }
    }
}
