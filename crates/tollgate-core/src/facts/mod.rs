//! What one layer learns about a request and others rely on.

mod chat;
mod cost;
mod identity;
mod model;
mod upstream;
mod usage;

use http::Extensions;

pub use chat::{
    ChatRequest, ChatRequestBuilder, ImageDetail, ImageInput, InputKind, OutputCap, TokenInput,
    TokenInputs,
};
pub use cost::Cost;
pub use identity::{IllegalRegion, Region, RequestId, Workspace};
pub use model::{Feature, Features, Model, UnknownFeature};
pub use upstream::{AttemptSettings, UpstreamFault};
pub use usage::{Usage, UsageSlot};

use crate::Rejection;

/// A typed value that is learnt once about a request and carried in its extensions.
///
/// Facts are cheap to clone and immutable: a layer that decides otherwise inserts a new value.
/// Not sealed: your own middleware may write ours, and your own facts may travel beside them.
///
/// ```
/// use tollgate_core::{Fact, Rejection, Workspace};
///
/// let mut request = http::Request::new(());
/// assert!(Workspace::require(request.extensions()).is_err());
/// request.extensions_mut().insert(Workspace::new("acme"));
/// assert_eq!(Workspace::require(request.extensions()).unwrap().as_str(), "acme");
/// ```
#[diagnostic::on_unimplemented(
    note = "a fact of your own says what it is called and who writes it: \
            `impl Fact for {Self} {{ const NAME: &str = ..; const WRITTEN_BY: &str = ..; }}`"
)]
pub trait Fact: Clone + Send + Sync + 'static {
    /// The fact's name, for the log line about its absence.
    const NAME: &'static str;

    /// Who usually writes it, for the same line.
    const WRITTEN_BY: &'static str;

    /// The fact, if it is known.
    // Each layer asks, and each copy of a look-up is more code to fetch for every call.
    #[inline(never)]
    #[must_use]
    fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The fact, for a layer that cannot do without.
    ///
    /// # Errors
    ///
    /// [`Rejection::missing_fact`] if nobody has written it.
    fn require(extensions: &Extensions) -> Result<&Self, Rejection> {
        Self::of(extensions).ok_or_else(|| Rejection::missing_fact(Self::NAME, Self::WRITTEN_BY))
    }
}
