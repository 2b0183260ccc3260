use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

pin_project! {
    /// A connection that wakes itself while it is polled is polled again at once.
    ///
    /// hyper does so for each body that a service reads. To the scheduler that is one more task to
    /// run, for which it rouses another thread: a detour that takes longer than the call itself.
    pub(super) struct Again<F> {
        #[pin]
        future: F,
        relay: Arc<Relay>,
        // The relay, as the future knows it.
        waker: Waker,
    }
}

impl<F> Again<F> {
    pub(super) fn new(future: F) -> Self {
        let relay = Arc::new(Relay::default());
        Self {
            future,
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        }
    }
}

impl<F: Future> Future for Again<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.relay.task.register(cx.waker());
        for _ in 0..POLLS {
            // A swap, so that this poll sees what was done before the wake-ups it answers.
            this.relay.state.swap(POLLING, SeqCst);
            let polled = this
                .future
                .as_mut()
                .poll(&mut Context::from_waker(this.waker));
            if polled.is_ready() {
                return polled;
            }
            let state = &this.relay.state;
            if state
                .compare_exchange(POLLING, IDLE, SeqCst, SeqCst)
                .is_ok()
            {
                return Poll::Pending;
            }
        }
        // Others want their turn too.
        this.relay.state.store(IDLE, SeqCst);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Passes wake-ups on to the task, but for those that come while it is polled.
#[derive(Debug, Default)]
struct Relay {
    task: AtomicWaker,
    state: AtomicU8,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, SeqCst) == IDLE {
            self.task.wake();
        }
    }
}

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const WOKEN: u8 = 2;

const POLLS: usize = 3;

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Polls once a future that wakes itself so many times, and says how often it was polled and
    /// its task woken.
    fn poll_once(self_wakes: usize) -> (usize, usize) {
        let mut polls = 0;
        let task = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&task));
        let future = poll_fn(|cx| {
            polls += 1;
            if polls <= self_wakes {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        let mut again = Box::pin(Again::new(future));
        assert!(
            again
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(again);
        (polls, task.0.load(Relaxed))
    }

    #[test]
    fn who_wakes_itself_is_polled_again_but_not_for_ever() {
        assert_eq!(poll_once(0), (1, 0));
        assert_eq!(poll_once(1), (2, 0));
        assert_eq!(poll_once(2), (3, 0));
        assert_eq!(poll_once(usize::MAX), (3, 1));
    }

    #[test]
    fn a_later_wake_reaches_the_task() {
        let task = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut kept = None;
        let mut again = Box::pin(Again::new(poll_fn(|cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        for wakes in 1..3 {
            assert!(
                again
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            again.waker.wake_by_ref();
            assert_eq!(task.0.load(Relaxed), wakes);
        }
        drop(again);
        assert!(kept.is_some());
    }
}
