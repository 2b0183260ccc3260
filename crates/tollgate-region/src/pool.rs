use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tollgate_core::{Region, Rejection, RejectionKind};

use crate::{
    choice::{Random, choose},
    health::{Admission, Blocked, Breaker, Clock, Health},
    retry_budget::RetryBudget,
    target::Target,
    wait::DAY,
};

/// The deployments that serve one model in one region, and how one of them is chosen.
pub(crate) struct Pool {
    /// By rising priority; none is empty.
    tiers: Vec<Vec<Arc<Target>>>,
    pub(crate) shared: Arc<RegionShared>,
}

/// What the pools of one region have in common.
pub(crate) struct RegionShared {
    pub(crate) region: Region,
    pub(crate) clock: Clock,
    pub(crate) breaker: Breaker,
    pub(crate) cooldown: Duration,
    pub(crate) retries: RetryBudget,
    pub(crate) random: Random,
    /// Outlives the region where one set of upstreams follows another.
    pub(crate) tally: Arc<RegionTally>,
}

/// What has happened in a region so far.
#[derive(Debug, Default)]
pub(crate) struct RegionTally {
    pub(crate) calls: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) retries_denied: AtomicU64,
    pub(crate) not_replayable: AtomicU64,
    pub(crate) cross_region: AtomicU64,
}

impl Pool {
    pub(crate) fn new(mut targets: Vec<Arc<Target>>, shared: Arc<RegionShared>) -> Self {
        targets.sort_by_key(|target| target.priority);
        let tiers = targets.chunk_by(|a, b| a.priority == b.priority);
        let tiers = tiers.map(<[_]>::to_vec).collect();
        Self { tiers, shared }
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.tiers.iter().flatten()
    }

    pub(crate) fn has_alternatives(&self) -> bool {
        self.targets().nth(1).is_some()
    }

    /// Takes the best deployment for a call's first attempt. If breakers alone keep all of them
    /// away, they are of no use: then the call is sent where it would go without them.
    pub(crate) fn take_first(&self) -> Option<Lease> {
        let now = self.shared.clock.now();
        let usual = self.take(
            |health| health.is_available(now),
            |health| health.enter(now),
        );
        usual.or_else(|| {
            self.take(
                |health| health.is_last_resort(now),
                |health| health.enter_as_last_resort(now),
            )
        })
    }

    /// Takes the best deployment that can be had and is not among those already tried.
    pub(crate) fn take_next(&self, tried: &[Arc<Target>]) -> Option<Lease> {
        let now = self.shared.clock.now();
        let is_tried = |health| {
            tried
                .iter()
                .any(|other| std::ptr::eq(&*other.health, health))
        };
        self.take(
            |health| health.is_available(now) && !is_tried(health),
            |health| health.enter(now),
        )
    }

    fn take(
        &self,
        usable: impl Fn(&Health) -> bool,
        enter: impl Fn(&Health) -> Option<Admission>,
    ) -> Option<Lease> {
        let usable = |target: &Target| usable(&target.health);
        self.tiers.iter().find_map(|tier| {
            // Another call may take the place that a breaker offers; then the tier is looked at
            // again.
            (0..tier.len()).find_map(|_| {
                let target = choose(tier, usable, &self.shared.random)?;
                let admission = enter(&target.health)?;
                Some(Lease {
                    target: Arc::clone(target),
                    shared: Arc::clone(&self.shared),
                    admission: Some(admission),
                })
            })
        })
    }

    /// Pools hold one region's upstreams by construction. Should that ever fail, no call leaves.
    pub(crate) fn check(&self, lease: &Lease, region: &Region) -> Result<(), Rejection> {
        if lease.target.region == *region {
            return Ok(());
        }
        self.shared.tally.cross_region.fetch_add(1, Relaxed);
        Err(Rejection::new(RejectionKind::UpstreamUnavailable).with_should_retry(false))
    }

    /// Why nothing can be had: the deployment that will be back first. `None` if one can be had.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        let now = self.shared.clock.now();
        let mut first: Option<Blocked> = None;
        for target in self.targets() {
            let blocked = target.health.blocked(now)?;
            if first.is_none_or(|first| blocked.wait() < first.wait()) {
                first = Some(blocked);
            }
        }
        first
    }
}

/// A place on a deployment, held until the end of the answer's body.
pub(crate) struct Lease {
    pub(crate) target: Arc<Target>,
    shared: Arc<RegionShared>,
    /// Until the outcome is known.
    admission: Option<Admission>,
}

impl Lease {
    /// The upstream answered: with what was asked for, or with a refusal that is not its fault.
    pub(crate) fn succeed(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.target.health.succeed(admission);
        }
    }

    /// The upstream is at fault.
    pub(crate) fn fail(&mut self) {
        if let Some(admission) = self.admission.take() {
            let now = self.shared.clock.now();
            let breaker = &self.shared.breaker;
            self.target.health.fail(admission, now, breaker);
        }
    }

    /// The upstream asked to be left alone, perhaps for a stated time.
    pub(crate) fn cool(&self, wait: Option<Duration>) {
        // A day and more is not to be believed; it must not put the deployment out of reach.
        let floor = wait.filter(|wait| *wait < DAY).unwrap_or_default();
        let until = self.shared.clock.after(floor.max(self.shared.cooldown));
        self.target.health.cool(until);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            let now = self.shared.clock.now();
            self.target.health.abandon(admission, now);
        }
        self.target.health.leave();
    }
}

#[cfg(test)]
mod tests {
    use crate::{Region, Upstream, Upstreams};

    #[tokio::test]
    async fn choosing_among_a_hundred_allocates_nothing() {
        let eu = Region::new("eu").unwrap();
        let upstreams = (0..100).map(|n| {
            Upstream::azure(
                format!("u{n}"),
                eu.clone(),
                format!("http://u{n}.test"),
                "k",
            )
            .deployment("m", "d")
            .priority(n % 2)
        });
        let upstreams = Upstreams::builder().pool(eu.clone(), upstreams);
        let upstreams = upstreams.build().unwrap();
        let pool = upstreams.pool(&eu, "m").unwrap();
        // Some rest, so that the first fifty are looked at in vain.
        for target in pool.targets().take(50) {
            target.health.cool(u64::MAX);
        }
        let tried: Vec<_> = pool.targets().take(2).cloned().collect();
        let mut leases = Vec::with_capacity(1_000);
        tollgate_testing::assert_allocations(0, || {
            for _ in 0..500 {
                leases.push(pool.take_first().unwrap());
                leases.push(pool.take_next(&tried).unwrap());
            }
            leases.clear();
        });
    }
}
