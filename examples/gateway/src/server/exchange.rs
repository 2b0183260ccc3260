//! One call, from its head to the last byte of its answer.

use std::{
    convert::Infallible,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{sync::watch, time::Instant};
use tollgate::{DefaultRender, Dialect, Rejection, RejectionKind, RequestId, ResponseBody, Stamps};
use tower::{BoxError, Service};

use super::{connection::OpenCall, head, notice::Notice};
use crate::{
    metrics::{CallsInFlight, Ending, InFlight, Metrics},
    routes::is_health,
};

/// What all calls share.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) metrics: Arc<Metrics>,
    pub(super) in_flight: Arc<CallsInFlight>,
    /// Becomes true when open streams have to end.
    pub(super) cut: watch::Receiver<bool>,
}

impl Calls {
    /// Answers one request, whatever happens on the way. The service must be ready.
    pub(super) async fn exchange<S, ReqB, B>(
        self: Arc<Self>,
        mut service: S,
        mut request: Request<ReqB>,
        open: OpenCall,
    ) -> Result<Response<ExchangeBody<B>>, Infallible>
    where
        S: Service<Request<ReqB>, Response = Response<B>>,
        S::Error: fmt::Display,
    {
        let started = Instant::now();
        let dialect = Dialect::of(request.headers());
        let stamps = Stamps::open(request.extensions_mut());
        let id = request.extensions().get::<RequestId>().cloned();
        let refuse = |rejection| {
            let response = stamps.refuse(rejection, dialect, &DefaultRender::default());
            response.map(ResponseBody::local)
        };

        // A gateway that is busy is no gateway to be restarted.
        let is_health = is_health(&request);
        let in_flight = self.in_flight.enter();
        let mut response = if let Err(rejection) = head::check(&request) {
            refuse(rejection)
        } else if in_flight.is_some() || is_health {
            let answer = async move { service.call(request).await };
            let answer = AssertUnwindSafe(answer).catch_unwind();
            let mut cut = self.cut.clone();
            let answer = tokio::select! {
                biased;
                answer = answer => Some(answer),
                // An error says that the server is gone, and its calls with it.
                Ok(_) = cut.wait_for(|cut| *cut) => None,
            };
            match answer {
                None => refuse(Rejection::new(RejectionKind::UpstreamUnavailable)),
                Some(Ok(Ok(response))) => response.map(ResponseBody::inner),
                Some(Ok(Err(error))) => {
                    tracing::warn!(request_id = id.as_ref().map(RequestId::as_str), %error, "a call failed");
                    refuse(Rejection::new(RejectionKind::UpstreamFailed))
                }
                Some(Err(thrown)) => {
                    self.metrics.panicked(thrown);
                    refuse(Rejection::new(RejectionKind::MissingFact))
                }
            }
        } else {
            let overloaded = Rejection::new(RejectionKind::UpstreamUnavailable);
            refuse(overloaded.with_retry_after(Duration::from_secs(1)))
        };
        stamps.pass(response.headers_mut());

        let elapsed = started.elapsed();
        self.metrics.answered(&response, elapsed);
        let status = response.status().as_u16();
        tracing::debug!(
            request_id = id.as_ref().map(RequestId::as_str),
            status,
            ?elapsed,
            "answered"
        );

        // A caller who is refused may still be sending, which takes no place from others.
        let in_flight = in_flight.filter(|_| response.extensions().get::<Rejection>().is_none());
        open.wait_for_caller();
        let is_stream = is_event_stream(response.status(), response.headers());
        Ok(response.map(|inner| ExchangeBody {
            inner,
            call: Some(Call {
                _in_flight: in_flight,
                open,
            }),
            unchanged_since: None,
            stream: is_stream.then(|| Stream {
                cut: Notice::new(self.cut.clone()),
                ending: Ending::Left,
                metrics: Arc::clone(&self.metrics),
            }),
            metrics: Arc::clone(&self.metrics),
        }))
    }
}

/// What ends with a call.
#[derive(Debug)]
struct Call {
    _in_flight: Option<InFlight>,
    open: OpenCall,
}

pin_project! {
    /// The body of an answer, which also ends when it panics and when the gateway stops.
    pub(super) struct ExchangeBody<B> {
        #[pin]
        inner: ResponseBody<B>,
        // Is taken when the body ends: hyper may keep a body that has ended.
        call: Option<Call>,
        // The wakes of the connection before it was last found that there is nothing yet.
        unchanged_since: Option<usize>,
        // Is there for streams only.
        stream: Option<Stream>,
        metrics: Arc<Metrics>,
    }
}

impl<B> Body for ExchangeBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(call) = this.call.as_ref() else {
            return Poll::Ready(None);
        };
        call.open.go_on();
        // hyper asks twice for what is not there yet. If nobody has woken it since, it still is not.
        let wakes = call.open.wakes(cx);
        if wakes.is_some() && *this.unchanged_since == wakes {
            return Poll::Pending;
        }
        let polled = catch_unwind(AssertUnwindSafe(|| this.inner.as_mut().poll_frame(cx)));
        let frame = match polled {
            Ok(Poll::Ready(frame)) => frame.map(|frame| frame.map_err(Into::into)),
            Ok(Poll::Pending) => {
                *this.unchanged_since = wakes;
                let Some(stream) = this.stream.as_mut() else {
                    return Poll::Pending;
                };
                ready!(stream.cut.poll_given(cx));
                stream.ending = Ending::Failed;
                *this.call = None;
                *this.stream = None;
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(STOPPED)))));
            }
            Err(thrown) => {
                this.metrics.panicked(thrown);
                Some(Err("a layer panicked".into()))
            }
        };
        let ended = !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream();
        if let Some(stream) = this.stream.as_mut() {
            stream.see(&frame, ended);
        }
        if ended {
            *this.call = None;
            *this.stream = None;
        } else if let Some(call) = this.call.as_ref() {
            call.open.wait_for_caller();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.call.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An event stream on its way.
struct Stream {
    /// Given when open streams have to end.
    cut: Notice,
    ending: Ending,
    metrics: Arc<Metrics>,
}

impl Stream {
    fn see<E>(&mut self, frame: &Option<Result<Frame<Bytes>, E>>, ended: bool) {
        let data = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        if data.is_some_and(|data| data.ends_with(DONE)) {
            self.ending = Ending::Complete;
        } else if ended && self.ending != Ending::Complete {
            self.ending = Ending::Failed;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.metrics.streamed(self.ending);
    }
}

fn is_event_stream(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::OK
        && headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

const DONE: &[u8] = b"data: [DONE]\n\n";

const STOPPED: &[u8] =
    b"data: {\"error\":{\"message\":\"The server is shutting down. Please try again.\",\
\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";

#[cfg(test)]
mod tests {
    use std::{cell::Cell, task::Waker};

    use super::{
        super::{again::Relay, connection::OpenCalls},
        *,
    };

    /// A body that has nothing yet, and counts how often it is asked.
    struct Nothing<'a>(&'a Cell<usize>);

    impl Body for Nothing<'_> {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.set(self.0.get() + 1);
            Poll::Pending
        }
    }

    #[test]
    fn a_body_that_nobody_has_woken_is_asked_once() {
        let relay = Arc::<Relay>::default();
        let connection = Waker::from(Arc::clone(&relay));
        let calls = Arc::new(OpenCalls::new(relay));
        let asked = Cell::new(0);
        let mut body = ExchangeBody {
            inner: ResponseBody::inner(Nothing(&asked)),
            call: Some(Call {
                _in_flight: None,
                open: calls.begin(http::Version::HTTP_11),
            }),
            unchanged_since: None,
            stream: None,
            metrics: Metrics::new().unwrap(),
        };
        let mut poll = |waker: &Waker| {
            let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(waker));
            assert!(polled.is_pending());
            asked.get()
        };
        assert_eq!([poll(&connection), poll(&connection)], [1, 1]);
        connection.wake_by_ref();
        assert_eq!([poll(&connection), poll(&connection)], [2, 2]);
        // Whose wakes are not known must be taken to have been woken.
        let other = Waker::noop();
        assert_eq!([poll(other), poll(other)], [3, 4]);
        assert_eq!([poll(&connection), poll(&connection)], [5, 5]);
    }
}
