//! One reservation, from before it is asked for until it is settled.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tollgate_budget::{Charge, Settled, Units};

use crate::{
    names::{self, Names, Shape},
    store::Inner,
};

/// What is charged together: a reservation's key, the windows, and how much.
#[derive(Debug)]
pub(crate) struct Target {
    reservation: String,
    pub(crate) places: Box<[Place]>,
    pub(crate) cost: Units,
}

#[derive(Debug)]
pub(crate) struct Place {
    key: String,
    pub(crate) shape: Shape,
}

impl Target {
    pub(crate) fn new(names: &Names, id: u128, charge: &Charge<'_>) -> Self {
        let home = names.home(charge.workspace);
        let place = |window| Place {
            key: names.window(&home, window),
            shape: names.shape(window.span),
        };
        Self {
            reservation: names::reservation(&home, id),
            places: charge.windows.iter().map(place).collect(),
            cost: charge.cost,
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let windows = self.places.iter().map(|place| &*place.key);
        [&*self.reservation].into_iter().chain(windows)
    }
}

/// A reservation that was asked for. Unless it is settled, or known not to be made, dropping it
/// gives back what was or will be charged: wherever an answer is lost on its way to the layer.
pub(crate) struct Ticket {
    target: Option<Box<Target>>,
    shared: Arc<Inner>,
}

impl Ticket {
    pub(crate) fn new(target: Box<Target>, shared: Arc<Inner>) -> Self {
        Self {
            target: Some(target),
            shared,
        }
    }

    /// Nothing was charged, nor will be.
    pub(crate) fn tear(mut self) {
        self.target = None;
    }

    /// Has it settled by what was really used.
    pub(crate) fn settle(mut self, actual: Units) -> Settled {
        self.close(actual, false).unwrap_or(Settled::Queued)
    }

    fn close(&mut self, actual: Units, is_cancelled: bool) -> Option<Settled> {
        let target = self.target.take()?;
        Some(self.shared.queue(Settlement {
            target,
            actual,
            is_cancelled,
            since: Instant::now(),
        }))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(Units::ZERO, true);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

/// What is to be told to the server when there is time.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) target: Box<Target>,
    pub(crate) actual: Units,
    is_cancelled: bool,
    since: Instant,
}

impl Settlement {
    /// How long the server must know that it was made. Where nothing is charged, making it twice does
    /// nothing; but what is given back before it was charged must not be charged after that, and debt
    /// is charged once.
    pub(crate) fn memory(&self, patience: Duration) -> Duration {
        let (cost, actual) = (self.target.cost, self.actual);
        if self.is_cancelled || actual.requests > cost.requests || actual.tokens > cost.tokens {
            // Longer than anybody tries.
            patience.saturating_mul(2)
        } else {
            Duration::ZERO
        }
    }

    /// Whether nobody tries any more.
    pub(crate) fn is_late(&self, patience: Duration) -> bool {
        self.since.elapsed() >= patience
    }
}
