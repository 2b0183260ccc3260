use std::{fmt, sync::Arc, time::Duration};

use tollgate_core::{Always, DefaultRender, Matcher, Render};
use tower_layer::Layer;

use crate::{Policy, limits::Limits, service::Validate};

/// Reads and checks the body of each request. See the [crate docs](crate) for an example.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct ValidateLayer<M = Always, R = DefaultRender> {
    policy: Arc<Policy>,
    limits: Limits,
    matcher: M,
    render: R,
}

impl ValidateLayer {
    /// Checks requests by this policy.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            limits: Limits::default(),
            matcher: Always::default(),
            render: DefaultRender::default(),
        }
    }
}

impl<M, R> ValidateLayer<M, R> {
    /// Sets how many bytes a body may have. Default: 16 MiB. More is refused with 413, unread if
    /// the length is declared.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// Sets how long a body may take to arrive, from the moment that it is waited for. Default:
    /// 30 s. A body that takes longer is refused with 408.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// Sets how fast a body must arrive: so many bytes for each second after the first `grace`.
    /// Default: 1,024 bytes after 5 s; 0 bytes allow any pace. A slower body is refused with 408.
    pub fn min_body_rate(mut self, bytes_per_second: u64, grace: Duration) -> Self {
        self.limits.bytes_per_second = bytes_per_second;
        self.limits.grace = grace;
        self
    }

    /// Decides only on requests that match; others pass untouched, their bodies unread.
    pub fn when<M2: Matcher>(self, matcher: M2) -> ValidateLayer<M2, R> {
        ValidateLayer {
            policy: self.policy,
            limits: self.limits,
            matcher,
            render: self.render,
        }
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> ValidateLayer<M, R2> {
        ValidateLayer {
            policy: self.policy,
            limits: self.limits,
            matcher: self.matcher,
            render,
        }
    }
}

/// The [compatible](Policy::compatible) policy.
impl Default for ValidateLayer {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl<S, M, R> Layer<S> for ValidateLayer<M, R>
where
    M: Clone,
    R: Clone,
{
    type Service = Validate<S, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Validate {
            inner,
            policy: Arc::clone(&self.policy),
            limits: self.limits,
            matcher: self.matcher.clone(),
            render: self.render.clone(),
        }
    }
}

impl<M, R> fmt::Debug for ValidateLayer<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidateLayer")
            .field("policy", &self.policy)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
