use std::time::Duration;

use tokio::time::Instant;

/// How large and how slow a body may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_bytes: u64,
    pub(crate) timeout: Duration,
    pub(crate) bytes_per_second: u64,
    pub(crate) grace: Duration,
}

impl Limits {
    /// When a body that began at `start` has run out of time unless more of it arrives: what has
    /// arrived pays for the seconds that follow the grace.
    pub(crate) fn deadline(&self, start: Instant, received: u64) -> Instant {
        let paid = match received.checked_div(self.bytes_per_second) {
            Some(seconds) => self.grace.saturating_add(Duration::from_secs(seconds)),
            None => Duration::MAX,
        };
        let most = paid.min(self.timeout).min(FOR_EVER);
        // The clock does not end within a century.
        start.checked_add(most).unwrap_or(start)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            timeout: Duration::from_secs(30),
            bytes_per_second: 1_024,
            grace: Duration::from_secs(5),
        }
    }
}

const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_buys_time_up_to_the_timeout() {
        let start = Instant::now();
        let limits = Limits::default();
        let seconds = |received| (limits.deadline(start, received) - start).as_secs();
        assert_eq!(seconds(0), 5);
        assert_eq!(seconds(1_023), 5);
        assert_eq!(seconds(10 * 1_024), 15);
        assert_eq!(seconds(u64::MAX), 30);
    }

    #[test]
    fn any_setting_is_safe() {
        let start = Instant::now();
        let limits = Limits {
            timeout: Duration::MAX,
            bytes_per_second: 0,
            grace: Duration::MAX,
            ..Limits::default()
        };
        assert_eq!(limits.deadline(start, 0) - start, FOR_EVER);
    }
}
