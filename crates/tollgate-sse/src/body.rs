use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{NoTap, Tap, stream::Stream};

/// The body of an answer that an [`SseLayer`](crate::SseLayer) has seen.
///
/// A streamed answer is re-framed as it is read; dropping the body drops the upstream's. Its
/// trailers are not passed on, and it never fails: what goes wrong is the last event. Any other
/// body passes as it is.
pub struct SseBody<B, T = NoTap> {
    kind: Kind<B, T>,
}

enum Kind<B, T> {
    Local(Bytes),
    Passed(B),
    Stream(Box<Stream<B, T>>),
}

impl<B, T> SseBody<B, T> {
    pub(crate) const fn local(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Local(bytes),
        }
    }

    pub(crate) const fn passed(body: B) -> Self {
        Self {
            kind: Kind::Passed(body),
        }
    }

    pub(crate) fn stream(stream: Box<Stream<B, T>>) -> Self {
        Self {
            kind: Kind::Stream(stream),
        }
    }
}

impl<B: Default, T> Default for SseBody<B, T> {
    fn default() -> Self {
        Self::passed(B::default())
    }
}

// Nothing is pinned structurally but the inner body, which is `Unpin` wherever it is polled.
impl<B: Unpin, T> Unpin for SseBody<B, T> {}

impl<B, T> Body for SseBody<B, T>
where
    B: Body<Data = Bytes> + Unpin,
    T: Tap,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Poll::Ready(match &mut self.get_mut().kind {
            Kind::Local(bytes) if bytes.is_empty() => None,
            Kind::Local(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Kind::Passed(body) => ready!(Pin::new(body).poll_frame(cx)),
            Kind::Stream(stream) => ready!(stream.poll_output(cx)).map(Frame::data).map(Ok),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Local(bytes) => bytes.is_empty(),
            Kind::Passed(body) => body.is_end_stream(),
            Kind::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Passed(body) => body.size_hint(),
            Kind::Stream(stream) if stream.is_over() => SizeHint::with_exact(0),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

impl<B, T> fmt::Debug for SseBody<B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Local(_) => "Local",
            Kind::Passed(_) => "Passed",
            Kind::Stream(_) => "Stream",
        };
        f.debug_struct("SseBody")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}
