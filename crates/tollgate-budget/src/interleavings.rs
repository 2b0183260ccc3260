//! Threads that meet in the store, in every order that shuttle comes upon.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p tollgate-budget --lib`

use std::{num::NonZeroU64, time::Duration};

use http::Response;
use shuttle::{sync::Arc, sync::Mutex, thread};
use tollgate_core::{Usage, UsageSlot};

use crate::{
    Charge, Decision, Limit, MemoryHeld, MemoryStore, Reservation, Span, Store, Units, WindowSpec,
    call::{Ends, OpenCall},
    cost::{Output, Plan},
    crowd::Crowd,
    sync::{AtomicUsize, Ordering},
};

const SCHEDULES: usize = 5_000;

fn store() -> MemoryStore {
    MemoryStore::new().clock(|| Duration::from_secs(1))
}

fn reserve(store: &MemoryStore, tokens: u64) -> Option<MemoryHeld> {
    let limit = Limit {
        requests: None,
        tokens: NonZeroU64::new(100),
    };
    let windows = [WindowSpec::new("", "m", Span::Minute, limit)];
    let charge = Charge::new("acme", &windows, Units::new(1, tokens));
    match store.reserve(&charge).into_inner().unwrap() {
        Decision::Granted { held, .. } => Some(held),
        Decision::Denied(_) => None,
    }
}

/// How much of the limit is left.
fn left(store: &MemoryStore) -> u64 {
    let fits = |tokens: &u64| match reserve(store, *tokens) {
        Some(held) => {
            store.settle(held, Units::ZERO);
            true
        }
        None => false,
    };
    (0..=100).rev().find(fits).unwrap()
}

fn open_call(store: &MemoryStore, slot: &UsageSlot, ends: Ends) -> Option<OpenCall<MemoryStore>> {
    let reserved = Units::new(1, 40);
    let plan = Plan {
        first: reserved,
        second: None,
        started: Units::new(1, 10),
        output: Output::Stated,
    };
    let held = reserve(store, reserved.tokens)?;
    let reservation = Reservation::new(store.clone(), held, plan.started);
    Some(OpenCall::new(
        reservation,
        reserved,
        plan,
        slot.clone(),
        ends,
    ))
}

#[test]
fn admissions_and_settlements_never_meet_badly() {
    shuttle::check_random(
        || {
            let store = store();
            let threads: Vec<_> = (0..4)
                .map(|n| {
                    let store = store.clone();
                    thread::spawn(move || {
                        let held = reserve(&store, 40)?;
                        let actual = 10 * n;
                        store.settle(held, Units::new(1, actual));
                        Some(actual)
                    })
                })
                .collect();
            let used: u64 = threads
                .into_iter()
                .filter_map(|thread| thread.join().unwrap())
                .sum();
            assert_eq!(left(&store), 100 - used);
        },
        SCHEDULES,
    );
}

/// The end of a body, its drop on another thread, and the usage that comes at the same time: the
/// call is settled once, by what was known then.
#[test]
fn of_racing_ends_one_settles() {
    shuttle::check_random(
        || {
            let store = store();
            let slot = UsageSlot::new();
            let call = open_call(&store, &slot, Ends::default());
            let call = Arc::new(Mutex::new(call));
            let ends = (0..4).map(|n| {
                let call = Arc::clone(&call);
                let slot = slot.clone();
                thread::spawn(move || match n {
                    0 => slot.record(Usage::new(20, 5)),
                    1 => drop(call.lock().unwrap().take()),
                    2 => {
                        if let Some(call) = &mut *call.lock().unwrap() {
                            call.end();
                        }
                    }
                    _ => {
                        if let Some(call) = &mut *call.lock().unwrap() {
                            call.answered(&Response::new(()));
                        }
                    }
                })
            });
            let ends: Vec<_> = ends.collect();
            for end in ends {
                end.join().unwrap();
            }
            // By the usage or, if it came too late, by the prompt.
            let used = 100 - left(&store);
            assert!(used == 25 || used == 10, "{used}");
        },
        SCHEDULES,
    );
}

#[test]
fn places_are_neither_lost_nor_made_up() {
    shuttle::check_random(
        || {
            let store = store();
            let crowd = Arc::new(Crowd::new(2));
            let inside = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let (store, crowd) = (store.clone(), crowd.clone());
                    let inside = Arc::clone(&inside);
                    thread::spawn(move || {
                        let Some(permit) = crowd.enter(7) else { return };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        let ends = Ends {
                            permit: Some(permit),
                            ..Ends::default()
                        };
                        drop(open_call(&store, &UsageSlot::new(), ends));
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let places: Vec<_> = (0..3).map(|_| crowd.enter(7)).collect();
            assert_eq!(places.iter().flatten().count(), 2);
        },
        SCHEDULES,
    );
}
