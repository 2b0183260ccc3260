use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tollgate_core::{Always, ByteRule, DefaultRender, Matcher, Render, TokenCounter};
use tower_layer::Layer;
use tower_service::Service;

use crate::{BudgetBody, BudgetFuture, ByWorkspaceAndModel, FindKey, Limits, Store};

/// Admits calls while their budgets have room, and settles them by what they used. See the
/// [crate docs](crate).
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct BudgetLayer<St, C = ByteRule, K = ByWorkspaceAndModel, M = Always, R = DefaultRender> {
    rules: Rules<St, C, K>,
    matcher: M,
    render: R,
}

/// What decides on a call.
#[derive(Clone)]
pub(crate) struct Rules<St, C, K> {
    pub(crate) store: St,
    pub(crate) limits: Limits,
    pub(crate) counter: C,
    pub(crate) key: K,
}

impl<St: Store> BudgetLayer<St> {
    /// Counts in this store, under these limits.
    pub fn new(store: St, limits: Limits) -> Self {
        Self {
            rules: Rules {
                store,
                limits,
                counter: ByteRule::default(),
                key: ByWorkspaceAndModel,
            },
            matcher: Always::default(),
            render: DefaultRender::default(),
        }
    }
}

impl<St, C, K, M, R> BudgetLayer<St, C, K, M, R> {
    /// Counts prompts with this in place of the [`ByteRule`]. It should be cheap to clone.
    ///
    /// It is asked for bounds first, and for a count only where these are further apart than a
    /// thousandth of the limit on tokens.
    pub fn counter<C2>(self, counter: C2) -> BudgetLayer<St, C2, K, M, R> {
        BudgetLayer {
            rules: Rules {
                store: self.rules.store,
                limits: self.rules.limits,
                counter,
                key: self.rules.key,
            },
            matcher: self.matcher,
            render: self.render,
        }
    }

    /// Finds the budget of a request with this, in place of [`ByWorkspaceAndModel`].
    pub fn key<K2: FindKey>(self, key: K2) -> BudgetLayer<St, C, K2, M, R> {
        BudgetLayer {
            rules: Rules {
                store: self.rules.store,
                limits: self.rules.limits,
                counter: self.rules.counter,
                key,
            },
            matcher: self.matcher,
            render: self.render,
        }
    }

    /// Decides only on requests that match; others pass untouched and cost nothing.
    pub fn when<M2>(self, matcher: M2) -> BudgetLayer<St, C, K, M2, R> {
        BudgetLayer {
            rules: self.rules,
            matcher,
            render: self.render,
        }
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2>(self, render: R2) -> BudgetLayer<St, C, K, M, R2> {
        BudgetLayer {
            rules: self.rules,
            matcher: self.matcher,
            render,
        }
    }
}

impl<S, St, C, K, M, R> Layer<S> for BudgetLayer<St, C, K, M, R>
where
    St: Clone,
    C: Clone,
    K: Clone,
    M: Clone,
    R: Clone,
{
    type Service = Budget<S, St, C, K, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Budget {
            inner,
            rules: Arc::new(self.rules.clone()),
            matcher: self.matcher.clone(),
            render: self.render.clone(),
        }
    }
}

impl<St, C, K, M, R> fmt::Debug for BudgetLayer<St, C, K, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetLayer").finish_non_exhaustive()
    }
}

/// A service behind a [`BudgetLayer`].
pub struct Budget<S, St, C = ByteRule, K = ByWorkspaceAndModel, M = Always, R = DefaultRender> {
    inner: S,
    rules: Arc<Rules<St, C, K>>,
    matcher: M,
    render: R,
}

impl<S, St, C, K, M, R> Budget<S, St, C, K, M, R> {
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

impl<S, St, C, K, M, R, ReqB, ResB> Service<Request<ReqB>> for Budget<S, St, C, K, M, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    St: Store,
    C: TokenCounter,
    K: FindKey,
    M: Matcher,
    R: Render + Clone,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<BudgetBody<ResB, St>>;
    type Error = S::Error;
    type Future = BudgetFuture<S, ReqB, St, C, K, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (head, body) = request.into_parts();
        let is_ours = self.matcher.matches(&head);
        let request = Request::from_parts(head, body);
        if !is_ours {
            return BudgetFuture::pass(self.inner.call(request));
        }
        // The instance that was polled ready is the one that will be called.
        let fresh = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, fresh);
        BudgetFuture::decide(ready, request, Arc::clone(&self.rules), self.render.clone())
    }
}

impl<S: Clone, St, C, K, M: Clone, R: Clone> Clone for Budget<S, St, C, K, M, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            rules: Arc::clone(&self.rules),
            matcher: self.matcher.clone(),
            render: self.render.clone(),
        }
    }
}

impl<S: fmt::Debug, St, C, K, M, R> fmt::Debug for Budget<S, St, C, K, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
