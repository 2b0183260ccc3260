//! What holds while a shared store cannot decide, and until it knows all again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::result_large_err,
    reason = "tests"
)]

mod support;

use std::{
    future::{Ready, ready},
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use support::{Time, facts, limit, now, slow::SlowStore, standing};
use tollgate_budget::{
    BudgetLayer, Charge, Decision, Denial, Fallback, Limit, Limits, MemoryHeld, MemoryStore,
    OnFailure, Quota, Settled, Span, Store, StoreError, Units, WindowSpec,
};
use tollgate_testing::{ReadyProbe, ScriptedBody};
use tower::{Layer, ServiceExt};

/// A store that several processes share, and that can be switched off and emptied.
#[derive(Clone)]
struct Shared<const RECORDS: bool = false> {
    time: Time,
    store: Arc<Mutex<MemoryStore>>,
    is_down: Arc<AtomicBool>,
    loss: Arc<Mutex<Option<u64>>>,
    /// What was granted without it, if it takes that.
    recorded: Arc<Mutex<Vec<Entry>>>,
}

/// An open reservation; it is charged later if it was recorded while the store was off.
type Entry = Arc<Mutex<State>>;

enum State {
    Later(Units),
    /// Where it was charged may have been forgotten.
    Charged(MemoryStore, MemoryHeld),
    Settled,
}

impl<const RECORDS: bool> Shared<RECORDS> {
    fn new(time: &Time) -> Self {
        let store = MemoryStore::new().clock(time.clock());
        Self {
            time: time.clone(),
            store: Arc::new(Mutex::new(store)),
            is_down: Arc::default(),
            loss: Arc::default(),
            recorded: Arc::default(),
        }
    }

    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
        if !is_down {
            let recorded = std::mem::take(&mut *self.recorded.lock().unwrap());
            recorded.iter().for_each(|entry| self.charge(entry));
        }
    }

    /// Charges an entry that was recorded.
    fn charge(&self, entry: &Entry) {
        let mut state = entry.lock().unwrap();
        if let State::Later(cost) = *state {
            let windows = [WindowSpec::new("", "m", Span::Minute, Limit::NONE)];
            let store = self.store();
            let charge = Charge::new("acme", &windows, cost);
            if let Decision::Granted { held, .. } = support::reserve(&store, &charge) {
                *state = State::Charged(store, held);
            }
        }
    }

    fn forget(&self) {
        *self.store.lock().unwrap() = MemoryStore::new().clock(self.time.clock());
        *self.loss.lock().unwrap() = Some(self.time.nanos());
    }

    fn store(&self) -> MemoryStore {
        self.store.lock().unwrap().clone()
    }

    fn instance(&self, rule: OnFailure) -> Fallback<Self> {
        let local = MemoryStore::new().clock(self.time.clock());
        Fallback::new(self.clone(), rule).local(local)
    }

    fn shares(&self, instances: u32) -> Vec<Fallback<Self>> {
        let instances = NonZeroU32::new(instances).unwrap();
        let rule = OnFailure::LocalShare { instances };
        (0..instances.get()).map(|_| self.instance(rule)).collect()
    }
}

impl<const RECORDS: bool> Store for Shared<RECORDS> {
    const RECORDS: bool = RECORDS;

    type Held = Entry;
    type Reserve = Ready<Result<Decision<Entry>, StoreError>>;

    fn reserve(&self, charge: &Charge<'_>) -> Self::Reserve {
        if self.is_down.load(Ordering::SeqCst) {
            return ready(Err(StoreError::new("down")));
        }
        let store = self.store();
        ready(Ok(match support::reserve(&store, charge) {
            Decision::Granted { held, standings } => Decision::Granted {
                held: Arc::new(Mutex::new(State::Charged(store, held))),
                standings,
            },
            Decision::Denied(denial) => Decision::Denied(denial),
        }))
    }

    fn settle(&self, entry: Entry, actual: Units) -> Settled {
        let mut state = entry.lock().unwrap();
        match std::mem::replace(&mut *state, State::Settled) {
            State::Charged(store, held) => store.settle(held, actual),
            State::Later(_) => {
                *state = State::Later(actual);
                Settled::Queued
            }
            State::Settled => panic!("settled twice"),
        }
    }

    fn record(&self, charge: &Charge<'_>) -> Option<Entry> {
        RECORDS.then(|| {
            let entry = Arc::new(Mutex::new(State::Later(charge.cost)));
            self.recorded.lock().unwrap().push(Arc::clone(&entry));
            entry
        })
    }

    fn since_loss(&self) -> Option<Duration> {
        let loss = (*self.loss.lock().unwrap())?;
        Some(Duration::from_nanos(self.time.nanos() - loss))
    }
}

/// Uses what it reserves.
fn ask<St: Store>(store: &St, requests: u64, cost: u64) -> Result<(), Option<Denial>> {
    let held = hold(store, requests, cost)?;
    store.settle(held, Units::new(cost, 0));
    Ok(())
}

fn hold<St: Store>(store: &St, requests: u64, cost: u64) -> Result<St::Held, Option<Denial>> {
    let limit = Limit {
        requests: Some(limit(requests)),
        ..Limit::NONE
    };
    let windows = [WindowSpec::new("", "m", Span::Minute, limit)];
    match now(store.reserve(&Charge::new("acme", &windows, Units::new(cost, 0)))) {
        Ok(Decision::Granted { held, .. }) => Ok(held),
        Ok(Decision::Denied(denial)) => Err(Some(denial)),
        Err(_) => Err(None),
    }
}

/// How many of so many calls are admitted.
fn admitted<St: Store>(store: &St, limit: u64, calls: u64) -> u64 {
    (0..calls)
        .map(|_| u64::from(ask(store, limit, 1).is_ok()))
        .sum()
}

#[test]
fn a_share_is_admitted_by_each_and_together_the_limit() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let instances = shared.shares(4);
    assert!(!instances[0].is_active());
    shared.set_down(true);
    for instance in &instances {
        assert_eq!(admitted(instance, 103, 100), 25);
        assert!(instance.is_active());
        assert_eq!(instance.decided(), 100);
    }
    // A denial names the time at which the share has room.
    let denial = ask(&instances[0], 103, 1).err().flatten().unwrap();
    assert_eq!((denial.used, denial.limit), (25, 25));
    assert_eq!(denial.retry, Some(Duration::from_secs(61)));
    time.pass(61_000);
    assert_eq!(admitted(&instances[0], 103, 100), 25);
}

#[test]
fn what_was_used_before_counts() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let instances = shared.shares(2);
    for instance in &instances {
        assert_eq!(admitted(instance, 100, 40), 40);
    }
    shared.set_down(true);
    for instance in &instances {
        assert_eq!(admitted(instance, 100, 40), 10);
    }
}

#[test]
fn the_share_stays_until_what_it_admitted_has_left() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let [one, other] = <[_; 2]>::try_from(shared.shares(2)).ok().unwrap();
    shared.set_down(true);
    assert_eq!(admitted(&one, 100, 100), 50);
    assert_eq!(admitted(&other, 100, 20), 20);
    shared.set_down(false);
    time.pass(30_000);
    // The shared store knows of nothing, and would admit a hundred.
    assert_eq!(admitted(&one, 100, 100), 0);
    assert_eq!(admitted(&other, 100, 100), 30);
    assert!(one.is_active());
    // No sooner than it says.
    let denial = ask(&one, 100, 1).err().flatten().unwrap();
    assert_eq!(denial.retry, Some(Duration::from_secs(31)));
    time.pass(30_999);
    assert!(ask(&one, 100, 1).is_err());
    time.pass(1);
    assert!(!one.is_active());
    assert_eq!(admitted(&one, 100, 100), 70);
    // What the share refused was not charged, and what it would have liked was not either.
    assert_eq!(now(standing(&shared.store(), "acme", "m")), (100, 0));
}

#[test]
fn a_store_that_is_told_decides_alone_again() {
    let time = Time::new();
    let shared = Shared::<true>::new(&time);
    let [one, other] = <[_; 2]>::try_from(shared.shares(2)).ok().unwrap();
    shared.set_down(true);
    assert_eq!(admitted(&one, 100, 100), 50);
    let open = hold(&other, 100, 20).ok().unwrap();
    assert_eq!(other.settle(open, Units::new(5, 0)), Settled::Queued);
    let open = hold(&other, 100, 10).ok().unwrap();
    time.pass(30_000);
    shared.set_down(false);
    assert_eq!(now(standing(&shared.store(), "acme", "m")), (65, 0));
    // One may use what the other does not.
    assert_eq!(admitted(&one, 100, 100), 35);
    assert!(!one.is_active());
    // What is open is settled where it was charged.
    other.settle(open, Units::new(1, 0));
    assert_eq!(now(standing(&shared.store(), "acme", "m")), (91, 0));
    // So is what was let through.
    let open = shared.instance(OnFailure::Open);
    shared.set_down(true);
    assert_eq!(admitted(&open, 100, 100), 100);
    shared.set_down(false);
    assert_eq!(now(standing(&shared.store(), "acme", "m")), (191, 0));
}

#[test]
fn a_store_that_has_forgotten_is_in_doubt() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let instances = shared.shares(2);
    for instance in &instances {
        assert_eq!(admitted(instance, 100, 50), 50);
    }
    shared.forget();
    // The store was asked before anybody knew.
    for instance in &instances {
        assert_eq!(admitted(instance, 100, 50), 0);
    }
    time.pass(61_000);
    assert_eq!(admitted(&instances[0], 100, 100), 100);
}

#[test]
fn a_call_larger_than_a_share_is_not_refused_for_ever() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let instances = shared.shares(4);
    shared.set_down(true);
    // It fits the limit, and only the store could say when: as if it had failed alone.
    assert!(matches!(ask(&instances[0], 100, 26), Err(None)));
    assert!(ask(&instances[0], 100, 25).is_ok());
    // A limit of less than one for each is a share of nothing.
    assert!(matches!(ask(&instances[1], 3, 1), Err(None)));
    // This fits nowhere.
    let denial = ask(&instances[1], 100, 101).err().flatten().unwrap();
    assert_eq!((denial.limit, denial.retry), (100, None));
    shared.set_down(false);
    let denial = ask(&instances[1], 100, 26).err().flatten().unwrap();
    assert_eq!(denial.retry, Some(Duration::from_secs(61)));
    time.pass(61_000);
    assert!(ask(&instances[1], 100, 26).is_ok());
}

#[test]
fn who_is_closed_refuses_and_who_is_open_admits_all() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let (closed, open) = (
        shared.instance(OnFailure::Closed),
        shared.instance(OnFailure::Open),
    );
    shared.set_down(true);
    assert_eq!(admitted(&closed, 10, 20), 0);
    assert!(matches!(ask(&closed, 10, 1), Err(None)));
    assert_eq!((closed.decided(), closed.is_active()), (0, true));
    assert_eq!(admitted(&open, 10, 20), 20);
    assert_eq!((open.decided(), open.is_active()), (20, true));
    let held = hold(&open, 10, 1).ok().unwrap();
    assert_eq!(open.settle(held, Units::new(1, 1)), Settled::Done);
    // Neither has an opinion of its own when the store is back.
    shared.set_down(false);
    assert_eq!(admitted(&open, 10, 20), 10);
    assert_eq!(admitted(&closed, 10, 20), 0);
}

#[test]
fn whoever_watches_is_told_once() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let said = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&said);
    let fallback = shared
        .instance(OnFailure::Open)
        .observe(move |failure| told.lock().unwrap().push(failure.map(ToString::to_string)));
    for is_down in [false, true, true, false, false, true] {
        shared.set_down(is_down);
        assert!(ask(&fallback, 10, 1).is_ok());
    }
    let down = Some("down".to_owned());
    assert_eq!(*said.lock().unwrap(), [down.clone(), None, down]);
}

#[test]
fn settlements_reach_both_counts() {
    let time = Time::new();
    let shared = Shared::<false>::new(&time);
    let one = &shared.shares(1)[0];
    let held = hold(one, 10, 6).ok().unwrap();
    assert_eq!(one.settle(held, Units::new(1, 0)), Settled::Done);
    assert_eq!(now(standing(&shared.store(), "acme", "m")), (1, 0));
    // Nine more fit, whoever is asked.
    assert_eq!(admitted(one, 10, 4), 4);
    shared.set_down(true);
    assert_eq!(admitted(one, 10, 10), 5);
}

#[tokio::test]
async fn a_dropped_decision_leaves_nothing_in_either_count() {
    let time = Time::new();
    let memory = MemoryStore::new().clock(time.clock());
    let local = MemoryStore::new().clock(time.clock());
    let instances = NonZeroU32::MIN;
    let rule = OnFailure::LocalShare { instances };
    let fallback = Fallback::new(SlowStore::new(memory.clone(), 3), rule).local(local.clone());
    let quota = Quota::per_minute(limit(500), limit(60_000));
    let layer = BudgetLayer::new(fallback, Limits::new(quota));
    for polls in 0..4 {
        let service = layer.layer(ReadyProbe::new(|_: Request<&'static str>| {
            Response::new(ScriptedBody::new().pending().data("hello"))
        }));
        let mut future = Box::pin(service.oneshot(facts("acme", "m", 5)));
        for _ in 0..polls {
            let waker = std::task::Waker::noop();
            assert!(
                future
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(waker))
                    .is_pending()
            );
        }
        drop(future);
        assert_eq!(
            standing(&memory, "acme", "m").await,
            (0, 0),
            "{polls} polls"
        );
        assert_eq!(standing(&local, "acme", "m").await, (0, 0), "{polls} polls");
    }
}

#[tokio::test]
async fn callers_are_served_by_the_share() {
    let instances = NonZeroU32::new(2).unwrap();
    let rule = OnFailure::LocalShare { instances };
    let layer = |rule| {
        let quota = Quota::per_minute(limit(2), limit(60_000));
        BudgetLayer::new(
            Fallback::new(SlowStore::failing(), rule),
            Limits::new(quota),
        )
    };
    let call = async |layer: &BudgetLayer<_>| {
        let service = layer.layer(ReadyProbe::new(|_: Request<&'static str>| {
            Response::new(ScriptedBody::new().data("hello"))
        }));
        service.oneshot(facts("acme", "m", 5)).await.unwrap()
    };
    let share = layer(rule);
    let response = call(&share).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-ratelimit-limit-requests"], "1");
    assert_eq!(response.headers()["x-ratelimit-limit-tokens"], "30000");
    assert_eq!(call(&share).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let closed = call(&layer(OnFailure::Closed)).await;
    assert_eq!(closed.status(), StatusCode::SERVICE_UNAVAILABLE);
    let open = call(&layer(OnFailure::Open)).await;
    assert_eq!(open.status(), StatusCode::OK);
    // Nobody knows how much is left.
    assert!(!open.headers().contains_key("x-ratelimit-limit-requests"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whenever the store fails, comes back, or forgets: no minute holds more than the limit, but for
    /// what instances had left of their shares when that began.
    #[test]
    fn no_minute_holds_more_than_promised(
        steps in prop::collection::vec((0_u8..10, 0_usize..3, 0_u64..40_000), 1..60),
    ) {
        let (limit, instances) = (30_u64, 3);
        let time = Time::new();
        let shared = Shared::<true>::new(&time);
        let stores = shared.shares(3);
        let mut admitted: Vec<(u64, usize)> = Vec::new();
        // How much a minute may hold instead of the limit, and until when.
        let (mut most, mut until) = (0, 0);
        let (minute, reach) = (60_000_000_000_u64, 61_000_000_000);
        for (kind, who, millis) in steps {
            let at = time.nanos();
            match kind {
                0 => time.pass(millis),
                kind @ (1 | 2) => {
                    if kind == 2 || !shared.is_down.load(Ordering::SeqCst) {
                        // As the instances count: slots whole.
                        let used = |instance| {
                            let of = |&&(then, by): &&(u64, usize)| {
                                by == instance && then / 1_000_000_000 + 60 >= at / 1_000_000_000
                            };
                            admitted.iter().filter(of).count() as u64
                        };
                        let used = [0, 1, 2].map(used);
                        let share = limit / instances;
                        let rooms: u64 = used.iter().map(|used| share.saturating_sub(*used)).sum();
                        most = limit.max(used.iter().sum()) + rooms;
                    }
                    if kind == 1 {
                        shared.set_down(true);
                        until = u64::MAX;
                    } else {
                        shared.forget();
                        until = until.max(at + reach);
                    }
                }
                3 => {
                    shared.set_down(false);
                    until = until.min(at + reach);
                }
                _ => {
                    for _ in 0..kind {
                        if ask(&stores[who], limit, 1).is_ok() {
                            admitted.push((at, who));
                        }
                    }
                    let sum = admitted.iter().filter(|(then, _)| then + minute >= at).count() as u64;
                    let most = if at < until { most } else { limit };
                    prop_assert!(sum <= most, "{sum} of {most}: {admitted:?}");
                }
            }
        }
    }
}
