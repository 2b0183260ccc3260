//! Reading on after a refusal, so that a caller who is still sending sees it.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{Request, Response, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Rejection;

/// Lets callers who are still sending see a refusal.
///
/// A server that answers before it has read the body must close the connection, and the reset that
/// follows often destroys the answer on its way: the caller sees a broken connection in place of a
/// 401. On HTTP/2 only the stream is reset, without an error and after the answer, but some
/// clients, curl 7.88 among them, take even that for a failure. This layer holds a refusal back
/// until the rest of the body has been read and thrown away, up to a number of bytes and a
/// deadline.
///
/// The deadline is a future of yours, so that this crate needs no runtime:
///
/// ```
/// use std::time::Duration;
/// use tollgate_core::DrainOnRefusalLayer;
///
/// let layer = DrainOnRefusalLayer::new(1 << 20, || tokio::time::sleep(Duration::from_secs(2)));
/// # let _ = layer;
/// ```
///
/// # Placement
///
/// Outermost, directly under the server. The inner request body becomes [`DrainBody`].
///
/// A request with `expect: 100-continue` whose body was not touched is not drained: polling it
/// would invite the caller to send what has been refused.
///
/// # Cancel safety
///
/// Dropping the future drops the body: nothing else is held.
#[derive(Clone, Copy)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct DrainOnRefusalLayer<T> {
    max_bytes: u64,
    deadline: T,
}

impl<T> DrainOnRefusalLayer<T> {
    /// Reads on for up to `max_bytes`, until the future made by `deadline` is ready.
    pub const fn new(max_bytes: u64, deadline: T) -> Self {
        Self {
            max_bytes,
            deadline,
        }
    }
}

impl<S, T: Clone> Layer<S> for DrainOnRefusalLayer<T> {
    type Service = DrainOnRefusal<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        DrainOnRefusal {
            inner,
            layer: self.clone(),
        }
    }
}

impl<T> fmt::Debug for DrainOnRefusalLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainOnRefusalLayer")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// The service made by [`DrainOnRefusalLayer`].
#[derive(Clone, Copy, Debug)]
pub struct DrainOnRefusal<S, T> {
    inner: S,
    layer: DrainOnRefusalLayer<T>,
}

impl<S, T, D, B, R> Service<Request<B>> for DrainOnRefusal<S, T>
where
    S: Service<Request<DrainBody<B>>, Response = Response<R>>,
    T: Fn() -> D + Clone,
    D: Future<Output = ()>,
    B: Body + Unpin,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DrainFuture<S::Future, S::Response, T, D, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let left = Arc::new(Mutex::new(None));
        let expects = request.headers().contains_key(EXPECT);
        let request = request.map(|body| DrainBody {
            body: Some(body),
            touched: !expects,
            left: Arc::clone(&left),
        });
        DrainFuture {
            state: State::Calling {
                future: self.inner.call(request),
            },
            left,
            max_bytes: self.layer.max_bytes,
            deadline: self.layer.deadline.clone(),
        }
    }
}

/// A request body that is kept, not dropped, when nobody reads it to its end.
pub struct DrainBody<B> {
    body: Option<B>,
    touched: bool,
    left: Arc<Mutex<Option<B>>>,
}

impl<B: Body + Unpin> Body for DrainBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.touched = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        // A body that ended or failed has nothing left to read.
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B> Drop for DrainBody<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|_| self.touched) {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl<B> fmt::Debug for DrainBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainBody").finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of a [`DrainOnRefusal`] service.
    pub struct DrainFuture<F, P, T, D, B> {
        #[pin]
        state: State<F, P, D, B>,
        left: Arc<Mutex<Option<B>>>,
        max_bytes: u64,
        deadline: T,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, P, D, B> {
        Calling {
            #[pin]
            future: F,
        },
        Draining {
            response: Option<P>,
            body: B,
            #[pin]
            deadline: D,
        },
    }
}

impl<F, R, E, T, D, B> Future for DrainFuture<F, Response<R>, T, D, B>
where
    F: Future<Output = Result<Response<R>, E>>,
    T: Fn() -> D,
    D: Future<Output = ()>,
    B: Body + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling { future } => {
                    let response = ready!(future.poll(cx))?;
                    let left = this
                        .left
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    let refused = response.extensions().get::<Rejection>().is_some();
                    match left.filter(|body| refused && !body.is_end_stream()) {
                        // Longer than may be read: there is no point in beginning.
                        Some(body) if body.size_hint().lower() > *this.max_bytes => {
                            return Poll::Ready(Ok(response));
                        }
                        Some(body) => this.state.set(State::Draining {
                            response: Some(response),
                            body,
                            deadline: (this.deadline)(),
                        }),
                        None => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::Draining {
                    response,
                    body,
                    deadline,
                } => {
                    let drained = deadline.poll(cx).is_ready()
                        || poll_drain(body, this.max_bytes, cx).is_ready();
                    if !drained {
                        return Poll::Pending;
                    }
                    let response = response.take().expect("future polled after completion");
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

impl<F, P, T, D, B> fmt::Debug for DrainFuture<F, P, T, D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainFuture").finish_non_exhaustive()
    }
}

fn poll_drain<B: Body + Unpin>(
    body: &mut B,
    max_bytes: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<()> {
    while let Some(Ok(frame)) = ready!(Pin::new(&mut *body).poll_frame(cx)) {
        let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        match max_bytes.checked_sub(bytes) {
            Some(rest) => *max_bytes = rest,
            None => break,
        }
    }
    Poll::Ready(())
}
