use std::fmt;

/// Amounts in the two dimensions that are budgeted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_structs,
    reason = "the two dimensions are the promise"
)]
pub struct Units {
    /// Calls.
    pub requests: u64,
    /// Tokens of prompts and outputs.
    pub tokens: u64,
}

impl Units {
    /// Nothing.
    pub const ZERO: Self = Self::new(0, 0);

    /// The largest amount that one call is charged in either dimension, 2⁵³ − 1: the largest that
    /// every store can hold exactly.
    pub const MAX_COST: u64 = (1 << 53) - 1;

    /// These amounts.
    #[must_use]
    pub const fn new(requests: u64, tokens: u64) -> Self {
        Self { requests, tokens }
    }

    /// The same, but in neither dimension more than [`MAX_COST`](Self::MAX_COST).
    #[must_use]
    pub fn capped(self) -> Self {
        self.zip(Self::new(Self::MAX_COST, Self::MAX_COST), u64::min)
    }

    /// The amount in one dimension.
    #[must_use]
    pub const fn of(self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Requests => self.requests,
            Dimension::Tokens => self.tokens,
        }
    }

    pub(crate) fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self::new(
            f(self.requests, other.requests),
            f(self.tokens, other.tokens),
        )
    }

    pub(crate) fn saturating_sub(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dimension {
    /// Calls, RPM.
    Requests,
    /// Tokens, TPM.
    Tokens,
}

impl Dimension {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Requests, Self::Tokens];

    /// `requests` or `tokens`, as OpenAI's error types and headers spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
