use std::sync::Arc;

use tollgate_core::Usage;

use crate::{Denial, Key, Settled, StoreError, Units, WindowSpec};

/// Watches what becomes of reservations: for metrics.
///
/// Every method does nothing unless you write it. They are called where calls are decided on and
/// from destructors, so they must neither block nor panic. Open reservations are those
/// [`reserved`](Self::reserved) less those that [`ended`](Self::ended).
///
/// An `Arc` of an observer is one, so that what it counts can be read elsewhere:
///
/// ```
/// use std::sync::{
///     Arc,
///     atomic::{AtomicI64, AtomicU64, Ordering},
/// };
///
/// use tollgate_budget::{
///     BudgetLayer, Denial, Ending, Key, MemoryStore, Observe, Units, WindowSpec,
/// };
///
/// #[derive(Default)]
/// struct Metrics {
///     open: AtomicI64,
///     denied: AtomicU64,
///     debt_tokens: AtomicU64,
/// }
///
/// impl Observe for Metrics {
///     fn reserved(&self, _key: &Key<'_>, _cost: Units) {
///         self.open.fetch_add(1, Ordering::Relaxed);
///     }
///
///     fn denied(&self, _key: &Key<'_>, _window: &WindowSpec<'_>, _denial: &Denial) {
///         self.denied.fetch_add(1, Ordering::Relaxed);
///     }
///
///     fn ended(&self, _key: &Key<'_>, ending: &Ending) {
///         self.open.fetch_sub(1, Ordering::Relaxed);
///         self.debt_tokens.fetch_add(ending.debt().tokens, Ordering::Relaxed);
///     }
/// }
///
/// # fn layer(layer: BudgetLayer<MemoryStore>) {
/// let metrics = Arc::new(Metrics::default());
/// let layer = layer.observe(Arc::clone(&metrics));
/// // … and the page for your monitoring reads `metrics.open`.
/// # drop((layer, metrics));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    note = "an observer is a type that implements those methods of `Observe` that it needs, not a \
            closure"
)]
pub trait Observe: Send + Sync + 'static {
    /// A call was admitted and this much reserved.
    fn reserved(&self, key: &Key<'_>, cost: Units) {
        let _ = (key, cost);
    }

    /// A budget had no room: this window, whose `scope` tells the key's own from those of further
    /// levels.
    fn denied(&self, key: &Key<'_>, window: &WindowSpec<'_>, denial: &Denial) {
        let _ = (key, window, denial);
    }

    /// There were as many open calls as may be.
    fn crowded(&self, key: &Key<'_>, limit: u32) {
        let _ = (key, limit);
    }

    /// The store could not decide.
    fn failed(&self, key: &Key<'_>, error: &StoreError) {
        let _ = (key, error);
    }

    /// An admitted call has ended and was settled.
    fn ended(&self, key: &Key<'_>, ending: &Ending) {
        let _ = (key, ending);
    }
}

impl<O: Observe + ?Sized> Observe for Arc<O> {
    fn reserved(&self, key: &Key<'_>, cost: Units) {
        (**self).reserved(key, cost);
    }

    fn denied(&self, key: &Key<'_>, window: &WindowSpec<'_>, denial: &Denial) {
        (**self).denied(key, window, denial);
    }

    fn crowded(&self, key: &Key<'_>, limit: u32) {
        (**self).crowded(key, limit);
    }

    fn failed(&self, key: &Key<'_>, error: &StoreError) {
        (**self).failed(key, error);
    }

    fn ended(&self, key: &Key<'_>, ending: &Ending) {
        (**self).ended(key, ending);
    }
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// What was reserved.
    pub reserved: Units,
    /// What was charged in the end.
    pub actual: Units,
    /// What the upstream reported; `None` if the charge rests on what was observed.
    pub usage: Option<Usage>,
    /// The estimate of the prompt's tokens, or what the [`Cost`](tollgate_core::Cost) stated.
    pub estimate: u64,
    /// Whether the settlement came in time.
    pub settled: Settled,
}

impl Ending {
    /// What was given back.
    #[must_use]
    pub fn refunded(&self) -> Units {
        self.reserved.saturating_sub(self.actual)
    }

    /// What was charged beyond the reservation.
    #[must_use]
    pub fn debt(&self) -> Units {
        self.actual.saturating_sub(self.reserved)
    }

    /// The estimate of the prompt less its reported tokens; above zero if it erred on the safe
    /// side, `None` without a report.
    #[must_use]
    pub fn estimate_error(&self) -> Option<i64> {
        let signed = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let prompt = self.usage?.prompt_tokens;
        Some(signed(self.estimate).saturating_sub(signed(prompt)))
    }
}
