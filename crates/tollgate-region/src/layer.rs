use std::{fmt, sync::Arc, time::Duration};

use http::HeaderName;
use tollgate_core::{Always, DefaultRender, Matcher, Render};
use tower_layer::Layer;

use crate::{
    ConfigError, ToUpstream, Unclassified, Upstreams,
    headers::check_forwardable,
    settings::{Common, Settings},
};

/// Sends each call to an upstream of its region. See the [crate docs](crate) for an example.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct UpstreamLayer<C = Unclassified, M = Always, R = DefaultRender> {
    upstreams: Upstreams,
    settings: Settings,
    classify: C,
    matcher: M,
    render: R,
}

impl UpstreamLayer {
    /// A layer that knows these upstreams.
    pub fn new(upstreams: Upstreams) -> Self {
        Self {
            upstreams,
            settings: Settings::default(),
            classify: Unclassified::default(),
            matcher: Always::default(),
            render: DefaultRender::default(),
        }
    }
}

impl<C, M, R> UpstreamLayer<C, M, R> {
    /// Understands the inner service's errors by `classify`, any `Fn(&E) -> Fault`.
    pub fn classify<C2>(self, classify: C2) -> UpstreamLayer<C2, M, R> {
        UpstreamLayer {
            upstreams: self.upstreams,
            settings: self.settings,
            classify,
            matcher: self.matcher,
            render: self.render,
        }
    }

    /// Sends only requests that match to an upstream; others pass to the inner service untouched.
    pub fn when<M2: Matcher>(self, matcher: M2) -> UpstreamLayer<C, M2, R> {
        UpstreamLayer {
            upstreams: self.upstreams,
            settings: self.settings,
            classify: self.classify,
            matcher,
            render: self.render,
        }
    }

    /// Renders refusals and errors with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> UpstreamLayer<C, M, R2> {
        UpstreamLayer {
            upstreams: self.upstreams,
            settings: self.settings,
            classify: self.classify,
            matcher: self.matcher,
            render,
        }
    }

    /// Bounds the time until the head of an answer, over all attempts of a call. Default: 120 s.
    /// An error's body is read within the same time.
    pub const fn head_timeout(mut self, timeout: Duration) -> Self {
        self.settings.head_timeout = timeout;
        self
    }

    /// Bounds the attempts of one call, the first included. Default: 3; no deployment is tried
    /// twice. Zero counts as one.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// Passes a request header on to the upstreams, for instance `traceparent`.
    ///
    /// # Errors
    ///
    /// If it holds credentials, belongs to a connection, or is the gateway's to set.
    pub fn forward_to_upstream(mut self, name: HeaderName) -> Result<Self, ConfigError> {
        check_forwardable(&name)?;
        self.settings.forwarded.to_upstream.push(name);
        Ok(self)
    }

    /// Passes a header of the upstreams' answers on to the callers.
    ///
    /// # Errors
    ///
    /// If it belongs to a connection, is the gateway's to set, or tells of the operator's side.
    pub fn forward_to_caller(mut self, name: HeaderName) -> Result<Self, ConfigError> {
        check_forwardable(&name)?;
        self.settings.forwarded.to_caller.push(name);
        Ok(self)
    }
}

impl<S, C, M, R> Layer<S> for UpstreamLayer<C, M, R>
where
    C: Clone,
    M: Clone,
    R: Clone,
{
    type Service = ToUpstream<S, C, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let common = Common {
            settings: self.settings.clone(),
            classify: self.classify.clone(),
            render: self.render.clone(),
        };
        ToUpstream::new(
            inner,
            self.upstreams.clone(),
            Arc::new(common),
            self.matcher.clone(),
        )
    }
}

impl<C, M, R> fmt::Debug for UpstreamLayer<C, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamLayer")
            .field("upstreams", &self.upstreams)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
