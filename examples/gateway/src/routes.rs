//! What is served where.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::{Either, MapOk, TryFutureExt};
use http::{
    HeaderValue, Method, Request, Response,
    header::{ALLOW, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{Either as EitherBody, Full};
use tollgate::{Rejection, RejectionKind};
use tower::Service;

/// Something that is served in each region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST …/chat/completions`
    Chat,
    /// `GET …/models` and `GET …/models/{id}`
    Models,
}

impl Route {
    /// The region's name, absent for the default region, and what is served there.
    pub(crate) fn of(path: &str) -> Option<(Option<&str>, Self)> {
        let (region, path) = match path.strip_prefix("/openai/") {
            Some(path) => {
                let (region, path) = path.split_once('/')?;
                (Some(region), path)
            }
            None => (None, path.strip_prefix('/')?),
        };
        let route = match path.strip_prefix("v1/")? {
            "chat/completions" => Self::Chat,
            "models" => Self::Models,
            path => {
                let id = path.strip_prefix("models/")?;
                (!id.is_empty() && !id.contains('/')).then_some(Self::Models)?
            }
        };
        Some((region, route))
    }

    /// A gate that publishes the route of a request and refuses other methods than its own.
    pub(crate) fn check(head: &mut Parts) -> Result<(), Rejection> {
        let (_, route) =
            Self::of(head.uri.path()).ok_or_else(|| Rejection::new(RejectionKind::NotFound))?;
        let (is_served, allow) = match route {
            Self::Chat => (head.method == Method::POST, "POST"),
            Self::Models => (
                matches!(head.method, Method::GET | Method::HEAD),
                "GET, HEAD",
            ),
        };
        if !is_served {
            return Err(not_allowed(&head.method, &route)
                .with_header(ALLOW, HeaderValue::from_static(allow)));
        }
        head.extensions.insert(route);
        Ok(())
    }
}

/// OpenAI's words. A method that is no standard one is not repeated.
fn not_allowed(method: &Method, route: &Route) -> Rejection {
    let rejection = Rejection::new(RejectionKind::MethodNotAllowed);
    let path = match route {
        Route::Chat => "/v1/chat/completions",
        Route::Models => "/v1/models",
    };
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::PATCH
        | Method::OPTIONS
        | Method::TRACE => rejection.with_message(format!(
            "Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP \
             method?)"
        )),
        _ => rejection,
    }
}

/// Sends each request to the service of its [`Route`].
#[derive(Clone, Debug)]
pub(crate) struct Leaves<C, M> {
    pub(crate) chat: C,
    pub(crate) models: M,
}

impl<C, M, B, CB, MB> Service<Request<B>> for Leaves<C, M>
where
    C: Service<Request<B>, Response = Response<CB>>,
    M: Service<Request<B>, Response = Response<MB>, Error = C::Error>,
{
    type Response = Response<EitherBody<CB, MB>>;
    type Error = C::Error;
    type Future = Either<Mapped<C::Future, CB, CB, MB>, Mapped<M::Future, MB, CB, MB>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        std::task::ready!(self.chat.poll_ready(cx))?;
        self.models.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match request.extensions().get() {
            Some(Route::Models) => Either::Right(self.models.call(request).map_ok(right)),
            Some(Route::Chat) | None => Either::Left(self.chat.call(request).map_ok(left)),
        }
    }
}

/// Puts `GET /healthz` beside everything else.
pub(crate) fn front_door<S>(inner: S) -> FrontDoor<S> {
    FrontDoor { inner }
}

/// Whether somebody only asks if the process lives.
pub(crate) fn is_health<B>(request: &Request<B>) -> bool {
    request.uri().path() == "/healthz" && matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The service of [`front_door`].
#[derive(Clone, Debug)]
pub(crate) struct FrontDoor<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for FrontDoor<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<EitherBody<R, Full<Bytes>>>;
    type Error = S::Error;
    type Future =
        Either<Mapped<S::Future, R, R, Full<Bytes>>, Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if is_health(&request) {
            return Either::Right(ready(Ok(right(healthy()))));
        }
        Either::Left(self.inner.call(request).map_ok(left))
    }
}

type Mapped<F, B, L, R> = MapOk<F, fn(Response<B>) -> Response<EitherBody<L, R>>>;

fn left<L, R>(response: Response<L>) -> Response<EitherBody<L, R>> {
    response.map(EitherBody::Left)
}

fn right<L, R>(response: Response<R>) -> Response<EitherBody<L, R>> {
    response.map(EitherBody::Right)
}

fn healthy() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok\n")));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_spelt_strictly() {
        let chat = Some((Some("eu"), Route::Chat));
        assert_eq!(Route::of("/openai/eu/v1/chat/completions"), chat);
        assert_eq!(Route::of("/v1/models"), Some((None, Route::Models)));
        assert_eq!(Route::of("/v1/models/gpt-4.1"), Some((None, Route::Models)));
        for wrong in [
            "",
            "/",
            "*",
            "/openai/eu/v1/chat/completions/",
            "/openai/eu/chat/completions",
            "/openai/eu/v1",
            "/openai//v1/models/",
            "/openai/eu/v1/models/",
            "/openai/eu/v1/models/a/b",
            "/openai/v1/models",
            "//v1/models",
            "/V1/models",
        ] {
            assert_eq!(Route::of(wrong), None, "{wrong}");
        }
    }
}
