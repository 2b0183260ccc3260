//! What happens to an answer whose caller has left.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

/// What becomes of an answer's body when it is dropped before its end.
///
/// [`Cancel`] and [`Drain`] are the two ways that there are.
pub trait Departure<B: Body> {
    /// The body that the caller gets.
    type Body: Body<Data = Bytes, Error = B::Error>;

    /// Prepares a body for its caller's leaving. `is_open`: there is still something to learn from
    /// its end.
    fn prepare(&self, body: B, is_open: bool) -> Self::Body;
}

/// The upstream is dropped with the caller, in the same turn of the task; the call is settled by
/// what was seen. The default.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Cancel;

impl<B: Body<Data = Bytes>> Departure<B> for Cancel {
    type Body = B;

    fn prepare(&self, body: B, _is_open: bool) -> B {
        body
    }
}

/// The rest of the answer is read and thrown away, so that its usage becomes known. Made by
/// [`BudgetLayer::drain`](crate::BudgetLayer::drain).
#[derive(Clone)]
pub struct Drain<E> {
    executor: E,
    max_bytes: u64,
    max_time: Duration,
}

impl<E> Drain<E> {
    pub(crate) const fn new(executor: E, max_bytes: u64, max_time: Duration) -> Self {
        Self {
            executor,
            max_bytes,
            max_time,
        }
    }
}

impl<B, E> Departure<B> for Drain<E>
where
    B: Body<Data = Bytes> + Send + 'static,
    E: Fn(DrainTask) + Clone,
{
    type Body = DrainedBody<B, E>;

    fn prepare(&self, body: B, is_open: bool) -> DrainedBody<B, E> {
        DrainedBody {
            body: Some(Box::pin(body)),
            leave: is_open.then(|| Leave {
                drain: self.clone(),
                start: |body, drain| (drain.executor)(task(body, &drain)),
            }),
        }
    }
}

impl<E> fmt::Debug for Drain<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("max_bytes", &self.max_bytes)
            .field("max_time", &self.max_time)
            .finish_non_exhaustive()
    }
}

/// Reads an answer whose caller has left. It needs tokio's timer.
pub type DrainTask = Pin<Box<dyn Future<Output = ()> + Send>>;

fn task<B, E>(mut body: Pin<Box<B>>, drain: &Drain<E>) -> DrainTask
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let (mut left, max_time) = (drain.max_bytes, drain.max_time);
    Box::pin(async move {
        let read = async {
            while let Some(Ok(frame)) =
                std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await
            {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(bytes as u64) {
                    Some(rest) if !body.is_end_stream() => left = rest,
                    _ => break,
                }
            }
        };
        // Whatever ends it, dropping the body settles the call.
        let _ = timeout(max_time, read).await;
    })
}

/// A body that is read on when its caller leaves. See
/// [`BudgetLayer::drain`](crate::BudgetLayer::drain).
pub struct DrainedBody<B, E> {
    // Empty only while it is dropped.
    body: Option<Pin<Box<B>>>,
    leave: Option<Leave<B, E>>,
}

struct Leave<B, E> {
    drain: Drain<E>,
    // Made where `B` and `E` are known to be fit for a task, which a destructor cannot ask for.
    start: fn(Pin<Box<B>>, Drain<E>),
}

// Only the box's content is ever pinned.
impl<B, E> Unpin for DrainedBody<B, E> {}

impl<B, E> Body for DrainedBody<B, E>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(body.as_mut().poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
            self.leave = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(Body::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl<B, E> Drop for DrainedBody<B, E> {
    fn drop(&mut self) {
        if let (Some(body), Some(leave)) = (self.body.take(), self.leave.take()) {
            (leave.start)(body, leave.drain);
        }
    }
}

impl<B: Default, E> Default for DrainedBody<B, E> {
    fn default() -> Self {
        Self {
            body: Some(Box::pin(B::default())),
            leave: None,
        }
    }
}

impl<B, E> fmt::Debug for DrainedBody<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainedBody")
            .field("is_open", &self.leave.is_some())
            .finish_non_exhaustive()
    }
}
