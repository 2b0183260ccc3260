//! The memory store agrees with a log of all admissions, on every step.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use proptest::prelude::*;
use support::{
    Time,
    model::{Charged, Log, SLOT},
    reserve,
    steps::{Step, steps, windows},
};
use tollgate_budget::{Charge, Decision, MemoryHeld, MemoryStore, Store, Units};

struct Pair {
    time: Time,
    store: MemoryStore,
    log: Log,
    open: Vec<(MemoryHeld, Charged)>,
}

impl Pair {
    fn new() -> Self {
        let time = Time::new();
        Self {
            store: MemoryStore::new().slot(SLOT).clock(time.clock()),
            time,
            log: Log::default(),
            open: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let units = step.units();
        match step.kind % 8 {
            0..4 => {
                let (workspace, windows) = windows(step.choice);
                let charge = Charge::new(workspace, &windows, units);
                let real = reserve(&self.store, &charge);
                match (real, self.log.reserve(&charge, self.time.nanos())) {
                    (
                        Decision::Granted { held, standings },
                        Decision::Granted {
                            held: charged,
                            standings: expected,
                        },
                    ) => {
                        prop_assert_eq!(standings, expected);
                        self.open.push((held, charged));
                    }
                    (Decision::Denied(denial), Decision::Denied(expected)) => {
                        prop_assert_eq!(denial, expected);
                    }
                    (real, expected) => prop_assert!(false, "{real:?} for {expected:?}"),
                }
            }
            4..6 if !self.open.is_empty() => {
                let at = usize::from(step.choice) % self.open.len();
                let (held, charged) = self.open.swap_remove(at);
                self.store.settle(held, units);
                self.log.settle(charged, units, self.time.nanos());
            }
            // Within a slot, and over many.
            6 => self.time.pass(u64::from(step.millis) % 900),
            _ => self.time.pass(step.millis.into()),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_store_agrees_with_the_log(steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.take(step)?;
        }
        // Everything leaves in the end, and what is settled after that changes nothing.
        pair.time.pass(61_000);
        for (held, charged) in std::mem::take(&mut pair.open) {
            pair.store.settle(held, Units::ZERO);
            pair.log.settle(charged, Units::ZERO, pair.time.nanos());
        }
        for choice in 0..4 {
            pair.take(Step { kind: 0, choice, requests: 0, tokens: 0, millis: 0 })?;
        }
    }
}

#[test]
fn the_log_is_not_always_of_one_opinion() {
    // The steps above are worth something only if they meet both verdicts.
    let mut pair = Pair::new();
    let step = |kind, millis| Step {
        kind,
        choice: 0,
        requests: 1,
        tokens: 50,
        millis,
    };
    for _ in 0..5 {
        pair.take(step(0, 0)).unwrap();
    }
    assert_eq!(pair.open.len(), 2);
    pair.take(step(7, 61_000)).unwrap();
    pair.take(step(0, 0)).unwrap();
    assert_eq!(pair.open.len(), 3);
    assert_eq!(pair.time.nanos(), Duration::from_secs(61).as_nanos() as u64);
}
