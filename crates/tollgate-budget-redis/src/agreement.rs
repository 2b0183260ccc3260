//! The two stores agree: one rule, written twice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../tollgate-budget/tests/support/steps.rs"]
mod steps;

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{
    runtime::Runtime,
    task::{JoinHandle, yield_now},
};
use tollgate_budget::{
    Charge, Decision, Limit, MemoryHeld, MemoryStore, Span, Standing, Store, Units, WindowSpec,
};
use tollgate_testing::{FakeClock, RedisServer};

use self::steps::{Step, steps, windows};
use crate::{RedisHeld, RedisSettings, RedisStore};

/// A memory store and a Redis store that go by one clock.
struct Pair {
    clock: FakeClock,
    micros: Arc<AtomicU64>,
    memory: MemoryStore,
    redis: RedisStore,
    driver: JoinHandle<()>,
    open: Vec<(MemoryHeld, RedisHeld)>,
    settled: u64,
}

impl Pair {
    fn new(server: &RedisServer, prefix: u64) -> Self {
        let clock = FakeClock::new();
        let micros = Arc::new(AtomicU64::new(0));
        let settings = RedisSettings::new(server.url())
            .unwrap()
            .prefix(prefix.to_string())
            .patience(Duration::from_secs(20));
        let (redis, driver) = settings.assemble(Some(Arc::clone(&micros)));
        Self {
            memory: MemoryStore::new().clock(clock.reader()),
            clock,
            micros,
            redis,
            driver: tokio::spawn(driver.run()),
            open: Vec::new(),
            settled: 0,
        }
    }

    fn pass(&self, time: Duration) {
        self.set(self.clock.now() + time);
    }

    fn set(&self, now: Duration) {
        self.clock.set(now);
        let micros = now.as_micros().try_into().unwrap();
        self.micros.store(micros, Ordering::Relaxed);
    }

    /// Asks both, which must say the same, and says how many tokens are used if they grant.
    async fn reserve(&mut self, charge: &Charge<'_>) -> Result<Option<u64>, TestCaseError> {
        let memory = self.memory.reserve(charge).await.unwrap();
        let redis = self.redis.reserve(charge).await.unwrap();
        match (memory, redis) {
            (
                Decision::Granted { held, standings },
                Decision::Granted {
                    held: other,
                    standings: others,
                },
            ) => {
                prop_assert_eq!(standings, others);
                self.open.push((held, other));
                let used = |tokens: Standing| tokens.limit.saturating_sub(tokens.remaining);
                Ok(standings.tokens.map(used))
            }
            (Decision::Denied(denial), Decision::Denied(other)) => {
                prop_assert_eq!(denial, other);
                Ok(None)
            }
            (memory, redis) => Err(TestCaseError::fail(format!("{memory:?} and {redis:?}"))),
        }
    }

    async fn settle(&mut self, at: usize, actual: Units) {
        let (memory, redis) = self.open.swap_remove(at);
        self.memory.settle(memory, actual);
        self.redis.settle(redis, actual);
        self.settled += 1;
        while self.redis.settled() < self.settled {
            yield_now().await;
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step.kind % 8 {
            0..4 => {
                let (workspace, windows) = windows(step.choice);
                let charge = Charge::new(workspace, &windows, step.units());
                self.reserve(&charge).await?;
            }
            4..6 if !self.open.is_empty() => {
                let at = usize::from(step.choice) % self.open.len();
                self.settle(at, step.units()).await;
            }
            6 => self.pass(Duration::from_millis(u64::from(step.millis) % 900)),
            _ => self.pass(Duration::from_millis(step.millis.into())),
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// I9, and with it what `tollgate-budget` proves of the memory store.
#[test]
fn both_stores_decide_alike() {
    let server = RedisServer::start();
    let runtime = Runtime::new().unwrap();
    let cases = AtomicU64::new(0);
    let mut runner = TestRunner::new(Config::with_cases(500));
    let agree = runner.run(&steps(), |steps| {
        let case = cases.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(async {
            let mut pair = Pair::new(&server, case);
            for step in steps {
                pair.take(step).await?;
            }
            // Everything leaves in the end, and what is settled after that changes nothing.
            pair.pass(Duration::from_secs(61));
            while !pair.open.is_empty() {
                pair.settle(0, Units::ZERO).await;
            }
            for choice in 0..4 {
                let (workspace, windows) = windows(choice | 28);
                let nothing = Charge::new(workspace, &windows, Units::ZERO);
                pair.reserve(&nothing).await?;
            }
            Ok(())
        })
    });
    agree.unwrap();
}

const WIDE: Limit = Limit {
    requests: NonZeroU64::new(1 << 50),
    tokens: NonZeroU64::new(1 << 53),
};

/// A clock that is set back stops for both, or has both forget, and then what was charged before is
/// not given back.
#[tokio::test]
async fn both_stores_survive_a_clock_that_is_set_back() {
    let server = RedisServer::start();
    let mut pair = Pair::new(&server, 0);
    let windows = [WindowSpec::new("", "m", Span::Minute, WIDE)];
    let charge = |tokens| Charge::new("acme", &windows, Units::new(1, tokens));
    let steps = [
        // When, what is charged then, and what is used with it.
        (1_000_000, 100, 100),
        (939_000, 100, 200),
        // More than a window's length.
        (938_999, 7, 7),
    ];
    for (now, tokens, used) in steps {
        pair.set(Duration::from_millis(now));
        assert_eq!(pair.reserve(&charge(tokens)).await.unwrap(), Some(used));
    }
    // The first gives nothing back.
    pair.settle(0, Units::ZERO).await;
    assert_eq!(pair.reserve(&charge(0)).await.unwrap(), Some(7));
    // Debt is debt, whatever is forgotten.
    pair.settle(1, Units::new(1, 150)).await;
    assert_eq!(pair.reserve(&charge(0)).await.unwrap(), Some(57));
}

/// I11, as far as the server's numbers reach: a window holds no more than 2⁵³ − 1.
#[tokio::test]
async fn the_largest_numbers_are_only_numbers() {
    let server = RedisServer::start();
    let pair = Pair::new(&server, 0);
    let most = Units::new(Units::MAX_COST, Units::MAX_COST);
    let none = [WindowSpec::new("", "m", Span::Minute, Limit::NONE)];
    for now in [0, 1_000_000_000, (1 << 53) / 1_000_000] {
        pair.set(Duration::from_secs(now));
        for _ in 0..3 {
            let charge = Charge::new("acme", &none, most);
            let decision = pair.redis.reserve(&charge).await.unwrap();
            let Decision::Granted { held, .. } = decision else {
                panic!("{decision:?}");
            };
            pair.redis.settle(held, Units::new(u64::MAX, u64::MAX));
        }
        // Nothing more fits under the widest of limits, nor under a narrow one.
        for limit in [1, Units::MAX_COST, u64::MAX] {
            let limit = NonZeroU64::new(limit);
            let limit = Limit {
                requests: limit,
                tokens: limit,
            };
            let windows = [WindowSpec::new("", "m", Span::Minute, limit)];
            let charge = Charge::new("acme", &windows, Units::new(1, 1));
            let decision = pair.redis.reserve(&charge).await.unwrap();
            let Decision::Denied(denial) = decision else {
                panic!("{decision:?}");
            };
            assert_eq!(denial.used, Units::MAX_COST);
            assert!(denial.retry.unwrap() <= Duration::from_secs(61));
        }
    }
}
