use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, Response, request::Parts};
use http_body::Body;
use tokio::time::Instant;
use tollgate_core::{
    Always, DefaultRender, Dialect, Fact, Matcher, Model, Region, Rejection, RejectionKind, Render,
    RequestBody, RequestId, SharedBody, Stamps,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Classify, ConfigError, Unclassified, UpstreamBody, Upstreams,
    future::{Call, Replay, UpstreamFuture, attempt},
    headers::{Forwarded, check_forwardable},
    health::Blocked,
    pool::{Lease, Pool},
};

/// Sends each call to an upstream of its region. See the [crate docs](crate) for an example.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct UpstreamLayer<C = Unclassified, M = Always, R = DefaultRender> {
    upstreams: Upstreams,
    settings: Settings<C, R>,
    matcher: M,
}

/// What every call looks up.
pub(crate) struct Settings<C, R> {
    pub(crate) classify: C,
    pub(crate) render: R,
    pub(crate) forwarded: Forwarded,
    pub(crate) head_timeout: Duration,
    pub(crate) attempts: usize,
}

impl UpstreamLayer {
    /// A layer that knows these upstreams.
    pub fn new(upstreams: Upstreams) -> Self {
        Self {
            upstreams,
            settings: Settings {
                classify: Unclassified::default(),
                render: DefaultRender::default(),
                forwarded: Forwarded::default(),
                head_timeout: DEFAULT_HEAD_TIMEOUT,
                attempts: DEFAULT_ATTEMPTS,
            },
            matcher: Always::default(),
        }
    }
}

impl<C, M, R> UpstreamLayer<C, M, R> {
    /// Understands the inner service's errors by `classify`, any `Fn(&E) -> Fault`.
    pub fn classify<C2>(self, classify: C2) -> UpstreamLayer<C2, M, R> {
        let Settings {
            render,
            forwarded,
            head_timeout,
            attempts,
            ..
        } = self.settings;
        UpstreamLayer {
            upstreams: self.upstreams,
            settings: Settings {
                classify,
                render,
                forwarded,
                head_timeout,
                attempts,
            },
            matcher: self.matcher,
        }
    }

    /// Sends only requests that match to an upstream; others pass to the inner service untouched.
    pub fn when<M2>(self, matcher: M2) -> UpstreamLayer<C, M2, R> {
        UpstreamLayer {
            upstreams: self.upstreams,
            settings: self.settings,
            matcher,
        }
    }

    /// Renders refusals and errors with `render` in place of [`DefaultRender`].
    pub fn render<R2>(self, render: R2) -> UpstreamLayer<C, M, R2> {
        let Settings {
            classify,
            forwarded,
            head_timeout,
            attempts,
            ..
        } = self.settings;
        UpstreamLayer {
            upstreams: self.upstreams,
            settings: Settings {
                classify,
                render,
                forwarded,
                head_timeout,
                attempts,
            },
            matcher: self.matcher,
        }
    }

    /// Bounds the time until the head of an answer, over all attempts of a call. Default: 120 s.
    /// An error's body is read within the same time.
    pub const fn head_timeout(mut self, timeout: Duration) -> Self {
        self.settings.head_timeout = timeout;
        self
    }

    /// Bounds the attempts of one call, the first included. Default: 3; no deployment is tried
    /// twice.
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
        ToUpstream {
            inner,
            upstreams: self.upstreams.clone(),
            settings: Arc::new(self.settings.clone()),
            matcher: self.matcher.clone(),
        }
    }
}

impl<C: Clone, M: Clone, R: Clone> Clone for UpstreamLayer<C, M, R> {
    fn clone(&self) -> Self {
        Self {
            upstreams: self.upstreams.clone(),
            settings: self.settings.clone(),
            matcher: self.matcher.clone(),
        }
    }
}

impl<C, M, R> fmt::Debug for UpstreamLayer<C, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamLayer")
            .field("upstreams", &self.upstreams)
            .finish_non_exhaustive()
    }
}

impl<C: Clone, R: Clone> Clone for Settings<C, R> {
    fn clone(&self) -> Self {
        Self {
            classify: self.classify.clone(),
            render: self.render.clone(),
            forwarded: self.forwarded.clone(),
            head_timeout: self.head_timeout,
            attempts: self.attempts,
        }
    }
}

/// A client behind the choice of an upstream: the service made by [`UpstreamLayer`].
pub struct ToUpstream<S, C = Unclassified, M = Always, R = DefaultRender> {
    inner: S,
    upstreams: Upstreams,
    settings: Arc<Settings<C, R>>,
    matcher: M,
}

impl<S, C, M, R> ToUpstream<S, C, M, R> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// What is decided before anything is sent.
    fn plan(&self, head: &Parts) -> Result<(Arc<Pool>, Lease), Rejection> {
        let region = Region::require(&head.extensions)?;
        let model = Model::require(&head.extensions)?;
        let Some(pool) = self.upstreams.pool(region, model.name()) else {
            let detail = format!(
                "no upstream serves model `{}` in region `{region}`",
                model.name()
            );
            return Err(Rejection::new(RejectionKind::UpstreamUnavailable)
                .with_should_retry(false)
                .with_detail(detail));
        };
        let lease = pool.take(&[]).ok_or_else(|| exhausted(pool))?;
        check_region(&lease, region, pool)?;
        // Only the body can say to this upstream which model is meant, and what it says is only
        // known if it was read.
        if lease.target.model_json.is_some() {
            SharedBody::require(&head.extensions)?;
        }
        Ok((Arc::clone(pool), lease))
    }
}

impl<S, C, M, R, B, P> Service<Request<B>> for ToUpstream<S, C, M, R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<P>> + Clone,
    P: Body<Data = Bytes>,
    C: Classify<S::Error>,
    M: Matcher,
    R: Render,
{
    type Response = Response<UpstreamBody<P>>;
    type Error = S::Error;
    type Future = UpstreamFuture<S, S::Future, B, P, C, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        if !self.matcher.matches(&head) {
            let request = Request::from_parts(head, RequestBody::streaming(body));
            return UpstreamFuture::pass(self.inner.call(request));
        }
        let stamps = Stamps::open(&mut head.extensions);
        let dialect = Dialect::of(&head.headers);
        let settings = Arc::clone(&self.settings);
        let (pool, lease) = match self.plan(&head) {
            Ok(plan) => plan,
            Err(rejection) => return UpstreamFuture::refuse(stamps, rejection, dialect, settings),
        };
        let tally = &pool.shared.tally;
        tally.calls.fetch_add(1, Relaxed);
        pool.shared.retries.deposit();

        let id = RequestId::of(&head.extensions);
        let outgoing = settings.forwarded.request(&head.headers, id);
        let shared = SharedBody::of(&head.extensions).cloned();
        if shared.is_none() {
            tally.not_replayable.fetch_add(1, Relaxed);
        }
        let can_replay = settings.attempts > 1 && pool.has_alternatives();
        let replay = shared.as_ref().filter(|_| can_replay).map(|shared| Replay {
            service: self.inner.clone(),
            outgoing: outgoing.clone(),
            extensions: head.extensions.clone(),
            shared: shared.clone(),
        });
        let body = match &shared {
            Some(shared) => Ok(shared),
            None => Err(body),
        };
        let request = attempt(&lease.target, outgoing, head.extensions, body);
        let now = Instant::now();
        let deadline = now.checked_add(settings.head_timeout);
        let deadline = deadline.unwrap_or(now + FOR_EVER);
        let call = Call {
            settings,
            pool,
            stamps,
            dialect,
            deadline,
            replay,
            lease,
            tried: Vec::new(),
        };
        UpstreamFuture::send(call, self.inner.call(request))
    }
}

impl<S: Clone, C, M: Clone, R> Clone for ToUpstream<S, C, M, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            upstreams: self.upstreams.clone(),
            settings: Arc::clone(&self.settings),
            matcher: self.matcher.clone(),
        }
    }
}

impl<S: fmt::Debug, C, M, R> fmt::Debug for ToUpstream<S, C, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToUpstream")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// The answer when every deployment is resting.
fn exhausted(pool: &Pool) -> Rejection {
    match pool.blocked() {
        // Not a budget of this gateway, but to the caller it is the same thing.
        Some(Blocked::Cooling(wait)) => {
            Rejection::new(RejectionKind::BudgetExceeded).with_retry_after(wait)
        }
        Some(Blocked::Open(wait)) => {
            Rejection::new(RejectionKind::UpstreamUnavailable).with_retry_after(wait)
        }
        None => Rejection::new(RejectionKind::UpstreamUnavailable),
    }
}

/// Pools hold one region's upstreams by construction. Should that ever fail, no call leaves.
pub(crate) fn check_region(lease: &Lease, region: &Region, pool: &Pool) -> Result<(), Rejection> {
    if lease.target.region == *region {
        return Ok(());
    }
    pool.shared.tally.cross_region.fetch_add(1, Relaxed);
    Err(Rejection::new(RejectionKind::UpstreamUnavailable).with_should_retry(false))
}

const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// As long as a clock is certain to reach.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);
const DEFAULT_ATTEMPTS: usize = 3;
