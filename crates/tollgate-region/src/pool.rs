use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tollgate_core::Region;

use crate::{
    health::{Admission, Blocked, Breaker, Clock},
    target::Target,
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
    pub(crate) tally: RegionTally,
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

    /// Takes the best deployment that can be had and is not among those already tried.
    pub(crate) fn take(&self, tried: &[Arc<Target>]) -> Option<Lease> {
        let now = self.shared.clock.now();
        let untried = |target: &Target| !tried.iter().any(|other| std::ptr::eq(&**other, target));
        let usable = |target: &Target| target.health.is_available(now) && untried(target);
        self.tiers.iter().find_map(|tier| {
            // Another call may take the single place that a half-open breaker offers; then the
            // tier is looked at again.
            (0..tier.len()).find_map(|_| {
                let target = choose(tier, usable, &self.shared.random)?;
                let admission = target.health.enter(now)?;
                Some(Lease {
                    target: Arc::clone(target),
                    shared: Arc::clone(&self.shared),
                    admission: Some(admission),
                })
            })
        })
    }

    /// Why nothing can be had: the deployment that will be back first.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        let now = self.shared.clock.now();
        let blocked = self.targets().filter_map(|t| t.health.blocked(now));
        blocked.min_by_key(|blocked| blocked.wait())
    }
}

/// Draws two by weight and takes the less busy one.
///
/// Never allocates. The first one stays unless it is busier by more than one call of the lighter
/// of both: a smaller difference is chance, and acting on it would turn weights into equal shares.
fn choose<'a>(
    tier: &'a [Arc<Target>],
    usable: impl Fn(&Target) -> bool,
    random: &Random,
) -> Option<&'a Arc<Target>> {
    let weights = tier.iter().filter(|target| usable(target));
    let total: u64 = weights.map(|target| weight(target)).sum();
    let first = draw(tier, &usable, random.below(total))?;
    let others = |target: &Target| !std::ptr::eq(target, &**first) && usable(target);
    let rest = total.saturating_sub(weight(first));
    if rest == 0 {
        return Some(first);
    }
    let Some(second) = draw(tier, others, random.below(rest)) else {
        return Some(first);
    };
    let load = |of: &Target, other: &Target| u64::from(of.health.outstanding()) * weight(other);
    let excess = load(first, second).saturating_sub(load(second, first));
    Some(if excess > weight(first).max(weight(second)) {
        second
    } else {
        first
    })
}

/// The target in whose stretch of the line of weights the ticket falls. A target that became
/// unusable since the weights were summed leaves the last one.
fn draw(
    tier: &[Arc<Target>],
    usable: impl Fn(&Target) -> bool,
    mut ticket: u64,
) -> Option<&Arc<Target>> {
    let mut last = None;
    for target in tier.iter().filter(|target| usable(target)) {
        last = Some(target);
        match ticket.checked_sub(weight(target)) {
            Some(rest) => ticket = rest,
            None => break,
        }
    }
    last
}

fn weight(target: &Target) -> u64 {
    u64::from(target.weight.get())
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
        let floor = wait.filter(|wait| *wait < VERDICT).unwrap_or_default();
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

/// Bounds what retries add to the load: a share of the calls, and a trickle for quiet times.
pub(crate) struct RetryBudget {
    /// In thousandths of a retry.
    balance: AtomicU64,
    refilled: AtomicU64,
    per_call: u64,
    per_second: u64,
    cap: u64,
}

impl RetryBudget {
    pub(crate) fn new(percent: u32, per_second: u32, burst: u32) -> Self {
        let cap = u64::from(burst) * RETRY;
        Self {
            balance: AtomicU64::new(cap),
            refilled: AtomicU64::new(0),
            per_call: u64::from(percent) * RETRY / 100,
            per_second: u64::from(per_second),
            cap,
        }
    }

    pub(crate) fn deposit(&self) {
        self.add(self.per_call);
    }

    pub(crate) fn withdraw(&self, now: u64) -> bool {
        // Thousandths for each second are units for each millisecond.
        let since = now.saturating_sub(self.refilled.fetch_max(now, Relaxed));
        self.add(since.saturating_mul(self.per_second));
        let take = |balance: u64| balance.checked_sub(RETRY);
        self.balance.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn add(&self, amount: u64) {
        let add = |balance: u64| {
            let sum = balance.saturating_add(amount).min(self.cap);
            (sum != balance).then_some(sum)
        };
        // No change is no failure: the budget is full.
        let _ = self.balance.fetch_update(Relaxed, Relaxed, add);
    }
}

/// Numbers good enough to spread load (Steele, Lea and Flood's `SplitMix64`), shared without a lock.
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below `bound`; 0 if there is none.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The product's upper half is below the bound.
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}

const RETRY: u64 = 1_000;
/// Azure names a day where one request alone is larger than the quota: that speaks of the request,
/// and must not put the deployment out of everybody's reach.
const VERDICT: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_calls() {
        let budget = RetryBudget::new(10, 0, 2);
        assert!(budget.withdraw(1) && budget.withdraw(1));
        assert!(!budget.withdraw(1));
        for _ in 0..10 {
            budget.deposit();
        }
        assert!(budget.withdraw(1));
        assert!(!budget.withdraw(1_000_000));
        for _ in 0..1_000 {
            budget.deposit();
        }
        assert!(budget.withdraw(1) && budget.withdraw(1));
        assert!(!budget.withdraw(1), "no more than the burst can be saved");
    }

    #[test]
    fn quiet_times_refill_the_budget() {
        let budget = RetryBudget::new(0, 1, 1);
        assert!(budget.withdraw(1));
        assert!(!budget.withdraw(1_000));
        assert!(budget.withdraw(1_001));
        assert!(!budget.withdraw(500), "time does not run backwards");
    }

    #[test]
    fn random_numbers_stay_below_their_bound_and_spread() {
        let random = Random::new(7);
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (850..1_150).contains(n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }
}
