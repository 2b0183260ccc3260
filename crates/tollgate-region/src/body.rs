use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tollgate_core::ResponseBody;

use crate::pool::Lease;

pin_project! {
    /// The body of an answer that came through [`UpstreamLayer`](crate::UpstreamLayer).
    ///
    /// It forwards everything, and counts as an outstanding call of its upstream until it ends,
    /// fails or is dropped.
    pub struct UpstreamBody<B> {
        #[pin]
        body: ResponseBody<B>,
        lease: Option<Lease>,
    }
}

impl<B> UpstreamBody<B> {
    pub(crate) const fn new(body: ResponseBody<B>, lease: Option<Lease>) -> Self {
        Self { body, lease }
    }
}

impl<B: Default> Default for UpstreamBody<B> {
    fn default() -> Self {
        Self::new(ResponseBody::default(), None)
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        // hyper does not poll again once the end is announced.
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            *this.lease = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for UpstreamBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
