use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::SharedBody;

pin_project! {
    /// The body of a request that is either read already or still as it came.
    ///
    /// A [`SharedBody`] goes out in pieces that share the received bytes, with an exact length;
    /// trailers of a body that was read are not kept. A body that nobody read passes through.
    ///
    /// Layers whose neighbours insist on one body type need one line:
    /// `map_request(|request: Request<RequestBody<_>>| request.map(axum::body::Body::new))`.
    pub struct RequestBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Pieces { pieces: VecDeque<Bytes> },
        Shared { body: SharedBody },
        Streaming {
            #[pin]
            body: B,
        },
    }
}

impl<B> RequestBody<B> {
    /// A body that nobody has read.
    pub const fn streaming(body: B) -> Self {
        Self {
            kind: Kind::Streaming { body },
        }
    }

    pub(super) const fn shared(body: SharedBody) -> Self {
        Self {
            kind: Kind::Shared { body },
        }
    }
}

impl<B: Default> Default for RequestBody<B> {
    fn default() -> Self {
        Self::streaming(B::default())
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut kind = self.project().kind;
        let mut pieces = match kind.as_mut().project() {
            KindProj::Pieces { pieces } => return Poll::Ready(next(pieces)),
            KindProj::Streaming { body } => return body.poll_frame(cx),
            KindProj::Shared { body } => body.close(),
        };
        let first = next(&mut pieces);
        kind.set(Kind::Pieces { pieces });
        Poll::Ready(first)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Pieces { pieces } => pieces.is_empty(),
            // A JSON object has two bytes at least.
            Kind::Shared { .. } => false,
            Kind::Streaming { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Pieces { pieces } => {
                SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum())
            }
            Kind::Shared { body } => SizeHint::with_exact(body.measure()),
            Kind::Streaming { body } => body.size_hint(),
        }
    }
}

fn next<E>(pieces: &mut VecDeque<Bytes>) -> Option<Result<Frame<Bytes>, E>> {
    pieces.pop_front().map(|piece| Ok(Frame::data(piece)))
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Pieces { .. } => "Pieces",
            Kind::Shared { .. } => "Shared",
            Kind::Streaming { .. } => "Streaming",
        };
        f.debug_struct("RequestBody")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}
