use std::num::NonZeroU64;

use crate::Dimension;

/// How much may be used in every stretch of a minute, and optionally of a second.
///
/// Not only in whole minutes of the clock: a quota of 500 requests holds between any two moments
/// that are 60 seconds apart. Zero cannot be written: who may use nothing should be refused
/// earlier.
///
/// ```
/// use std::num::NonZeroU64;
/// use tollgate_budget::Quota;
///
/// let requests = NonZeroU64::new(500).unwrap();
/// let tokens = NonZeroU64::new(60_000).unwrap();
/// let quota = Quota::per_minute(requests, tokens);
/// assert_eq!(quota.minute().requests, Some(requests));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    minute: Limit,
    second: Limit,
}

impl Quota {
    /// No limit: for those who may use whatever there is. What they use is still counted.
    pub const UNLIMITED: Self = Self::new(Limit::NONE);

    /// At most this many requests and tokens in a minute.
    #[must_use]
    pub const fn per_minute(requests: NonZeroU64, tokens: NonZeroU64) -> Self {
        Self::new(Limit {
            requests: Some(requests),
            tokens: Some(tokens),
        })
    }

    /// At most this many requests in a minute, and any number of tokens.
    #[must_use]
    pub const fn requests_per_minute(requests: NonZeroU64) -> Self {
        Self::new(Limit {
            requests: Some(requests),
            tokens: None,
        })
    }

    /// At most this many tokens in a minute, in any number of requests.
    #[must_use]
    pub const fn tokens_per_minute(tokens: NonZeroU64) -> Self {
        Self::new(Limit {
            requests: None,
            tokens: Some(tokens),
        })
    }

    /// At most as much as this in a minute, where either limit may be absent.
    ///
    /// ```
    /// use std::num::NonZeroU64;
    /// use tollgate_budget::{Limit, Quota};
    ///
    /// // As a configuration may have it, in which a missing number and zero are no limit.
    /// let (requests, tokens) = (Some(500), None);
    /// let limit = |number: Option<u64>| number.and_then(NonZeroU64::new);
    /// let quota = Quota::new(Limit {
    ///     requests: limit(requests),
    ///     tokens: limit(tokens),
    /// });
    /// assert_eq!(quota, Quota::requests_per_minute(NonZeroU64::new(500).unwrap()));
    /// ```
    #[must_use]
    pub const fn new(minute: Limit) -> Self {
        Self {
            minute,
            second: Limit::NONE,
        }
    }

    /// Smooths bursts of requests: at most this many in every second too.
    #[must_use]
    pub const fn requests_per_second(mut self, requests: NonZeroU64) -> Self {
        self.second.requests = Some(requests);
        self
    }

    /// Smooths bursts of tokens: at most this many in every second too. A single request that
    /// costs more is never admitted.
    #[must_use]
    pub const fn tokens_per_second(mut self, tokens: NonZeroU64) -> Self {
        self.second.tokens = Some(tokens);
        self
    }

    /// The limits of every minute.
    #[must_use]
    pub const fn minute(&self) -> Limit {
        self.minute
    }

    /// The limits of every second, by default none.
    #[must_use]
    pub const fn second(&self) -> Limit {
        self.second
    }
}

/// What one window may hold; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "the two dimensions are the promise"
)]
pub struct Limit {
    /// Requests.
    pub requests: Option<NonZeroU64>,
    /// Tokens.
    pub tokens: Option<NonZeroU64>,
}

impl Limit {
    /// No limit at all.
    pub const NONE: Self = Self {
        requests: None,
        tokens: None,
    };

    /// Whether nothing is limited.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }

    pub(crate) fn of(self, dimension: Dimension) -> Option<u64> {
        let limit = match dimension {
            Dimension::Requests => self.requests,
            Dimension::Tokens => self.tokens,
        };
        limit.map(NonZeroU64::get)
    }
}
