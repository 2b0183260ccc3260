use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tollgate_core::ResponseBody;

use crate::{MemoryStore, Store, call::OpenCall};

pin_project! {
    /// The body of an answer, which holds the call's reservation to its end.
    ///
    /// # Cancel safety
    ///
    /// The call is settled when the body ends, fails, announces its end, or is dropped, whichever
    /// comes first, and only then.
    pub struct BudgetBody<R, St: Store = MemoryStore> {
        #[pin]
        inner: ResponseBody<R>,
        call: Option<Box<OpenCall<St>>>,
    }
}

impl<R, St: Store> BudgetBody<R, St> {
    pub(crate) fn local(bytes: Bytes) -> Self {
        Self {
            inner: ResponseBody::local(bytes),
            call: None,
        }
    }

    pub(crate) fn new(body: R, call: Option<Box<OpenCall<St>>>) -> Self
    where
        R: Body,
    {
        // A body that announces its end at once may never be asked for more.
        let call = call.filter(|call| call.is_open() && !body.is_end_stream());
        Self {
            inner: ResponseBody::inner(body),
            call,
        }
    }

    /// Whether the call's usage may still become known.
    pub(crate) fn is_open(&self) -> bool {
        self.call.is_some()
    }
}

impl<R: Default, St: Store> Default for BudgetBody<R, St> {
    fn default() -> Self {
        Self {
            inner: ResponseBody::inner(R::default()),
            call: None,
        }
    }
}

impl<R, St> Body for BudgetBody<R, St>
where
    R: Body<Data = Bytes>,
    St: Store,
{
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let (Some(Ok(frame)), Some(call)) = (&frame, this.call.as_mut()) {
            call.passes(frame);
        }
        // A server may never ask again once the end is announced.
        if !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream() {
            if let Some(mut call) = this.call.take() {
                call.end();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<R, St: Store> fmt::Debug for BudgetBody<R, St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetBody")
            .field("is_open", &self.call.is_some())
            .finish_non_exhaustive()
    }
}
