use std::sync::Arc;

use http::request::Parts;

/// Which requests a layer decides on: the argument of each layer's `.when(..)`.
///
/// What does not match passes untouched, its body unread. Any `Fn(&Parts) -> bool` is a matcher,
/// and so is an `Arc` of one.
///
/// ```
/// use http::{Method, request::Parts};
/// # fn takes(_: impl tollgate_core::Matcher) {}
/// takes(|head: &Parts| head.method == Method::POST && head.uri.path().ends_with("/chat/completions"));
/// ```
pub trait Matcher {
    /// Whether the layer decides on this request.
    fn matches(&self, head: &Parts) -> bool;
}

impl<F> Matcher for F
where
    F: Fn(&Parts) -> bool,
{
    fn matches(&self, head: &Parts) -> bool {
        self(head)
    }
}

impl<M: Matcher + ?Sized> Matcher for Arc<M> {
    fn matches(&self, head: &Parts) -> bool {
        (**self).matches(head)
    }
}

/// Every request: the default. Which requests reach a layer is routing's business.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Always;

impl Matcher for Always {
    fn matches(&self, _head: &Parts) -> bool {
        true
    }
}
