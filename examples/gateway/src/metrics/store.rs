//! How the store of budgets is doing that gateways share.

use std::slice;

use tollgate::{Fallback, RedisStore};

use super::metric::{Metric, counter, gauge};
use crate::store::BudgetStore;

/// Everything in Prometheus' text format; nothing of a store that cannot fail.
pub(super) fn render(store: &BudgetStore) -> String {
    let mut text = String::new();
    if let Some(store) = store.shared() {
        for metric in METRICS {
            metric.render(&mut text, slice::from_ref(store), |_| String::new());
        }
    }
    text
}

const METRICS: [Metric<Fallback<RedisStore>>; 7] = [
    gauge(
        "tollgate_budget_store_connected",
        "1 if there is a connection to the store of budgets",
        |store| store.primary().is_connected().into(),
    ),
    gauge(
        "tollgate_budget_store_bypassed",
        "1 if budgets are granted without the store, or were within the last minute",
        |store| store.is_active().into(),
    ),
    counter(
        "tollgate_budget_store_failed_total",
        "Charges that the store did not decide",
        |store| store.primary().failed(),
    ),
    counter(
        "tollgate_budget_store_replaced_total",
        "Charges that were decided in its place",
        Fallback::decided,
    ),
    gauge(
        "tollgate_budget_store_queued",
        "Settlements that wait to be told to the store",
        |store| store.primary().queued() as u64,
    ),
    counter(
        "tollgate_budget_store_settled_total",
        "Settlements that the store was told of",
        |store| store.primary().settled(),
    ),
    counter(
        "tollgate_budget_store_lost_total",
        "Settlements that it will not be told of: charges that leave by themselves",
        |store| store.primary().lost(),
    ),
];
