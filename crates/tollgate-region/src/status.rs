use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tollgate_core::Region;

use crate::{BreakerState, health::Blocked, pool::RegionShared, target::Target};

/// How one deployment of an upstream is doing. State is kept for each deployment, because that is
/// what quotas and outages attach to. Holds nothing secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeploymentStatus {
    /// Where it is.
    pub region: Region,
    /// The name of its upstream.
    pub upstream: Arc<str>,
    /// The model that it serves.
    pub model: Arc<str>,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// How long it still gets no calls, because of a 429 or of its breaker.
    pub blocked_for: Option<Duration>,
    /// How long it still gets no calls because of a 429 alone.
    pub cooldown: Option<Duration>,
    /// The share of its last attempts, some sixteen, that failed: from 0 to 1. The more, the fewer
    /// calls it gets.
    pub failure_rate: f64,
    /// Calls under way, their bodies included.
    pub outstanding: u32,
    /// Attempts made.
    pub attempts: u64,
    /// Attempts that failed through the upstream's fault.
    pub failures: u64,
    /// Answers that asked to be left alone: 429, or 503 with `retry-after`.
    pub rate_limited: u64,
    /// Answers whose `x-ms-region` is none of the expected places: an alarm.
    pub misplaced: u64,
}

impl DeploymentStatus {
    pub(crate) fn of(target: &Target, now: u64) -> Self {
        let tally = &target.health.tally;
        let blocked = target.health.blocked(now);
        Self {
            region: target.region.clone(),
            upstream: Arc::clone(&target.upstream),
            model: Arc::clone(&target.model),
            breaker: target.health.breaker(now),
            blocked_for: blocked.map(Blocked::wait),
            cooldown: target.health.cooldown(now),
            failure_rate: target.health.failure_rate(),
            outstanding: target.health.outstanding(),
            attempts: tally.attempts.load(Relaxed),
            failures: tally.failures.load(Relaxed),
            rate_limited: tally.rate_limited.load(Relaxed),
            misplaced: tally.misplaced.load(Relaxed),
        }
    }
}

/// What has happened in a region.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionStatus {
    /// Which.
    pub region: Region,
    /// Calls that reached an upstream.
    pub calls: u64,
    /// Attempts beyond a call's first.
    pub retries: u64,
    /// Further attempts that the retry budget did not allow.
    pub retries_denied: u64,
    /// Calls without a `SharedBody`, which get one attempt only.
    pub not_replayable: u64,
    /// Dispatches to another region's upstream, each of them prevented: always 0.
    pub cross_region: u64,
}

impl RegionStatus {
    pub(crate) fn of(shared: &RegionShared) -> Self {
        let tally = &shared.tally;
        Self {
            region: shared.region.clone(),
            calls: tally.calls.load(Relaxed),
            retries: tally.retries.load(Relaxed),
            retries_denied: tally.retries_denied.load(Relaxed),
            not_replayable: tally.not_replayable.load(Relaxed),
            cross_region: tally.cross_region.load(Relaxed),
        }
    }
}
