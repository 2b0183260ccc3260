use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

const RETRY: u64 = 1_000;

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
}
