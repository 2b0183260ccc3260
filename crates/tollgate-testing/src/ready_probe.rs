use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

/// A service that must be polled ready before each call, and whose clones must be too.
///
/// It panics when called without. Put it inside a layer that awaits before it calls: a layer that
/// keeps the service it was polled on and calls a clone, or the other way round, is caught.
#[derive(Debug)]
pub struct ReadyProbe<F> {
    answer: F,
    busy: bool,
    waited: bool,
    ready: bool,
    calls: Arc<AtomicU64>,
}

impl<F> ReadyProbe<F> {
    /// A service that answers each request by calling `answer`.
    pub fn new(answer: F) -> Self {
        Self {
            answer,
            busy: false,
            waited: false,
            ready: false,
            calls: Arc::default(),
        }
    }

    /// Is not ready yet when it is polled for the first time before a call, and wakes the task at
    /// once. So a layer is caught that takes no notice of `Pending`.
    #[must_use]
    pub fn busy(mut self) -> Self {
        self.busy = true;
        self
    }

    /// How often this service and its clones have been called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl<F: Clone> Clone for ReadyProbe<F> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            busy: self.busy,
            waited: false,
            // The heart of the probe: readiness belongs to one instance.
            ready: false,
            calls: Arc::clone(&self.calls),
        }
    }
}

impl<F, B, R> Service<Request<B>> for ReadyProbe<F>
where
    F: FnMut(Request<B>) -> Response<R>,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Ready<Result<Response<R>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.busy && !self.waited {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "the inner service was called without having been polled ready"
        );
        self.waited = false;
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok((self.answer)(request)))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn probe() -> ReadyProbe<impl FnMut(Request<()>) -> Response<()> + Clone> {
        ReadyProbe::new(|_| Response::new(()))
    }

    #[test]
    #[should_panic(expected = "without having been polled ready")]
    fn an_unready_call_panics() {
        drop(probe().call(Request::new(())));
    }

    #[test]
    #[should_panic(expected = "without having been polled ready")]
    fn a_clone_of_a_ready_service_is_not_ready() {
        let mut service = probe();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
        drop(service.clone().call(Request::new(())));
    }

    #[test]
    #[should_panic(expected = "without having been polled ready")]
    fn who_takes_pending_for_ready_panics() {
        let mut service = probe().busy();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_pending());
        drop(service.call(Request::new(())));
    }

    #[tokio::test]
    async fn who_waits_is_served() {
        let service = probe().busy();
        for calls in 1..=2 {
            tower::ServiceExt::oneshot(service.clone(), Request::new(()))
                .await
                .unwrap();
            assert_eq!(service.calls(), calls);
        }
    }

    #[test]
    #[should_panic(expected = "without having been polled ready")]
    fn readiness_is_used_up_by_a_call() {
        let mut service = probe();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
        drop(service.call(Request::new(())));
        assert_eq!(service.calls(), 1);
        drop(service.call(Request::new(())));
    }
}
