use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

/// The time that a [`MemoryStore`](crate::MemoryStore) goes by.
///
/// It should not go backwards; a store survives it if it does. Any `Fn() -> Duration` is a clock.
///
/// Budgets hold in every minute of this clock, so it decides how long a minute is. The default,
/// [`MonotonicClock`], is the kernel's. What a processor counts itself adds 5 ns to a call in place
/// of 28, but nobody corrects it: it is off by a few parts in a hundred thousand, some milliseconds
/// in a minute, and does not stand still where tokio's time is paused. The crate `quanta` reads it,
/// or asks the kernel where a processor's count does not go evenly:
///
/// ```
/// use tollgate_budget::MemoryStore;
///
/// let clock = quanta::Clock::new();
/// let start = clock.now();
/// let store = MemoryStore::new().clock(move || clock.now() - start);
/// # let _ = store;
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time since a moment that never changes.
    fn now(&self) -> Duration;
}

impl<F> Clock for F
where
    F: Fn() -> Duration + Send + Sync + 'static,
{
    fn now(&self) -> Duration {
        self()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// The machine's monotonic clock.
///
/// It needs no runtime; in a tokio runtime whose time is paused it stands still.
#[derive(Clone, Copy)]
pub struct MonotonicClock(Instant);

impl MonotonicClock {
    /// A clock that starts at zero.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.0)
    }
}

impl fmt::Debug for MonotonicClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonotonicClock").finish_non_exhaustive()
    }
}
