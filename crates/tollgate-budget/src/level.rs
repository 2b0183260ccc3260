use std::{borrow::Cow, sync::Arc};

use http::request::Parts;

use crate::Quota;

/// Finds a further budget that a request draws on, beside that of its key.
///
/// For instance one for a whole workspace over all models, or one for each end user within it. All
/// budgets of a request are charged together or not at all. `None`: this request has none of this
/// kind.
///
/// Any `Fn(&Parts) -> Option<(Cow<'static, str>, Quota)>` is a level. The name says which budget
/// of this kind it is; it belongs to the workspace of the request's key.
///
/// ```
/// # use std::{borrow::Cow, num::NonZeroU64};
/// use http::request::Parts;
/// use tollgate_budget::{BudgetLayer, Limits, MemoryStore, Quota};
/// use tollgate_core::{ChatRequest, Fact};
///
/// # let n = |n| NonZeroU64::new(n).unwrap();
/// let layer = BudgetLayer::new(MemoryStore::new(), Limits::new(Quota::per_minute(n(500), n(60_000))))
///     // All models of a workspace together.
///     .also("workspace", move |_: &Parts| {
///         Some((Cow::Borrowed(""), Quota::tokens_per_minute(n(200_000))))
///     })
///     // Each end user that the caller names.
///     .also("user", move |head: &Parts| {
///         let user = ChatRequest::of(&head.extensions)?.user()?;
///         Some((Cow::Owned(user.to_owned()), Quota::requests_per_minute(n(20))))
///     });
/// # let _ = layer;
/// ```
pub trait Level: Send + Sync + 'static {
    /// The name and the quota of the budget.
    fn find(&self, head: &Parts) -> Option<(Cow<'static, str>, Quota)>;
}

impl<F> Level for F
where
    F: Fn(&Parts) -> Option<(Cow<'static, str>, Quota)> + Send + Sync + 'static,
{
    fn find(&self, head: &Parts) -> Option<(Cow<'static, str>, Quota)> {
        self(head)
    }
}

impl<L: Level + ?Sized> Level for Arc<L> {
    fn find(&self, head: &Parts) -> Option<(Cow<'static, str>, Quota)> {
        (**self).find(head)
    }
}
