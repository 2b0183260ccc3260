//! What is said once to many who are busy with something else.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use tokio::sync::watch;

/// Looks for a notice, which is cheap to do often.
pub(super) struct Notice {
    is_given: watch::Receiver<bool>,
    /// Resolves at that time, and wakes whoever polled it last.
    given: Pin<Box<dyn Future<Output = ()> + Send>>,
    polled_by: Option<Waker>,
}

impl Notice {
    /// A notice that is given once this becomes true.
    pub(super) fn new(is_given: watch::Receiver<bool>) -> Self {
        let mut seen = is_given.clone();
        let given = Box::pin(async move {
            if seen.wait_for(|given| *given).await.is_err() {
                // Whoever could give it is gone.
                std::future::pending::<()>().await;
            }
        });
        Self {
            is_given,
            given,
            polled_by: None,
        }
    }

    /// Ready once the notice is given.
    pub(super) fn poll_given(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Streams and their connections look at each event. What they all wait for has a lock.
        let known = self.polled_by.as_ref();
        let waits = known.is_some_and(|waker| waker.will_wake(cx.waker()));
        if waits && matches!(self.is_given.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        self.polled_by = Some(cx.waker().clone());
        self.given.as_mut().poll(cx)
    }
}

pin_project! {
    /// A connection that takes no more calls after a notice.
    ///
    /// hyper-util's own watcher takes a lock at each poll.
    pub(super) struct Graceful<C> {
        #[pin]
        connection: C,
        // Kept to the end: whoever has given it waits until nobody looks for it any more.
        last_call: Notice,
        is_closing: bool,
    }
}

impl<C> Graceful<C> {
    pub(super) const fn new(connection: C, last_call: Notice) -> Self {
        Self {
            connection,
            last_call,
            is_closing: false,
        }
    }
}

impl<C: GracefulConnection> Future for Graceful<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut this = self.project();
        if !*this.is_closing && this.last_call.poll_given(cx).is_ready() {
            *this.is_closing = true;
            this.connection.as_mut().graceful_shutdown();
        }
        this.connection.poll(cx)
    }
}
