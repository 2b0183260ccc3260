//! A slow, obvious store: a log of everything that was ever charged, and sums over it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tollgate_budget::{
    Charge, Decision, Denial, Dimension, Limit, Span, Standing, Standings, Units, WindowSpec,
};

#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    window: u64,
    slot: u64,
    units: Units,
}

/// What was charged: the entries, and the cost.
#[derive(Debug)]
pub(crate) struct Charged {
    entries: Vec<usize>,
    windows: Vec<(u64, Span)>,
    cost: Units,
}

pub(crate) const SLOT: Duration = Duration::from_secs(1);

impl Log {
    pub(crate) fn reserve(&mut self, charge: &Charge<'_>, now: u64) -> Decision<Charged> {
        let mut worst: Option<Denial> = None;
        for (at, window) in charge.windows.iter().enumerate() {
            for dimension in Dimension::ALL {
                let (cost, Some(limit)) = (charge.cost.of(dimension), limit(window, dimension))
                else {
                    continue;
                };
                let name = name(charge.workspace, window);
                let used = self.used(name, window.span, now).of(dimension);
                if cost == 0 || used + cost <= limit {
                    continue;
                }
                let denial = Denial::new(at, dimension, used, limit);
                let denial = match self.retry(name, window.span, now, dimension, cost, limit) {
                    Some(wait) => denial.retry_after(Duration::from_nanos(wait), SLOT),
                    None => denial,
                };
                let wait = |denial: &Denial| denial.retry.unwrap_or(Duration::MAX);
                if worst.is_none_or(|other| wait(&denial) > wait(&other)) {
                    worst = Some(denial);
                }
            }
        }
        if let Some(denial) = worst {
            return Decision::Denied(denial.standings(self.standings(charge, now)));
        }
        let mut held = Charged {
            entries: Vec::new(),
            windows: Vec::new(),
            cost: charge.cost,
        };
        for window in charge.windows {
            let name = name(charge.workspace, window);
            held.entries.push(self.entries.len());
            held.windows.push((name, window.span));
            self.entries.push(Entry {
                window: name,
                slot: slot_at(window.span, now),
                units: charge.cost,
            });
        }
        Decision::Granted {
            held,
            standings: self.standings(charge, now),
        }
    }

    pub(crate) fn settle(&mut self, held: Charged, actual: Units, now: u64) {
        let less = |cost: u64, actual: u64| cost.saturating_sub(actual);
        let (cost, actual) = (held.cost, actual);
        for (entry, (window, span)) in held.entries.into_iter().zip(held.windows) {
            let units = &mut self.entries[entry].units;
            units.requests -= less(cost.requests, actual.requests);
            units.tokens -= less(cost.tokens, actual.tokens);
            let debt = Units::new(
                less(actual.requests, cost.requests),
                less(actual.tokens, cost.tokens),
            );
            self.entries.push(Entry {
                window,
                slot: slot_at(span, now),
                units: debt,
            });
        }
    }

    fn used(&self, window: u64, span: Span, now: u64) -> Units {
        let current = slot_at(span, now);
        let live = |entry: &&Entry| entry.window == window && current <= entry.slot + slots(span);
        self.entries
            .iter()
            .filter(live)
            .fold(Units::ZERO, |sum, entry| {
                Units::new(
                    sum.requests + entry.units.requests,
                    sum.tokens + entry.units.tokens,
                )
            })
    }

    /// Tries every slot that is to come.
    fn retry(
        &self,
        window: u64,
        span: Span,
        now: u64,
        dimension: Dimension,
        cost: u64,
        limit: u64,
    ) -> Option<u64> {
        let starts = (1..=slots(span) + 1).map(|ahead| (slot_at(span, now) + ahead) * length(span));
        let fits = |then: &u64| {
            let used = self.used(window, span, *then).of(dimension);
            used + cost <= limit
        };
        starts.into_iter().find(fits).map(|then| then - now)
    }

    fn standings(&self, charge: &Charge<'_>, now: u64) -> Standings {
        let mut standings = Standings::default();
        for window in charge.windows {
            let name = name(charge.workspace, window);
            for dimension in Dimension::ALL {
                let Some(limit) = limit(window, dimension) else {
                    continue;
                };
                let used = self.used(name, window.span, now).of(dimension);
                // Empty when the last of it leaves.
                let live = self.entries.iter().filter(|entry| {
                    entry.window == name && entry.units.of(dimension) > 0 && used > 0
                });
                let leaves =
                    live.map(|entry| (entry.slot + slots(window.span) + 1) * length(window.span));
                let reset = leaves.max().map_or(0, |then| then - now);
                let standing = Standing::new(
                    limit,
                    limit.saturating_sub(used),
                    Duration::from_nanos(reset),
                );
                standings.note(dimension, standing);
            }
        }
        standings
    }
}

fn name(workspace: &str, window: &WindowSpec<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (workspace, window.scope, window.name, window.span).hash(&mut hasher);
    hasher.finish()
}

fn limit(window: &WindowSpec<'_>, dimension: Dimension) -> Option<u64> {
    let Limit { requests, tokens } = window.limit;
    match dimension {
        Dimension::Requests => requests,
        _ => tokens,
    }
    .map(std::num::NonZeroU64::get)
}

fn slots(span: Span) -> u64 {
    u64::from(span.slots(SLOT).0)
}

fn length(span: Span) -> u64 {
    span.slots(SLOT).1.as_nanos().try_into().unwrap()
}

fn slot_at(span: Span, now: u64) -> u64 {
    now / length(span)
}
