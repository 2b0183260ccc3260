use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request::Parts,
};
use http_body::Body;
use pin_project_lite::pin_project;
use tollgate_core::{Dialect, Rejection, Render, RequestBody, ResponseBody, Stamps};
use tower_service::Service;

use crate::{
    Policy,
    check::{Checked, check},
    read::Read,
};

pin_project! {
    /// The answer of a [`Validate`](crate::Validate) service.
    ///
    /// Dropping it at any point leaves nothing behind: what was read of the body is lost, and the
    /// inner service was called only if the whole body was good.
    pub struct ValidateFuture<S, F, B, R> {
        #[pin]
        kind: Kind<S, F, B, R>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S, F, B, R> {
        Reading {
            #[pin]
            read: Read<B>,
            // Taken when the body has been read.
            call: Option<Call<S, R>>,
        },
        Refused { refusal: Option<Refusal<R>> },
        Passed {
            #[pin]
            future: F,
            stamps: Option<Stamps>,
            absorbed: Option<HeaderValue>,
        },
    }
}

/// What waits for the body.
struct Call<S, R> {
    inner: S,
    policy: Arc<Policy>,
    head: Parts,
    stamps: Stamps,
    render: R,
}

struct Refusal<R> {
    rejection: Rejection,
    stamps: Stamps,
    dialect: Dialect,
    render: R,
}

impl<S, F, B, R> ValidateFuture<S, F, B, R> {
    pub(crate) fn read(
        inner: S,
        policy: Arc<Policy>,
        head: Parts,
        read: Read<B>,
        stamps: Stamps,
        render: R,
    ) -> Self {
        let call = Some(Call {
            inner,
            policy,
            head,
            stamps,
            render,
        });
        Self {
            kind: Kind::Reading { read, call },
        }
    }

    pub(crate) fn refuse(
        rejection: Rejection,
        stamps: Stamps,
        dialect: Dialect,
        render: R,
    ) -> Self {
        let refusal = Some(Refusal {
            rejection,
            stamps,
            dialect,
            render,
        });
        Self {
            kind: Kind::Refused { refusal },
        }
    }

    pub(crate) fn pass(future: F) -> Self {
        Self {
            kind: Kind::Passed {
                future,
                stamps: None,
                absorbed: None,
            },
        }
    }
}

impl<S, F, B, R, ResB, E> Future for ValidateFuture<S, F, B, R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<ResB>, Error = E, Future = F>,
    F: Future<Output = Result<Response<ResB>, E>>,
    B: Body<Data = Bytes>,
    R: Render,
{
    type Output = Result<Response<ResponseBody<ResB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const TWICE: &str = "future polled after completion";
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Reading { read, call } => {
                    let body = ready!(read.poll(cx));
                    let call = call.take().expect(TWICE);
                    match body.and_then(|body| check(&call.policy, body)) {
                        Ok(checked) => call.make(checked),
                        Err(rejection) => call.refuse(rejection),
                    }
                }
                KindProj::Refused { refusal } => {
                    let refusal = refusal.take().expect(TWICE);
                    let response =
                        refusal
                            .stamps
                            .refuse(refusal.rejection, refusal.dialect, &refusal.render);
                    return Poll::Ready(Ok(response.map(ResponseBody::local)));
                }
                KindProj::Passed {
                    future,
                    stamps,
                    absorbed,
                } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(stamps) = stamps {
                        stamps.pass(response.headers_mut());
                    }
                    if let Some(absorbed) = absorbed.take() {
                        response.headers_mut().insert(ABSORBED, absorbed);
                    }
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
            };
            kind.set(next);
        }
    }
}

impl<S, R> Call<S, R> {
    fn make<B>(mut self, checked: Checked) -> Kind<S, S::Future, B, R>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        let headers = &mut self.head.headers;
        // The body knows its length, which edits may still change.
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        let body = checked.body.body();
        self.head.extensions.insert(checked.body);
        self.head.extensions.insert(checked.request);
        let request = Request::from_parts(self.head, body);
        Kind::Passed {
            future: self.inner.call(request),
            stamps: Some(self.stamps),
            absorbed: checked.absorbed,
        }
    }

    fn refuse<F, B>(self, rejection: Rejection) -> Kind<S, F, B, R> {
        let dialect = Dialect::of(&self.head.headers);
        let refusal = Some(Refusal {
            rejection,
            stamps: self.stamps,
            dialect,
            render: self.render,
        });
        Kind::Refused { refusal }
    }
}

impl<S, F, B, R> fmt::Debug for ValidateFuture<S, F, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Reading { .. } => "Reading",
            Kind::Refused { .. } => "Refused",
            Kind::Passed { .. } => "Passed",
        };
        f.debug_struct("ValidateFuture")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}

const ABSORBED: HeaderName = HeaderName::from_static("x-tollgate-absorbed");
