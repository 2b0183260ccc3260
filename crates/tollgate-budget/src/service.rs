use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tollgate_core::{Always, ByteRule, DefaultRender, Matcher, Render, TokenCounter};
use tower_service::Service;

use crate::{
    BudgetBody, BudgetFuture, ByWorkspaceAndModel, Cancel, Departure, FindKey, Store, rules::Rules,
};

/// A service behind a [`BudgetLayer`](crate::BudgetLayer).
#[derive(Clone)]
pub struct Budget<
    S,
    St,
    C = ByteRule,
    K = ByWorkspaceAndModel,
    M = Always,
    R = DefaultRender,
    D = Cancel,
> {
    pub(crate) inner: S,
    pub(crate) rules: Arc<Rules<St, C, K>>,
    pub(crate) matcher: M,
    pub(crate) render: R,
    pub(crate) departure: D,
}

impl<S, St, C, K, M, R, D> Budget<S, St, C, K, M, R, D> {
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

impl<S, St, C, K, M, R, D, ReqB, ResB> Service<Request<ReqB>> for Budget<S, St, C, K, M, R, D>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    St: Store,
    C: TokenCounter,
    K: FindKey,
    M: Matcher,
    R: Render + Clone,
    D: Departure<BudgetBody<ResB, St>> + Clone,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<D::Body>;
    type Error = S::Error;
    type Future = BudgetFuture<S, ReqB, St, C, K, R, D>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (head, body) = request.into_parts();
        let departure = self.departure.clone();
        if !self.matcher.matches(&head) {
            let request = Request::from_parts(head, body);
            return BudgetFuture::pass(self.inner.call(request), departure);
        }
        // The instance that was polled ready is the one that will be called.
        let fresh = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, fresh);
        let (rules, render) = (Arc::clone(&self.rules), self.render.clone());
        BudgetFuture::decide(ready, head, body, rules, render, departure)
    }
}

impl<S: fmt::Debug, St, C, K, M, R, D> fmt::Debug for Budget<S, St, C, K, M, R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
