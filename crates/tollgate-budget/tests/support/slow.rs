//! A store that takes its time, and counts.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tollgate_budget::{
    Charge, Decision, MemoryHeld, MemoryStore, Settled, Store, StoreError, Units,
};

/// Decides after this many polls, as if a network were between.
#[derive(Clone, Debug)]
pub(crate) struct SlowStore {
    store: MemoryStore,
    polls: u32,
    fails: bool,
    granted: Arc<AtomicU64>,
    settled: Arc<AtomicU64>,
}

impl SlowStore {
    pub(crate) fn new(store: MemoryStore, polls: u32) -> Self {
        Self {
            store,
            polls,
            fails: false,
            granted: Arc::default(),
            settled: Arc::default(),
        }
    }

    pub(crate) fn failing() -> Self {
        Self {
            fails: true,
            ..Self::new(MemoryStore::new(), 1)
        }
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted.load(Ordering::SeqCst)
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::SeqCst)
    }
}

impl Store for SlowStore {
    type Held = MemoryHeld;
    type Reserve = SlowReserve;

    fn reserve(&self, charge: &Charge<'_>) -> SlowReserve {
        SlowReserve {
            decision: Some(super::reserve(&self.store, charge)),
            store: self.clone(),
            polls: self.polls,
        }
    }

    fn settle(&self, held: MemoryHeld, actual: Units) -> Settled {
        self.settled.fetch_add(1, Ordering::SeqCst);
        self.store.settle(held, actual)
    }
}

/// Keeps the contract: dropped before it has answered, it gives back what it took.
#[derive(Debug)]
pub(crate) struct SlowReserve {
    decision: Option<Decision<MemoryHeld>>,
    store: SlowStore,
    polls: u32,
}

impl Future for SlowReserve {
    type Output = Result<Decision<MemoryHeld>, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(rest) = self.polls.checked_sub(1) {
            self.polls = rest;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.store.fails {
            return Poll::Ready(Err(StoreError::new("redis://secret@host went away")));
        }
        let decision = self.decision.take().unwrap();
        if matches!(decision, Decision::Granted { .. }) {
            self.store.granted.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(decision))
    }
}

impl Drop for SlowReserve {
    fn drop(&mut self) {
        if let Some(Decision::Granted { held, .. }) = self.decision.take() {
            self.store.store.settle(held, Units::ZERO);
        }
    }
}
