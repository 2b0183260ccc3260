use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tollgate_core::{
    Always, DefaultRender, Dialect, Matcher, Render, RequestBody, ResponseBody, Stamps,
};
use tower_service::Service;

use crate::{Policy, future::ValidateFuture, head, limits::Limits};

/// A service whose requests have been read and checked by a [`ValidateLayer`].
///
/// [`ValidateLayer`]: crate::ValidateLayer
#[derive(Clone)]
pub struct Validate<S, M = Always, R = DefaultRender> {
    pub(crate) inner: S,
    pub(crate) policy: Arc<Policy>,
    pub(crate) limits: Limits,
    pub(crate) matcher: M,
    pub(crate) render: R,
}

impl<S, M, R> Validate<S, M, R> {
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
}

impl<S, M, R, ReqB, ResB> Service<Request<ReqB>> for Validate<S, M, R>
where
    S: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>> + Clone,
    M: Matcher,
    R: Render + Clone,
    ReqB: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ValidateFuture<S, S::Future, ReqB, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        if !self.matcher.matches(&head) {
            let request = Request::from_parts(head, RequestBody::streaming(body));
            return ValidateFuture::pass(self.inner.call(request));
        }
        let stamps = Stamps::open(&mut head.extensions);
        match head::check(&head, self.limits.max_bytes) {
            Ok(declared) => {
                // The clone has not been polled ready; what was goes into the future.
                let fresh = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, fresh);
                let policy = Arc::clone(&self.policy);
                let read = crate::read::Read::new(body, self.limits, declared);
                ValidateFuture::read(ready, policy, head, read, stamps, self.render.clone())
            }
            Err(rejection) => {
                let dialect = Dialect::of(&head.headers);
                ValidateFuture::refuse(rejection, stamps, dialect, self.render.clone())
            }
        }
    }
}

impl<S: fmt::Debug, M, R> fmt::Debug for Validate<S, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validate")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
