//! Reading a body once, under a cap and a clock.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tollgate_core::Rejection;

use crate::{errors, limits::Limits};

pin_project! {
    /// A body on its way into memory.
    pub(crate) struct Read<B> {
        #[pin]
        body: B,
        limits: Limits,
        declared: Option<u64>,
        received: Received,
        // Most bodies have arrived before they are waited for, and need no clock.
        #[pin]
        clock: Option<Sleep>,
        started: Option<Instant>,
    }
}

impl<B> Read<B>
where
    B: Body<Data = Bytes>,
{
    /// Reads this body, of which the head declares the length or not.
    pub(crate) fn new(body: B, limits: Limits, declared: Option<u64>) -> Self {
        Self {
            body,
            limits,
            declared,
            received: Received::default(),
            clock: None,
            started: None,
        }
    }

    /// The whole body, in one piece.
    pub(crate) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Rejection>> {
        match self.as_mut().poll_body(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.poll_clock(cx).map(|()| Err(errors::body_timeout())),
        }
    }

    fn poll_body(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Bytes, Rejection>> {
        let mut this = self.project();
        for _ in 0..FRAMES_AT_ONCE {
            let expected = this.body.size_hint().lower();
            if expected > this.limits.max_bytes - this.received.len() {
                return Poll::Ready(Err(errors::body_too_large(this.limits.max_bytes)));
            }
            let frame = match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Poll::Ready(Err(errors::body_broken())),
                None => return Poll::Ready(this.received.take(*this.declared)),
            };
            // Trailers of a request have no meaning to a chat completion.
            if let Ok(data) = frame.into_data() {
                if data.len() as u64 > this.limits.max_bytes - this.received.len() {
                    return Poll::Ready(Err(errors::body_too_large(this.limits.max_bytes)));
                }
                this.received.push(data, expected);
            }
            if this.body.is_end_stream() {
                return Poll::Ready(this.received.take(*this.declared));
            }
        }
        // Whoever sends a body of specks must not keep the others waiting.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready once the body has run out of time.
    fn poll_clock(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let start = *this.started.get_or_insert_with(Instant::now);
        let received = this.received.len();
        if this.clock.is_none() {
            let deadline = this.limits.deadline(start, received);
            this.clock.set(Some(sleep_until(deadline)));
        }
        while let Some(mut clock) = this.clock.as_mut().as_pin_mut() {
            ready!(clock.as_mut().poll(cx));
            // What has come in the meantime may have bought more time.
            let deadline = this.limits.deadline(start, received);
            if deadline <= clock.deadline() {
                break;
            }
            clock.reset(deadline);
        }
        Poll::Ready(())
    }
}

/// What has arrived of a body. A single frame is kept as it came; several are joined.
#[derive(Debug, Default)]
struct Received {
    first: Bytes,
    joined: BytesMut,
}

impl Received {
    fn len(&self) -> u64 {
        self.first.len().max(self.joined.len()) as u64
    }

    /// Adds a frame. At least `expected` bytes were still to come when it did.
    fn push(&mut self, data: Bytes, expected: u64) {
        if data.is_empty() {
            return;
        }
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            // A length that is only declared must not cost memory.
            let expected = usize::try_from(expected).unwrap_or(usize::MAX);
            let more = expected.clamp(data.len(), data.len().max(MOST_BYTES_FORESEEN));
            self.joined.reserve(self.first.len().saturating_add(more));
            self.joined.extend_from_slice(&self.first);
            self.first.clear();
        }
        self.joined.extend_from_slice(&data);
    }

    fn take(&mut self, declared: Option<u64>) -> Result<Bytes, Rejection> {
        if declared.is_some_and(|declared| declared != self.len()) {
            return Err(errors::body_broken());
        }
        Ok(if self.joined.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            std::mem::take(&mut self.joined).freeze()
        })
    }
}

const FRAMES_AT_ONCE: usize = 256;
const MOST_BYTES_FORESEEN: usize = 1 << 20;
