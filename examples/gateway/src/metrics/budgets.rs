//! What becomes of budgets.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::{Counter, Gauge, Key, Label};
use tollgate::budget::{
    Denial, Dimension, Ending, Key as BudgetKey, Observe, Settled, StoreError, Units, WindowSpec,
};

use super::Metrics;

/// Counts reservations for each workspace and model, both of which come from the configuration.
pub(crate) struct Budgets {
    metrics: Arc<Metrics>,
    of: RwLock<ByWorkspace<ByModel<Arc<Handles>>>>,
}

type ByWorkspace<T> = HashMap<Box<str>, T>;
type ByModel<T> = HashMap<Box<str>, T>;

struct Handles {
    open: Gauge,
    requests: Counter,
    tokens: Counter,
    refunded: Counter,
    debt: Counter,
    estimated: Counter,
    reported: Counter,
    unreported: Counter,
    expired: Counter,
    /// Those that will fit later: for want of requests, and of tokens.
    later: [Counter; 2],
    /// Those that never will.
    never: Counter,
    crowded: Counter,
    undecided: Counter,
}

impl Budgets {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            of: RwLock::default(),
        }
    }

    fn handles(&self, key: &BudgetKey<'_>) -> Arc<Handles> {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        let known = of.get(key.workspace()).and_then(|of| of.get(key.name()));
        if let Some(handles) = known {
            return Arc::clone(handles);
        }
        drop(of);
        let handles = Arc::new(self.register(key));
        let mut of = self.of.write().unwrap_or_else(PoisonError::into_inner);
        let of = of.entry(key.workspace().into()).or_default();
        Arc::clone(of.entry(key.name().into()).or_insert(handles))
    }

    fn counter(&self, name: &'static str, key: &BudgetKey<'_>, more: More<'_>) -> Counter {
        self.metrics.counter(&named(name, key, more))
    }

    fn register(&self, key: &BudgetKey<'_>) -> Handles {
        let counter = |name, more: More<'_>| self.counter(name, key, more);
        let denied = |unit, wait| counter(DENIED, &[("unit", unit), ("wait", wait)]);
        Handles {
            open: self.metrics.gauge(&named(OPEN, key, &[])),
            requests: counter(REQUESTS, &[]),
            tokens: counter(TOKENS, &[]),
            refunded: counter(REFUNDED, &[]),
            debt: counter(DEBT, &[]),
            estimated: counter(ESTIMATED, &[]),
            reported: counter(REPORTED, &[]),
            unreported: counter(UNREPORTED, &[]),
            expired: counter(EXPIRED, &[]),
            later: [denied("requests", "later"), denied("tokens", "later")],
            never: denied("tokens", "never"),
            crowded: counter(CROWDED, &[]),
            undecided: counter(UNDECIDED, &[]),
        }
    }
}

/// Labels beside workspace and model, with their values.
type More<'a> = &'a [(&'static str, &'static str)];

fn named(name: &'static str, key: &BudgetKey<'_>, more: More<'_>) -> Key {
    let workspace = Label::new("workspace", key.workspace().to_owned());
    let model = Label::new("model", key.name().to_owned());
    let more = more.iter();
    let more = more.map(|(name, value)| Label::from_static_parts(name, value));
    let labels: Vec<_> = [workspace, model].into_iter().chain(more).collect();
    Key::from_parts(name, labels)
}

impl Observe for Budgets {
    fn reserved(&self, key: &BudgetKey<'_>, _: Units) {
        self.handles(key).open.increment(1);
    }

    fn denied(&self, key: &BudgetKey<'_>, window: &WindowSpec<'_>, denial: &Denial) {
        if !window.scope.is_empty() {
            let wait = denial.retry.map_or("never", |_| "later");
            let labels = [
                ("unit", denial.dimension.name()),
                ("wait", wait),
                ("level", window.scope),
            ];
            self.counter(DENIED, key, &labels).increment(1);
            return;
        }
        let handles = self.handles(key);
        let [requests, tokens] = &handles.later;
        let counter = match (denial.retry, denial.dimension) {
            (None, _) => &handles.never,
            (Some(_), Dimension::Requests) => requests,
            (Some(_), _) => tokens,
        };
        counter.increment(1);
    }

    fn crowded(&self, key: &BudgetKey<'_>, _: u32) {
        self.handles(key).crowded.increment(1);
    }

    fn failed(&self, key: &BudgetKey<'_>, _: &StoreError) {
        self.handles(key).undecided.increment(1);
    }

    fn ended(&self, key: &BudgetKey<'_>, ending: &Ending) {
        let handles = self.handles(key);
        handles.open.decrement(1);
        handles.requests.increment(ending.actual.requests);
        handles.tokens.increment(ending.actual.tokens);
        handles.refunded.increment(ending.refunded().tokens);
        handles.debt.increment(ending.debt().tokens);
        match ending.usage {
            Some(usage) => {
                handles.estimated.increment(ending.estimate);
                handles.reported.increment(usage.prompt_tokens);
            }
            None => handles.unreported.increment(1),
        }
        if ending.settled == Settled::Expired {
            handles.expired.increment(1);
        }
    }
}

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgets").finish_non_exhaustive()
    }
}

pub(super) const DESCRIPTIONS: [(&str, &str); 11] = [
    (REQUESTS, "Requests charged"),
    (TOKENS, "Tokens charged"),
    (REFUNDED, "Tokens reserved and given back"),
    (DEBT, "Tokens used beyond what was reserved"),
    (
        ESTIMATED,
        "Prompt tokens, as estimated, of calls whose upstream reported them",
    ),
    (REPORTED, "Prompt tokens, as reported"),
    (UNREPORTED, "Calls whose upstream reported no usage"),
    (EXPIRED, "Calls that took longer than the budget's window"),
    (
        DENIED,
        "Calls without room: for want of which unit, whether waiting helps, and at which level if \
         not in the workspace's budget for the model",
    ),
    (CROWDED, "Calls beyond those that may be open at a time"),
    (UNDECIDED, "Calls that the store could not decide on"),
];

pub(super) const OPEN: &str = "tollgate_budget_open";
const REQUESTS: &str = "tollgate_budget_requests_total";
const TOKENS: &str = "tollgate_budget_tokens_total";
const REFUNDED: &str = "tollgate_budget_refunded_tokens_total";
const DEBT: &str = "tollgate_budget_debt_tokens_total";
const ESTIMATED: &str = "tollgate_budget_estimated_prompt_tokens_total";
const REPORTED: &str = "tollgate_budget_reported_prompt_tokens_total";
const UNREPORTED: &str = "tollgate_budget_unreported_total";
const EXPIRED: &str = "tollgate_budget_expired_total";
const DENIED: &str = "tollgate_budget_denied_total";
const CROWDED: &str = "tollgate_budget_crowded_total";
const UNDECIDED: &str = "tollgate_budget_undecided_total";

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, time::Duration};

    use tollgate::budget::{Limit, Span};

    use super::*;

    #[test]
    fn denials_are_counted_by_level_and_unit() {
        let metrics = Metrics::new().unwrap();
        let budgets = Budgets::new(Arc::clone(&metrics));
        let key = BudgetKey::new("acme", "gpt-4o");
        let limit = Limit {
            requests: None,
            tokens: NonZeroU64::new(9),
        };
        for (scope, name) in [("", "gpt-4o"), ("user", "jo"), ("user", "al")] {
            let window = WindowSpec::new(scope, name, Span::Minute, limit);
            let never = Denial::new(0, Dimension::Tokens, 0, 9);
            budgets.denied(&key, &window, &never);
            let later = never.retry_after(Duration::from_secs(1), Duration::ZERO);
            budgets.denied(&key, &window, &later);
        }
        budgets.crowded(&key, 1);
        budgets.failed(&key, &StoreError::new("redis://secret"));
        let text = metrics.handle.render();
        for (name, labels, value) in [
            ("denied", r#",unit="tokens",wait="later""#, 1),
            ("denied", r#",unit="tokens",wait="never""#, 1),
            ("denied", r#",unit="requests",wait="later""#, 0),
            ("denied", r#",unit="tokens",wait="later",level="user""#, 2),
            ("denied", r#",unit="tokens",wait="never",level="user""#, 2),
            ("crowded", "", 1),
            ("undecided", "", 1),
        ] {
            let of = r#"workspace="acme",model="gpt-4o""#;
            let line = format!("tollgate_budget_{name}_total{{{of}{labels}}} {value}");
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("secret") && !text.contains("jo"));
    }
}
