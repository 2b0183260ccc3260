//! A clock to turn by hand, requests with facts, and a look into a store.

#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod model;
pub(crate) mod slow;
pub(crate) mod steps;

use std::{
    num::NonZeroU64,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::Request;
use tollgate_budget::{Charge, Clock, Decision, Limit, Span, Store, Units, WindowSpec};
use tollgate_core::{ChatRequest, InputKind, Model, Workspace};
use tollgate_testing::FakeClock;

/// A clock to turn by hand, in the units of these tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Time(FakeClock);

impl Time {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn clock(&self) -> impl Clock + use<> {
        self.0.reader()
    }

    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.0.now().as_nanos()).unwrap()
    }

    pub(crate) fn set_nanos(&self, nanos: u64) {
        self.0.set(Duration::from_nanos(nanos));
    }

    pub(crate) fn pass_nanos(&self, nanos: u64) {
        self.0.advance(Duration::from_nanos(nanos));
    }

    pub(crate) fn pass(&self, millis: u64) {
        self.0.advance(Duration::from_millis(millis));
    }
}

/// What a store that waits for nothing decides.
pub(crate) fn reserve<St: Store>(store: &St, charge: &Charge<'_>) -> Decision<St::Held> {
    now(store.reserve(charge)).unwrap()
}

/// The outcome of a future that waits for nothing.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("this future waits"),
    }
}

/// A prompt that the byte rule estimates at 19 tokens, at most 41.
pub(crate) fn facts(workspace: &str, model: &str, cap: u64) -> Request<&'static str> {
    let chat = ChatRequest::builder(model)
        .output_cap("max_tokens", cap)
        .message()
        .text(InputKind::Role, "user", false)
        .text(InputKind::Content, "Write a short poem about cats!", false);
    let mut request = Request::new("untouched");
    let extensions = request.extensions_mut();
    extensions.insert(Workspace::new(workspace));
    extensions.insert(Model::new(model));
    extensions.insert(chat.build());
    request
}

pub(crate) fn limit(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).unwrap()
}

/// What is used of a key: asked with an empty charge, which is always granted.
pub(crate) async fn standing<St: Store>(store: &St, workspace: &str, name: &str) -> (u64, u64) {
    let all = Limit {
        requests: NonZeroU64::new(u64::MAX),
        tokens: NonZeroU64::new(u64::MAX),
    };
    let windows = [WindowSpec::new("", name, Span::Minute, all)];
    let charge = Charge::new(workspace, &windows, Units::ZERO);
    let Decision::Granted { held, standings } = store.reserve(&charge).await.unwrap() else {
        panic!("an empty charge was denied");
    };
    store.settle(held, Units::ZERO);
    let used = |standing: Option<tollgate_budget::Standing>| u64::MAX - standing.unwrap().remaining;
    (used(standings.requests), used(standings.tokens))
}
