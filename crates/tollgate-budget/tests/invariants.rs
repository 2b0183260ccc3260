//! What holds whatever happens, each on its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::result_large_err,
    reason = "tests"
)]

mod support;

use std::{collections::VecDeque, num::NonZeroU64, time::Duration};

use proptest::prelude::*;
use support::{
    Time,
    model::SLOT,
    reserve,
    steps::{Call, Step, calls, steps, windows},
};
use tollgate_budget::{
    Charge, Decision, Denial, Limit, MemoryHeld, MemoryStore, Span, Standings, Store, Units,
    WindowSpec,
};

const PERIOD: u64 = 60 * SLOT.as_nanos() as u64;

/// A store, and what is open in it.
struct Bench {
    time: Time,
    store: MemoryStore,
    open: Vec<(MemoryHeld, Units)>,
}

impl Bench {
    fn new() -> Self {
        let time = Time::new();
        Self {
            store: MemoryStore::new().slot(SLOT).clock(time.clock()),
            time,
            open: Vec::new(),
        }
    }

    fn reserve(&mut self, choice: u8, cost: Units) -> Result<Standings, Denial> {
        let (workspace, windows) = windows(choice);
        match reserve(&self.store, &Charge::new(workspace, &windows, cost)) {
            Decision::Granted { held, standings } => {
                self.open.push((held, cost));
                Ok(standings)
            }
            Decision::Denied(denial) => Err(denial),
        }
    }

    /// Takes a step and says what was decided.
    fn take(&mut self, step: Step) -> Option<Result<Standings, Denial>> {
        match step.kind % 8 {
            0..4 => return Some(self.reserve(step.choice, step.units())),
            4..6 if !self.open.is_empty() => {
                let at = usize::from(step.choice) % self.open.len();
                let (held, _) = self.open.swap_remove(at);
                self.store.settle(held, step.units());
            }
            6 => self.time.pass(u64::from(step.millis) % 900),
            _ => self.time.pass(step.millis.into()),
        }
        None
    }

    /// How all windows stand.
    fn standings(&mut self) -> Vec<Standings> {
        let all = (0..4).map(|key| self.reserve(key | 28, Units::ZERO).unwrap());
        all.collect()
    }
}

fn one(limit: Limit) -> [WindowSpec<'static>; 1] {
    [WindowSpec::new("", "m", Span::Minute, limit)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// I1. Whatever the minute: what was admitted in it, as settled or as reserved, is at most the
    /// limit, and so is true usage if no call used more than it reserved. What calls used beyond
    /// that is debt, and no part of the sum.
    #[test]
    fn no_minute_holds_more_than_the_limit(calls in calls()) {
        let limit = 100;
        let time = Time::new();
        let store = MemoryStore::new().slot(SLOT).clock(time.clock());
        let windows = one(Limit { tokens: NonZeroU64::new(limit), ..Limit::NONE });
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let in_minute_to = |end: u64, admitted: &[(u64, u64)]| -> u64 {
            let minute = admitted.iter().filter(|(at, _)| *at <= end && at + PERIOD >= end);
            minute.map(|(_, tokens)| tokens).sum()
        };
        let mut open = VecDeque::new();
        for Call { millis, reserved, actual, settles } in calls {
            time.pass(millis);
            let charge = Charge::new("acme", &windows, Units::new(1, reserved));
            if let Decision::Granted { held, .. } = reserve(&store, &charge) {
                open.push_back((admitted.len(), held, reserved, actual));
                admitted.push((time.nanos(), reserved));
                let sum = in_minute_to(time.nanos(), &admitted);
                prop_assert!(sum <= limit, "{sum} in {admitted:?}");
            }
            let oldest = if settles { open.pop_front() } else { None };
            if let Some((at, held, reserved, actual)) = oldest {
                store.settle(held, Units::new(1, actual));
                admitted[at].1 = actual.min(reserved);
            }
        }
        for (end, _) in &admitted {
            let sum = in_minute_to(*end, &admitted);
            prop_assert!(sum <= limit, "{sum} in {admitted:?}");
        }
    }

    /// I2, I3. A denial changes nothing in any window: a store that was never asked goes on alike.
    #[test]
    fn a_denial_leaves_no_trace(steps in steps()) {
        let (mut asked, mut spared) = (Bench::new(), Bench::new());
        for step in steps {
            let decided = asked.take(step);
            if !matches!(decided, Some(Err(_))) {
                prop_assert_eq!(spared.take(step), decided);
            }
        }
        prop_assert_eq!(asked.standings(), spared.standings());
    }

    /// I5, I6. As long as nothing has left, what is used is the sum of what was settled and what
    /// is reserved: nothing gets lost, doubled or negative.
    #[test]
    fn nothing_is_lost_and_nothing_made_up(calls in calls()) {
        let time = Time::new();
        let store = MemoryStore::new().slot(SLOT).clock(time.clock());
        let windows = one(Limit { tokens: NonZeroU64::new(2_000), ..Limit::NONE });
        let (mut open, mut expected) = (Vec::new(), 0);
        for Call { millis, reserved, actual, settles } in calls {
            time.pass(millis / 12);
            let charge = Charge::new("acme", &windows, Units::new(1, reserved));
            if let Decision::Granted { held, .. } = reserve(&store, &charge) {
                open.push((held, settles.then_some(actual)));
                expected += if settles { actual } else { reserved };
            }
        }
        for (held, actual) in open {
            if let Some(actual) = actual {
                store.settle(held, Units::new(1, actual));
            }
        }
        let Decision::Granted { standings, .. } =
            reserve(&store, &Charge::new("acme", &windows, Units::ZERO))
        else {
            panic!("an empty charge was denied");
        };
        let standing = standings.tokens.unwrap();
        prop_assert_eq!(standing.remaining, standing.limit.saturating_sub(expected));
    }

    /// I7. Denied with a wait of r: denied once more at r - 1 ns, admitted at r.
    #[test]
    fn the_named_time_is_exact(steps in steps(), choice in any::<u8>(), tokens in 1_u64..90) {
        let mut bench = Bench::new();
        for step in steps {
            bench.take(step);
        }
        let cost = Units::new(1, tokens);
        if let Err(denial) = bench.reserve(choice, cost) {
            let Some(wait) = denial.retry else {
                let limit = if choice & 16 == 0 { 120 } else { 90 };
                prop_assert!(tokens > limit);
                return Ok(());
            };
            let wait = u64::try_from(wait.as_nanos()).unwrap();
            bench.time.pass_nanos(wait - 1);
            let sooner = bench.reserve(choice, cost).unwrap_err();
            prop_assert_eq!(sooner.retry, Some(Duration::from_nanos(1)));
            bench.time.pass_nanos(1);
            prop_assert!(bench.reserve(choice, cost).is_ok());
        }
    }

    /// I8. The order of settlements does not matter.
    #[test]
    fn settlements_commute(steps in steps(), calls in calls()) {
        let (mut forward, mut backward) = (Bench::new(), Bench::new());
        for step in steps {
            forward.take(step);
            backward.take(step);
        }
        let settle = |bench: &mut Bench, reversed: bool| {
            let open = std::mem::take(&mut bench.open);
            let actuals = calls.iter().map(|call| call.actual).cycle();
            let mut calls: Vec<_> = open.into_iter().zip(actuals).collect();
            if reversed {
                calls.reverse();
            }
            for ((held, _), actual) in calls {
                bench.store.settle(held, Units::new(actual % 3, actual));
            }
        };
        settle(&mut forward, false);
        settle(&mut backward, true);
        prop_assert_eq!(forward.standings(), backward.standings());
    }

    /// I10. Where a call is admitted, a cheaper one is.
    #[test]
    fn cheaper_is_never_harder(
        steps in steps(),
        choice in any::<u8>(),
        dear in (0_u64..4, 0_u64..130),
        rebate in (0_u64..4, 0_u64..130),
    ) {
        let (mut a, mut b) = (Bench::new(), Bench::new());
        for step in steps {
            a.take(step);
            b.take(step);
        }
        let cheap = Units::new(dear.0.saturating_sub(rebate.0), dear.1.saturating_sub(rebate.1));
        let dear = a.reserve(choice, Units::new(dear.0, dear.1));
        let cheap = b.reserve(choice, cheap);
        prop_assert!(cheap.is_ok() || dear.is_err());
        // And it waits no longer.
        if let (Err(cheap), Err(dear)) = (cheap, dear) {
            let wait = |denial: Denial| denial.retry.unwrap_or(Duration::MAX);
            prop_assert!(wait(cheap) <= wait(dear));
        }
    }

    /// I11. No amount, limit, slot or clock overflows, and a limit holds at the edges too.
    #[test]
    fn the_largest_numbers_are_only_numbers(
        calls in prop::collection::vec(any::<u64>(), 1..30),
        slot in prop_oneof![Just(1), Just(1_000_000_000), Just(u64::MAX)],
    ) {
        let time = Time::new();
        let store = MemoryStore::new().slot(Duration::from_nanos(slot)).clock(time.clock());
        let mut open = Vec::new();
        for call in calls {
            let [now, limit, reserved, actual, settles, ..] = call.to_le_bytes();
            let [now, limit, reserved, actual] = [now, limit, reserved, actual].map(edge);
            time.set_nanos(now);
            let limit = Limit { tokens: NonZeroU64::new(limit), requests: NonZeroU64::new(u64::MAX) };
            let windows = one(limit);
            let cost = Units::new(reserved, reserved);
            match reserve(&store, &Charge::new("acme", &windows, cost)) {
                Decision::Granted { held, standings } => {
                    open.push(held);
                    if let Some(tokens) = standings.tokens {
                        prop_assert!(tokens.remaining <= tokens.limit);
                        let cost = cost.capped().tokens;
                        prop_assert!(tokens.limit - tokens.remaining >= cost);
                    }
                }
                Decision::Denied(denial) => {
                    let cost = cost.capped().of(denial.dimension);
                    prop_assert!(denial.used.saturating_add(cost) > denial.limit);
                }
            }
            if settles % 2 == 0 && !open.is_empty() {
                store.settle(open.swap_remove(0), Units::new(actual, actual));
            }
        }
    }
}

fn edge(choice: u8) -> u64 {
    let n = u64::from(choice / 5);
    match choice % 5 {
        0 => n % 3,
        1 => u64::MAX - n % 3,
        2 => (1 << 53) - n % 3,
        3 => n * 3_000_000_000,
        _ => n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}
