use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer that is either a layer's own or the inner service's.
    ///
    /// It forwards frames, trailers, length and end of stream, and never allocates.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProj]
    enum Kind<B> {
        Inner {
            #[pin]
            body: B,
        },
        Local { bytes: Bytes },
    }
}

impl<B> ResponseBody<B> {
    /// The inner service's body.
    pub const fn inner(body: B) -> Self {
        Self {
            kind: Kind::Inner { body },
        }
    }

    /// A layer's own body.
    #[must_use]
    pub const fn local(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Local { bytes },
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Poll::Ready(match self.project().kind.project() {
            KindProj::Inner { body } => ready!(body.poll_frame(cx)),
            KindProj::Local { bytes } if bytes.is_empty() => None,
            KindProj::Local { bytes } => Some(Ok(Frame::data(std::mem::take(bytes)))),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Local { bytes } => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Local { bytes } => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
