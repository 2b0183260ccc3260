use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A clock that stands still until a test turns it. Clones are the same clock.
///
/// For whatever asks for the time through a closure; it counts from zero, in nanoseconds, to 584
/// years. What waits for timers is tested with tokio's paused time instead.
///
/// ```
/// use std::time::Duration;
/// use tollgate_testing::FakeClock;
///
/// let clock = FakeClock::new();
/// let now = clock.reader(); // for `MemoryStore::clock`, or a clock of your own
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(now(), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, Default)]
pub struct FakeClock(Arc<AtomicU64>);

impl FakeClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns it forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Turns it to this time, which may be an earlier one.
    pub fn set(&self, to: Duration) {
        self.0.store(nanos(to), Ordering::SeqCst);
    }

    /// The time that it shows.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    /// Reads it, for code that takes its clock as a closure.
    pub fn reader(&self) -> impl Fn() -> Duration + Clone + Send + Sync + use<> {
        let clock = self.clone();
        move || clock.now()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a time within 584 years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_until_it_is_turned() {
        let clock = FakeClock::new();
        let now = clock.reader();
        assert_eq!(now(), Duration::ZERO);
        clock.advance(Duration::from_secs(3));
        clock.clone().advance(Duration::from_nanos(1));
        assert_eq!(now(), Duration::new(3, 1));
        clock.set(Duration::from_millis(5));
        assert_eq!((now(), clock.now()), (clock.now(), now()));
        assert_eq!(now(), Duration::from_millis(5));
    }
}
