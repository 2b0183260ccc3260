//! What becomes of budgets.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::{Counter, Gauge, Key, Label};
use tollgate::budget::{
    Denial, Dimension, Ending, Key as BudgetKey, Observe, Settled, Units, WindowSpec,
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

    fn register(&self, key: &BudgetKey<'_>) -> Handles {
        let labels = |more: &[(&'static str, &'static str)]| {
            let more = more
                .iter()
                .map(|(name, value)| Label::from_static_parts(name, value));
            let workspace = Label::new("workspace", key.workspace().to_owned());
            let model = Label::new("model", key.name().to_owned());
            [workspace, model]
                .into_iter()
                .chain(more)
                .collect::<Vec<_>>()
        };
        let counter = |name: &'static str, more: &[(&'static str, &'static str)]| {
            self.metrics.counter(&Key::from_parts(name, labels(more)))
        };
        let denied = |unit, wait| counter(DENIED, &[("unit", unit), ("wait", wait)]);
        Handles {
            open: self.metrics.gauge(&Key::from_parts(OPEN, labels(&[]))),
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
        }
    }
}

impl Observe for Budgets {
    fn reserved(&self, key: &BudgetKey<'_>, _: Units) {
        self.handles(key).open.increment(1);
    }

    fn denied(&self, key: &BudgetKey<'_>, _: &WindowSpec<'_>, denial: &Denial) {
        let handles = self.handles(key);
        let [requests, tokens] = &handles.later;
        let counter = match (denial.retry, denial.dimension) {
            (None, _) => &handles.never,
            (Some(_), Dimension::Requests) => requests,
            (Some(_), _) => tokens,
        };
        counter.increment(1);
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

pub(super) const DESCRIPTIONS: [(&str, &str); 9] = [
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
        "Calls without room: for want of which unit, and whether waiting helps",
    ),
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
