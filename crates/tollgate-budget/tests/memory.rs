//! What the memory store keeps, and for how long.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use support::{Time, limit, reserve};
use tollgate_budget::{
    Charge, Decision, Limit, MemoryHeld, MemoryStore, Reservation, Span, Store, Units, WindowSpec,
};

const TOKENS: u64 = 100;

fn ask(store: &MemoryStore, workspace: &str, name: &str, tokens: u64) -> Option<MemoryHeld> {
    let limit = Limit {
        requests: None,
        tokens: Some(limit(TOKENS)),
    };
    let windows = [WindowSpec::new("", name, Span::Minute, limit)];
    match reserve(
        store,
        &Charge::new(workspace, &windows, Units::new(1, tokens)),
    ) {
        Decision::Granted { held, .. } => Some(held),
        Decision::Denied(_) => None,
    }
}

#[test]
fn keys_that_were_used_are_dropped_when_they_are_idle() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    for n in 0..1_000 {
        let held = ask(&store, "acme", &format!("model-{n}"), 5).unwrap();
        store.settle(held, Units::new(1, 5));
    }
    assert_eq!(store.keys(), 1_000);
    time.pass(61_000);
    // Each call looks at two.
    for n in 0..500 {
        assert_eq!(store.keys(), 1_000 - 2 * n + usize::from(n > 0));
        let held = ask(&store, "acme", "busy", 0).unwrap();
        store.settle(held, Units::ZERO);
    }
    for _ in 0..2 {
        drop(ask(&store, "acme", "busy", 0));
    }
    assert_eq!(store.keys(), 1);
}

#[test]
fn keys_of_a_time_that_the_clock_left_are_dropped() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    time.pass(1_000_000);
    for n in 0..100 {
        let held = ask(&store, "acme", &format!("model-{n}"), 5).unwrap();
        store.settle(held, Units::new(1, 5));
    }
    // So far back that windows begin anew.
    time.set_nanos(0);
    for _ in 0..100 {
        let held = ask(&store, "acme", "busy", 0).unwrap();
        store.settle(held, Units::ZERO);
    }
    assert_eq!(store.keys(), 1);
}

#[test]
fn a_key_with_an_open_call_stays() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    let held = ask(&store, "acme", "slow", 5).unwrap();
    for _ in 0..10 {
        time.pass(61_000);
        drop(ask(&store, "acme", "busy", 0));
    }
    // Its debt finds the key that made it.
    store.settle(held, Units::new(1, 95));
    assert!(ask(&store, "acme", "slow", 11).is_none());
    assert!(ask(&store, "acme", "slow", 10).is_some());
}

#[test]
fn a_flood_of_keys_shares_a_window() {
    let store = MemoryStore::new().max_keys(10);
    for n in 0..10 {
        assert!(ask(&store, "acme", &format!("known-{n}"), 60).is_some());
    }
    assert_eq!((store.keys(), store.overflowed()), (10, 0));
    // One limit for all that are new, under every name: no budget is made up.
    let admitted = (0..100_000).filter(|n| ask(&store, "acme", &format!("new-{n}"), 30).is_some());
    assert_eq!(admitted.count(), 3);
    assert_eq!((store.keys(), store.overflowed()), (11, 3));
    // Other workspaces share as much in each part of the store.
    for n in 0..10_000 {
        drop(ask(&store, &format!("workspace-{n}"), "m", 30));
    }
    assert_eq!(store.keys(), 10 + 64);
    // Those that were known keep what is theirs.
    assert!(ask(&store, "acme", "known-3", 41).is_none());
    assert!(ask(&store, "acme", "known-3", 40).is_some());
}

#[test]
fn a_clock_that_steps_back_stops_time_or_begins_anew() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    time.pass(600_000);
    let early = ask(&store, "acme", "m", 60).unwrap();
    // Two seconds back: time stands still, and nothing is admitted twice.
    time.set_nanos(598_000_000_000);
    assert!(ask(&store, "acme", "m", 41).is_none());
    // A window's length back: the same.
    time.set_nanos(539_000_000_000);
    assert!(ask(&store, "acme", "m", 41).is_none());
    // Further: everything is forgotten, once, and old settlements find nothing.
    time.set_nanos(538_000_000_000);
    let fresh = ask(&store, "acme", "m", 100).unwrap();
    store.settle(early, Units::ZERO);
    assert!(ask(&store, "acme", "m", 1).is_none());
    store.settle(fresh, Units::new(1, 99));
    assert!(ask(&store, "acme", "m", 1).is_some());
    // Far forward is only late.
    time.set_nanos(u64::MAX);
    assert!(ask(&store, "acme", "m", 100).is_some());
}

#[test]
fn a_shorter_slot_is_a_shorter_minute() {
    let time = Time::new();
    let store = MemoryStore::new()
        .slot(Duration::from_millis(20))
        .clock(time.clock());
    assert!(ask(&store, "acme", "m", 100).is_some());
    time.pass(1_219);
    assert!(ask(&store, "acme", "m", 1).is_none());
    time.pass(1);
    assert!(ask(&store, "acme", "m", 100).is_some());
}

#[test]
fn a_reservation_is_settled_once() {
    let store = MemoryStore::new();
    let open = |observed| {
        let held = ask(&store, "acme", "m", 50).unwrap();
        Reservation::new(store.clone(), held, Units::new(1, observed))
    };
    open(9).settle(Units::new(1, 20));
    drop(open(9));
    let mut watched = open(0);
    watched.observe(Units::new(1, 11));
    drop(watched);
    // 20 + 9 + 11 are used.
    assert!(ask(&store, "acme", "m", 61).is_none());
    assert!(ask(&store, "acme", "m", 60).is_some());
}

#[test]
fn threads_admit_no_more_than_one_would() {
    let store = MemoryStore::new();
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..1_000)
                        .filter(|_| ask(&store, "acme", "m", 3).is_some())
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(admitted, 33);
}
