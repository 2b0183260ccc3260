use super::Fact;

/// What a call will cost, for routes that are metered without being chat completions.
///
/// Insert it before `BudgetLayer`: a tonic method, an embedding or an upload then draws on the same
/// budget as chat does. A [`UsageSlot`](crate::UsageSlot) filled later settles it.
///
/// ```
/// use http::request::Parts;
/// use tollgate_core::{Cost, GateLayer};
///
/// // Embeddings: about a token for each four bytes.
/// let layer = GateLayer::new(|head: &mut Parts| {
///     let length = head.headers.get("content-length").and_then(|value| value.to_str().ok());
///     let bytes = length.and_then(|text| text.parse().ok()).unwrap_or(1 << 20);
///     head.extensions.insert(Cost::tokens(u64::div_ceil(bytes, 4)));
///     Ok(())
/// });
/// # let _ = layer;
/// ```
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
