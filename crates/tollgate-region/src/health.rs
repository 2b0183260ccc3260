use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// What past calls say about a deployment. Times are those of [`Clock::now`].
#[derive(Debug, Default)]
pub(crate) struct Health {
    outstanding: AtomicU32,
    /// Asked to be left alone until then.
    cool_until: AtomicU64,
    /// The breaker: 0 while closed, the end of the pause while open, and [`PROBING`] while a
    /// single call finds out whether the pause was long enough.
    open_until: AtomicU64,
    failures: AtomicU32,
    /// The calls that were sent in spite of the breaker and have not been answered yet.
    last_resorts: AtomicU32,
    /// The share of attempts that failed of late, in units of 2^-16.
    failure_rate: AtomicU32,
    pub(crate) tally: Tally,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) attempts: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) rate_limited: AtomicU64,
    pub(crate) misplaced: AtomicU64,
}

/// Why a deployment gets no calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    Cooling(Duration),
    Open(Duration),
}

impl Blocked {
    /// How long it will last, as far as anyone can tell.
    pub(crate) const fn wait(self) -> Duration {
        match self {
            Self::Cooling(wait) | Self::Open(wait) => wait,
        }
    }
}

impl Health {
    pub(crate) fn is_available(&self, now: u64) -> bool {
        self.cool_until.load(Relaxed) <= now && self.open_until.load(Relaxed) <= now
    }

    pub(crate) fn blocked(&self, now: u64) -> Option<Blocked> {
        let until = |time: u64| Duration::from_millis(time.saturating_sub(now));
        match (self.open_until.load(Relaxed), self.cool_until.load(Relaxed)) {
            (PROBING, _) => Some(Blocked::Open(AFTER_A_PROBE)),
            (open, _) if open > now => Some(Blocked::Open(until(open))),
            (_, cool) if cool > now => Some(Blocked::Cooling(until(cool))),
            _ => None,
        }
    }

    /// How long a 429 still keeps calls away.
    pub(crate) fn cooldown(&self, now: u64) -> Option<Duration> {
        let rest = self.cool_until.load(Relaxed).saturating_sub(now);
        (rest > 0).then(|| Duration::from_millis(rest))
    }

    pub(crate) fn breaker(&self, now: u64) -> BreakerState {
        match self.open_until.load(Relaxed) {
            0 => BreakerState::Closed,
            open if open != PROBING && open > now => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    pub(crate) fn outstanding(&self) -> u32 {
        self.outstanding.load(Relaxed)
    }

    /// The share of attempts that failed of late, each attempt counting a sixteenth.
    pub(crate) fn failure_rate(&self) -> f64 {
        f64::from(self.failure_rate.load(Relaxed)) / f64::from(CERTAIN)
    }

    /// How much of its weight the deployment deserves, in units of 2^-8.
    ///
    /// Upstreams that fail fast have few calls outstanding, and would draw more and more of them.
    /// The eighth power lets one that fails now and then keep its share, and takes nearly all from
    /// one that fails often; the rest finds out when it is better.
    pub(crate) fn merit(&self) -> u64 {
        let mut merit = u64::from(CERTAIN - self.failure_rate.load(Relaxed).min(CERTAIN));
        for _ in 0..3 {
            merit = (merit * merit) >> 16;
        }
        (merit >> 8).max(LEAST_MERIT)
    }

    fn observe(&self, failed: bool) {
        let rate = self.failure_rate.load(Relaxed);
        // Nothing is written while all goes well.
        if rate != 0 || failed {
            let target = if failed { CERTAIN } else { 0 };
            // An observation that is lost to another at the same time changes little.
            let step = rate.abs_diff(target).div_ceil(16);
            let rate = if failed { rate + step } else { rate - step };
            self.failure_rate.store(rate, Relaxed);
        }
    }

    /// Admits a call: as a probe if the breaker's pause is over, which one call alone may be.
    pub(crate) fn enter(&self, now: u64) -> Option<Admission> {
        let open = self.open_until.load(Relaxed);
        if open > now {
            return None;
        }
        let is_probe = open != 0;
        if is_probe && !self.claim_probe(open) {
            return None;
        }
        self.outstanding.fetch_add(1, Relaxed);
        Some(if is_probe {
            Admission::Probe
        } else {
            Admission::Usual
        })
    }

    /// Whether a call that has nowhere else to go may be sent here, though the breaker is open.
    pub(crate) fn is_last_resort(&self, now: u64) -> bool {
        self.cool_until.load(Relaxed) <= now && self.last_resorts.load(Relaxed) < MAX_LAST_RESORTS
    }

    /// Admits a call as a [last resort](Self::is_last_resort).
    pub(crate) fn enter_as_last_resort(&self, now: u64) -> Option<Admission> {
        // The breaker may have closed in the meantime.
        self.enter(now).or_else(|| {
            let one_more = |calls| (calls < MAX_LAST_RESORTS).then_some(calls + 1);
            let last_resorts = &self.last_resorts;
            last_resorts.fetch_update(Relaxed, Relaxed, one_more).ok()?;
            self.outstanding.fetch_add(1, Relaxed);
            Some(Admission::LastResort)
        })
    }

    /// Whether the caller, who has seen the breaker open until then, is the first to probe it.
    fn claim_probe(&self, seen: u64) -> bool {
        self.replace_open(seen, PROBING)
    }

    /// Whether the breaker was still as it was seen, and is now as it should be.
    fn replace_open(&self, seen: u64, until: u64) -> bool {
        let open = &self.open_until;
        open.compare_exchange(seen, until, Relaxed, Relaxed).is_ok()
    }

    /// The call is over, its body included.
    pub(crate) fn leave(&self) {
        self.outstanding.fetch_sub(1, Relaxed);
    }

    /// The upstream has answered, if only to refuse.
    pub(crate) fn succeed(&self, admission: Admission) {
        self.observe(false);
        self.failures.store(0, Relaxed);
        if admission != Admission::Usual {
            self.open_until.store(0, Relaxed);
        }
        self.decide(admission);
    }

    /// The upstream is at fault.
    pub(crate) fn fail(&self, admission: Admission, now: u64, breaker: &Breaker) {
        self.tally.failures.fetch_add(1, Relaxed);
        self.observe(true);
        self.decide(admission);
        let until = breaker.opens_until(now);
        match admission {
            // Unless another call has closed the breaker in the meantime.
            Admission::Probe if self.replace_open(PROBING, until) => {}
            // That the upstream fails is known.
            Admission::LastResort => {}
            Admission::Probe | Admission::Usual => {
                let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
                // Calls that began before the breaker opened do not prolong the pause.
                if failures >= breaker.failures && self.replace_open(0, until) {
                    self.failures.store(0, Relaxed);
                }
            }
        }
    }

    /// The call ended without saying anything about the upstream: the next may be the probe.
    pub(crate) fn abandon(&self, admission: Admission, now: u64) {
        if admission == Admission::Probe {
            // Unless another call has found out in the meantime.
            self.replace_open(PROBING, now);
        }
        self.decide(admission);
    }

    /// It is known what has become of a call.
    fn decide(&self, admission: Admission) {
        if admission == Admission::LastResort {
            self.last_resorts.fetch_sub(1, Relaxed);
        }
    }

    pub(crate) fn cool(&self, until: u64) {
        self.tally.rate_limited.fetch_add(1, Relaxed);
        self.cool_until.fetch_max(until, Relaxed);
    }
}

/// How a call was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The breaker is closed.
    Usual,
    /// It finds out whether a breaker's pause was long enough.
    Probe,
    /// The breaker is open or being probed, and there is nowhere else to go.
    LastResort,
}

/// The state of a deployment's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// The pause is over; one call at a time finds out whether it was long enough.
    HalfOpen,
    /// No call goes through that has anywhere else to go.
    Open,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Breaker {
    pub(crate) failures: u32,
    pub(crate) pause: Duration,
}

impl Breaker {
    fn opens_until(&self, now: u64) -> u64 {
        now.saturating_add(millis(self.pause)).min(PROBING - 1)
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            pause: Duration::from_secs(5),
        }
    }
}

/// Milliseconds since the set of upstreams was built, beginning with 1: 0 stands for never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> u64 {
        millis(self.0.elapsed()).saturating_add(1)
    }

    pub(crate) fn after(&self, wait: Duration) -> u64 {
        self.now().saturating_add(millis(wait))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const PROBING: u64 = u64::MAX;
/// A rate of one.
const CERTAIN: u32 = 1 << 16;
/// A thirty-second.
const LEAST_MERIT: u64 = 8;
/// Enough to reach whoever is there but fails now and then; few enough that calls do not pile up
/// before somebody who accepts them and falls silent.
const MAX_LAST_RESORTS: u32 = 16;
const AFTER_A_PROBE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Breaker = Breaker {
        failures: 3,
        pause: Duration::from_millis(100),
    };

    fn fail(health: &Health, now: u64) {
        let admission = health.enter(now).unwrap();
        health.fail(admission, now, &BREAKER);
        health.leave();
    }

    #[test]
    fn failures_in_a_row_open_the_breaker() {
        let health = Health::default();
        for _ in 0..2 {
            fail(&health, 1);
            fail(&health, 1);
            let admission = health.enter(1).unwrap();
            health.succeed(admission);
        }
        assert_eq!(health.breaker(1), BreakerState::Closed);
        for _ in 0..3 {
            fail(&health, 1);
        }
        assert_eq!(health.breaker(100), BreakerState::Open);
        assert!(health.enter(100).is_none());
        assert_eq!(
            health.blocked(51),
            Some(Blocked::Open(Duration::from_millis(50)))
        );
        assert_eq!(health.breaker(101), BreakerState::HalfOpen);
    }

    #[test]
    fn one_probe_decides() {
        let health = Health::default();
        for _ in 0..3 {
            fail(&health, 1);
        }
        let probe = health.enter(101).unwrap();
        assert!(health.enter(u64::MAX - 1).is_none(), "one at a time");
        health.fail(probe, 101, &BREAKER);
        assert!(!health.is_available(200), "the pause begins anew");
        let probe = health.enter(201).unwrap();
        health.abandon(probe, 201);
        let probe = health.enter(201).unwrap();
        health.succeed(probe);
        assert_eq!(health.breaker(201), BreakerState::Closed);
        // The row of failures begins anew.
        for _ in 0..3 {
            fail(&health, 400);
        }
        assert!(health.enter(500).is_some());
    }

    #[test]
    fn a_last_resort_closes_the_breaker_or_changes_nothing() {
        let health = Health::default();
        for _ in 0..3 {
            fail(&health, 1);
        }
        let last = || health.enter_as_last_resort(50);
        let mut calls: Vec<_> = std::iter::from_fn(last).collect();
        assert_eq!(calls.len(), MAX_LAST_RESORTS as usize);
        assert!(!health.is_last_resort(50));
        health.fail(calls.pop().unwrap(), 60, &BREAKER);
        health.abandon(calls.pop().unwrap(), 60);
        assert_eq!(
            health.blocked(60).unwrap().wait(),
            Duration::from_millis(41)
        );

        let probe = health.enter_as_last_resort(101).unwrap();
        assert_eq!(probe, Admission::Probe, "the pause is over");
        health.succeed(last().unwrap());
        assert_eq!(health.breaker(101), BreakerState::Closed);
        health.fail(probe, 101, &BREAKER);
        assert_eq!(health.breaker(101), BreakerState::Closed, "one failure");
        for call in calls {
            health.abandon(call, 101);
        }
        assert_eq!(health.last_resorts.load(Relaxed), 0);
        health.cool(200);
        assert!(!health.is_last_resort(199), "a wait is kept to");
    }

    #[test]
    fn of_two_that_see_the_pause_end_one_is_the_probe() {
        let health = Health::default();
        for _ in 0..3 {
            fail(&health, 1);
        }
        let seen = health.open_until.load(Relaxed);
        assert!(health.claim_probe(seen));
        assert!(!health.claim_probe(seen));
    }

    #[test]
    fn late_failures_do_not_prolong_a_pause() {
        let health = Health::default();
        let late: Vec<_> = (0..10).map(|_| health.enter(1).unwrap()).collect();
        for (at, admission) in (1..).zip(late) {
            health.fail(admission, at * 10, &BREAKER);
        }
        assert!(health.is_available(130));
    }

    #[test]
    fn the_longest_cooling_wins() {
        let health = Health::default();
        health.cool(500);
        health.cool(200);
        assert_eq!(
            health.blocked(400),
            Some(Blocked::Cooling(Duration::from_millis(100)))
        );
        assert!(health.is_available(500));
    }

    #[test]
    fn merit_falls_with_the_share_of_failures_and_comes_back() {
        let health = Health::default();
        assert_eq!(health.merit(), 256);
        let often = |every: u32| {
            let health = Health::default();
            for n in 0..400 {
                health.observe(n % every == 0);
            }
            health.merit()
        };
        assert!(often(100) > 200, "{}", often(100));
        assert!(often(10) > 64, "{}", often(10));
        assert!(often(3) < 20, "{}", often(3));
        for _ in 0..1_000 {
            health.observe(true);
        }
        assert_eq!((health.merit(), health.failure_rate()), (LEAST_MERIT, 1.0));
        for _ in 0..200 {
            health.observe(false);
        }
        assert_eq!((health.merit(), health.failure_rate()), (256, 0.0));
    }

    #[test]
    fn the_longest_pause_ends_before_the_end_of_time() {
        let health = Health::default();
        let breaker = Breaker {
            failures: 1,
            pause: Duration::MAX,
        };
        let admission = health.enter(1).unwrap();
        health.fail(admission, 1, &breaker);
        assert_eq!(health.breaker(u64::MAX - 2), BreakerState::Open);
        assert_eq!(health.breaker(u64::MAX - 1), BreakerState::HalfOpen);
    }
}
