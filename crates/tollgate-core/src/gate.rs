//! The service that every layer deciding on a head alone shares.

use std::{
    any::type_name,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Always, DefaultRender, Dialect, Matcher, Rejection, Render, ResponseBody, Stamps};

/// Anything that can decide on the head of a request alone.
///
/// It may publish facts in the head's extensions. It must not block; any
/// `Fn(&mut Parts) -> Result<(), Rejection>` is a gate, and so is an `Arc` of one.
pub trait Gate {
    /// Admits the request or says why not.
    ///
    /// # Errors
    ///
    /// The refusal, which becomes the answer.
    fn admit(&self, head: &mut Parts) -> Result<(), Rejection>;
}

impl<F> Gate for F
where
    F: Fn(&mut Parts) -> Result<(), Rejection>,
{
    fn admit(&self, head: &mut Parts) -> Result<(), Rejection> {
        self(head)
    }
}

impl<G: Gate + ?Sized> Gate for Arc<G> {
    fn admit(&self, head: &mut Parts) -> Result<(), Rejection> {
        (**self).admit(head)
    }
}

/// Puts a [`Gate`] in front of a service. See the [crate docs](crate) for an example.
///
/// # Placement
///
/// Outside whatever holds a permit for each call (`Buffer`, `ConcurrencyLimit`): a refusal must
/// not use one up.
#[derive(Clone, Copy)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct GateLayer<G, M = Always, R = DefaultRender> {
    gate: G,
    matcher: M,
    render: R,
}

impl<G: Gate> GateLayer<G> {
    /// A layer that asks this gate about every request. The gate is cloned with each service, so
    /// it should be cheap to clone.
    pub fn new(gate: G) -> Self {
        Self {
            gate,
            matcher: Always,
            render: DefaultRender,
        }
    }
}

impl<G, M, R> GateLayer<G, M, R> {
    /// Asks the gate only about requests that match; others pass untouched.
    pub fn when<M2: Matcher>(self, matcher: M2) -> GateLayer<G, M2, R> {
        GateLayer {
            gate: self.gate,
            matcher,
            render: self.render,
        }
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> GateLayer<G, M, R2> {
        GateLayer {
            gate: self.gate,
            matcher: self.matcher,
            render,
        }
    }
}

impl<S, G, M, R> Layer<S> for GateLayer<G, M, R>
where
    G: Clone,
    M: Clone,
    R: Clone,
{
    type Service = Gated<S, G, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated {
            inner,
            gate: self.gate.clone(),
            matcher: self.matcher.clone(),
            render: self.render.clone(),
        }
    }
}

impl<G, M, R> fmt::Debug for GateLayer<G, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Closures have names, but are not `Debug`.
        f.debug_struct("GateLayer")
            .field("gate", &type_name::<G>())
            .field("matcher", &type_name::<M>())
            .field("render", &type_name::<R>())
            .finish()
    }
}

/// A service behind a [`Gate`].
#[derive(Clone, Copy)]
pub struct Gated<S, G, M = Always, R = DefaultRender> {
    inner: S,
    gate: G,
    matcher: M,
    render: R,
}

impl<S, G, M, R> Gated<S, G, M, R> {
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

impl<S, G, M, R, ReqB, ResB> Service<Request<ReqB>> for Gated<S, G, M, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    G: Gate,
    M: Matcher,
    R: Render + Clone,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        if !self.matcher.matches(&head) {
            let request = Request::from_parts(head, body);
            return GateFuture::pass(self.inner.call(request), None);
        }
        let mut stamps = Stamps::open(&mut head.extensions);
        match self.gate.admit(&mut head) {
            Ok(()) => {
                stamps.learn_region(&head.extensions);
                let request = Request::from_parts(head, body);
                GateFuture::pass(self.inner.call(request), Some(stamps))
            }
            Err(rejection) => GateFuture {
                kind: Kind::Refused {
                    refusal: Some((stamps, rejection)),
                    dialect: Dialect::of(&head.headers),
                    render: self.render.clone(),
                },
            },
        }
    }
}

impl<S: fmt::Debug, G, M, R> fmt::Debug for Gated<S, G, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated")
            .field("inner", &self.inner)
            .field("gate", &type_name::<G>())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of a [`Gated`] service.
    #[derive(Debug)]
    pub struct GateFuture<F, R> {
        #[pin]
        kind: Kind<F, R>,
    }
}

impl<F, R> GateFuture<F, R> {
    fn pass(future: F, stamps: Option<Stamps>) -> Self {
        Self {
            kind: Kind::Passed { future, stamps },
        }
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProj]
    enum Kind<F, R> {
        Passed {
            #[pin]
            future: F,
            stamps: Option<Stamps>,
        },
        Refused {
            refusal: Option<(Stamps, Rejection)>,
            dialect: Dialect,
            render: R,
        },
    }
}

impl<F, R, ResB, E> Future for GateFuture<F, R>
where
    F: Future<Output = Result<Response<ResB>, E>>,
    R: Render,
{
    type Output = Result<Response<ResponseBody<ResB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Passed { future, stamps } => {
                let mut response = ready!(future.poll(cx))?;
                if let Some(stamps) = stamps {
                    stamps.pass(response.headers_mut());
                }
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            KindProj::Refused {
                refusal,
                dialect,
                render,
            } => {
                let (stamps, rejection) = refusal.take().expect("future polled after completion");
                let response = stamps.refuse(rejection, *dialect, render);
                Poll::Ready(Ok(response.map(ResponseBody::local)))
            }
        }
    }
}
