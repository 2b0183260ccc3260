use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

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
        // The task, as the relay knows it.
        task: Option<Waker>,
    }
}

impl<F> Again<F> {
    /// Whoever else has the relay can tell how often the connection was woken.
    pub(super) fn new(future: F, relay: Arc<Relay>) -> Self {
        Self {
            future,
            waker: Waker::from(Arc::clone(&relay)),
            relay,
            task: None,
        }
    }
}

impl<F: Future> Future for Again<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        // A spawned task has one waker all its life.
        if !this
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            *this.task = Some(cx.waker().clone());
            this.relay.set_task(cx.waker().clone());
        }
        for _ in 0..POLLS {
            // This also lets the poll see what was done before the wake-ups it answers.
            let before = this.relay.state.fetch_or(POLLING, SeqCst) & !POLLING;
            let polled = this
                .future
                .as_mut()
                .poll(&mut Context::from_waker(this.waker));
            if polled.is_ready() {
                return polled;
            }
            let state = &this.relay.state;
            if state
                .compare_exchange(before | POLLING, before, SeqCst, SeqCst)
                .is_ok()
            {
                return Poll::Pending;
            }
        }
        // Others want their turn too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Passes a wake-up on to the task, unless it is being polled.
#[derive(Debug, Default)]
pub(super) struct Relay {
    task: Mutex<Option<Waker>>,
    /// The wake-ups so far, each a [`WAKE`], and whether the task is [`POLLING`].
    state: AtomicUsize,
}

impl Relay {
    /// How often it was woken, if this waker is its own.
    pub(super) fn wakes(self: &Arc<Self>, waker: &Waker) -> Option<usize> {
        let is_own = std::ptr::eq(waker.data(), Arc::as_ptr(self).cast());
        is_own.then(|| self.state.load(SeqCst) / WAKE)
    }

    fn set_task(&self, waker: Waker) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_add(WAKE, SeqCst) & POLLING == 0 {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(task) = &*task {
                task.wake_by_ref();
            }
        }
    }
}

const POLLING: usize = 1;
const WAKE: usize = 2;

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
        let mut again = Box::pin(Again::new(future, Arc::default()));
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
        let mut again = Box::pin(Again::new(
            poll_fn(|cx| {
                kept = Some(cx.waker().clone());
                Poll::<()>::Pending
            }),
            Arc::default(),
        ));
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
