use std::fmt;

use crate::{Settled, Store, Units};

/// An open reservation, for code that meters without a layer.
///
/// It is settled exactly once: by [`settle`](Self::settle), or when it is dropped, with what was
/// [observed](Self::observe) until then. Whatever ends a call, be it an error, a cancelled future
/// or a panic, ends its reservation.
///
/// ```
/// # use std::num::NonZeroU64;
/// use tollgate_budget::{
///     Charge, Decision, Limit, MemoryStore, Reservation, Span, Store, Units, WindowSpec,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let limit = Limit { tokens: NonZeroU64::new(1_000), ..Limit::NONE };
/// let windows = [WindowSpec::new("", "nightly-report", Span::Minute, limit)];
/// let charge = Charge::new("acme", &windows, Units::new(1, 800));
///
/// let Decision::Granted { held, .. } = store.reserve(&charge).await? else {
///     return Err("no room".into());
/// };
/// let reservation = Reservation::new(store.clone(), held, Units::ZERO);
/// // … 300 of the 800 tokens were used:
/// reservation.settle(Units::new(1, 300));
/// assert!(matches!(store.reserve(&Charge::new("acme", &windows, Units::new(1, 700))).await?, Decision::Granted { .. }));
/// # Ok(())
/// # }
/// ```
#[must_use = "a reservation that is dropped is settled"]
pub struct Reservation<St: Store> {
    store: St,
    held: Option<St::Held>,
    observed: Units,
}

impl<St: Store> Reservation<St> {
    /// Guards what a store has granted. `observed` is what dropping it is to cost until more is
    /// known.
    pub const fn new(store: St, held: St::Held, observed: Units) -> Self {
        Self {
            store,
            held: Some(held),
            observed,
        }
    }

    /// Replaces what dropping the reservation costs.
    pub fn observe(&mut self, observed: Units) {
        self.observed = observed;
    }

    /// Settles now.
    pub fn settle(mut self, actual: Units) -> Settled {
        // It is there until it is settled, and settling takes `self`.
        self.close(actual).unwrap_or(Settled::Done)
    }

    fn close(&mut self, actual: Units) -> Option<Settled> {
        let held = self.held.take()?;
        Some(self.store.settle(held, actual))
    }
}

impl<St: Store> Drop for Reservation<St> {
    fn drop(&mut self) {
        self.close(self.observed);
    }
}

impl<St: Store> fmt::Debug for Reservation<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("observed", &self.observed)
            .finish_non_exhaustive()
    }
}
