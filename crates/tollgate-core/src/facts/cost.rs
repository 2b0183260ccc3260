use super::Fact;

/// What a call will cost, for routes that are metered without being chat completions.
///
/// Insert it before `BudgetLayer`: a tonic method, an embedding or an upload then draws on the same
/// budget as chat does. A [`UsageSlot`](crate::UsageSlot) filled later settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Requests, usually 1.
    pub requests: u64,
    /// Tokens to reserve before the call.
    pub tokens: u64,
}

impl Cost {
    /// One request and this many tokens.
    #[must_use]
    pub const fn tokens(tokens: u64) -> Self {
        Self {
            requests: 1,
            tokens,
        }
    }
}

impl Fact for Cost {
    const NAME: &'static str = "Cost";
    const WRITTEN_BY: &'static str = "your own middleware";
}
