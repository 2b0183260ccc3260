//! A service that is replaced while calls are served.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::watch;
use tower::{Service, ServiceExt, util::Oneshot};

/// Gives each call to the service that was set last. Calls that are open stay with theirs.
///
/// Always ready: it is the call that waits until the service is.
#[derive(Debug)]
pub(crate) struct Current<S>(Arc<watch::Receiver<S>>);

impl<S> Current<S> {
    /// The service, and the way to replace it.
    pub(crate) fn new(first: S) -> (watch::Sender<S>, Self) {
        let (sender, receiver) = watch::channel(first);
        (sender, Self(Arc::new(receiver)))
    }
}

impl<S, R> Service<R> for Current<S>
where
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Oneshot<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let service = self.0.borrow().clone();
        service.oneshot(request)
    }
}

impl<S> Clone for Current<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
