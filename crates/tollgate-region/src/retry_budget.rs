use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bounds what retries add to the load: a share of the calls, and a few for quiet times.
pub(crate) struct RetryBudget {
    /// In thousandths of a retry.
    balance: AtomicU64,
    /// The time and the number of calls that the balance stands for.
    refilled: AtomicU64,
    counted: AtomicU64,
    per_call: u64,
    per_second: u64,
    cap: u64,
}

impl RetryBudget {
    /// A budget that begins when a region has had so many calls.
    pub(crate) fn new(percent: u32, per_second: u32, burst: u32, calls: u64) -> Self {
        let cap = u64::from(burst) * RETRY;
        Self {
            balance: AtomicU64::new(cap.min(RESERVE)),
            refilled: AtomicU64::new(0),
            counted: AtomicU64::new(calls),
            per_call: u64::from(percent) * RETRY / 100,
            per_second: u64::from(per_second),
            cap,
        }
    }

    /// Goes on from what is left of another, or a change of the configuration would be worth ten
    /// retries.
    pub(crate) fn following(self, before: &Self) -> Self {
        let left = before.balance.load(Relaxed).min(self.cap);
        Self {
            balance: AtomicU64::new(left),
            refilled: AtomicU64::new(before.refilled.load(Relaxed)),
            counted: AtomicU64::new(before.counted.load(Relaxed)),
            ..self
        }
    }

    /// Takes a retry, if one is left now that the region has had so many calls.
    pub(crate) fn withdraw(&self, now: u64, calls: u64) -> bool {
        let since = now.saturating_sub(self.refilled.fetch_max(now, Relaxed));
        let further = calls.saturating_sub(self.counted.fetch_max(calls, Relaxed));
        let earned = further.saturating_mul(self.per_call);
        // Thousandths for each second are units for each millisecond. Time is for those who call
        // too seldom to earn anything: it adds nothing to what calls do, and fills the reserve
        // only, or else a minute's silence would end in a storm.
        let trickled = since.saturating_mul(self.per_second).saturating_sub(earned);
        let add = |balance: u64| {
            let sum = balance.saturating_add(earned);
            let filled = sum.saturating_add(trickled).min(RESERVE).max(sum);
            let sum = filled.min(self.cap);
            (sum != balance).then_some(sum)
        };
        // No change is no failure: the budget is full.
        let _ = self.balance.fetch_update(Relaxed, Relaxed, add);
        let take = |balance: u64| balance.checked_sub(RETRY);
        self.balance.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

const RETRY: u64 = 1_000;
/// What is there from the beginning, and comes back by itself.
const RESERVE: u64 = 10 * RETRY;

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawn(budget: &RetryBudget, now: u64, calls: u64) -> usize {
        std::iter::repeat_with(|| budget.withdraw(now, calls))
            .take_while(|granted| *granted)
            .count()
    }

    #[test]
    fn retries_are_a_share_of_the_calls() {
        let budget = RetryBudget::new(10, 0, 2, 0);
        assert_eq!(withdrawn(&budget, 1, 1), 2);
        assert_eq!(withdrawn(&budget, 1, 11), 1);
        assert_eq!(withdrawn(&budget, 1_000_000, 11), 0);
        assert_eq!(withdrawn(&budget, 1, 1_011), 2, "no more than the burst");
        assert_eq!(withdrawn(&budget, 1, 500), 0, "no call counts twice");
    }

    #[test]
    fn quiet_times_refill_the_budget() {
        let budget = RetryBudget::new(0, 1, 1, 0);
        assert_eq!(withdrawn(&budget, 1, 1), 1);
        assert_eq!(withdrawn(&budget, 1_000, 1), 0);
        assert_eq!(withdrawn(&budget, 1_001, 1), 1);
        assert_eq!(withdrawn(&budget, 500, 1), 0, "time does not run backwards");
    }

    #[test]
    fn what_is_saved_up_has_been_earned_by_calls() {
        let budget = RetryBudget::new(10, 1, 100, 7);
        assert_eq!(withdrawn(&budget, 1, 8), 10, "the first calls have few");
        assert_eq!(withdrawn(&budget, 1_000_000, 8), 10, "as have quiet times");
        assert_eq!(withdrawn(&budget, 1_000_001, 508), 50);
        // Where calls earn more than the time does, the time adds nothing.
        assert_eq!(withdrawn(&budget, 1_010_001, 1_008), 50);
        assert_eq!(withdrawn(&budget, 1_010_002, 100_000), 100);
    }

    #[test]
    fn a_budget_goes_on_from_what_is_left_of_another() {
        let before = RetryBudget::new(10, 1, 100, 0);
        assert!((0..7).all(|_| before.withdraw(1_000, 0)));
        let after = RetryBudget::new(10, 1, 2, 0).following(&before);
        assert_eq!(withdrawn(&after, 1_000, 0), 2, "of three, the burst");
        assert_eq!(withdrawn(&after, 2_000, 1), 1);
        assert_eq!(withdrawn(&after, 2_000, 11), 1);
    }
}
