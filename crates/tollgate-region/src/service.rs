use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use tokio::time::Instant;
use tollgate_core::{
    Always, DefaultRender, Dialect, Fact, Matcher, Model, Region, Rejection, RejectionKind, Render,
    RequestBody, RequestId, SharedBody, Stamps,
};
use tower_service::Service;

use crate::{
    Classify, Unclassified, UpstreamBody, Upstreams,
    call::{Call, Replay, attempt},
    future::UpstreamFuture,
    health::Blocked,
    pool::{Lease, Pool},
    settings::Common,
};

/// A client behind the choice of an upstream: the service made by
/// [`UpstreamLayer`](crate::UpstreamLayer).
pub struct ToUpstream<S, C = Unclassified, M = Always, R = DefaultRender> {
    inner: S,
    upstreams: Upstreams,
    common: Arc<Common<C, R>>,
    matcher: M,
}

impl<S, C, M, R> ToUpstream<S, C, M, R> {
    pub(crate) const fn new(
        inner: S,
        upstreams: Upstreams,
        common: Arc<Common<C, R>>,
        matcher: M,
    ) -> Self {
        Self {
            inner,
            upstreams,
            common,
            matcher,
        }
    }

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
            let model = model.name();
            let detail = format!("no upstream serves model `{model}` in region `{region}`");
            return Err(Rejection::new(RejectionKind::UpstreamUnavailable)
                .with_should_retry(false)
                .with_detail(detail));
        };
        let lease = pool.take_first().ok_or_else(|| exhausted(pool))?;
        pool.check(&lease, region)?;
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
        let common = Arc::clone(&self.common);
        let (pool, lease) = match self.plan(&head) {
            Ok(plan) => plan,
            Err(rejection) => return UpstreamFuture::refuse(stamps, rejection, dialect, common),
        };
        let settings = &common.settings;
        let tally = &pool.shared.tally;
        tally.calls.fetch_add(1, Relaxed);

        let id = RequestId::of(&head.extensions);
        let outgoing = settings.forwarded.request(&head.headers, id);
        let shared = SharedBody::of(&head.extensions).cloned();
        if shared.is_none() {
            tally.not_replayable.fetch_add(1, Relaxed);
        }
        let can_replay = settings.attempts > 1 && pool.has_alternatives();
        let replay = shared.as_ref().filter(|_| can_replay).map(|shared| {
            Box::new(Replay {
                service: self.inner.clone(),
                outgoing: outgoing.clone(),
                extensions: head.extensions.clone(),
                shared: shared.clone(),
            })
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
            common,
            pool,
            stamps,
            dialect,
            deadline,
            replay,
            lease,
            tried: Vec::new(),
        };
        match request {
            Ok(request) => UpstreamFuture::send(call, self.inner.call(request)),
            Err(verdict) => UpstreamFuture::fail(call, verdict),
        }
    }
}

impl<S: Clone, C, M: Clone, R> Clone for ToUpstream<S, C, M, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            upstreams: self.upstreams.clone(),
            common: Arc::clone(&self.common),
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

/// As long as a clock is certain to reach.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);
