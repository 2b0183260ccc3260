use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;
use tollgate_testing::{ScriptError, ScriptedBody};
use tower::service_fn;

use crate::{serve, soon};

/// An upstream on a loopback socket that answers by script, and remembers what it was asked.
#[derive(Debug)]
pub struct TestUpstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Request<Bytes>>>>,
    /// How many calls have come, and how many of them are still there.
    calls: watch::Sender<(usize, usize)>,
}

impl TestUpstream {
    /// Starts one. A request is answered by what `script` makes of it.
    pub async fn start<F>(script: F) -> Self
    where
        F: Fn(&Request<Bytes>) -> Response<ScriptedBody> + Clone + Send + Sync + 'static,
    {
        let received = Arc::<Mutex<Vec<_>>>::default();
        let calls = watch::Sender::new((0, 0));
        let (log, count) = (Arc::clone(&received), calls.clone());
        let address = serve(service_fn(move |request: Request<Incoming>| {
            let (script, log, call) = (script.clone(), Arc::clone(&log), Call::open(&count));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let request = Request::from_parts(head, body);
                let response = script(&request);
                log.lock().unwrap().push(request);
                if response.extensions().get::<Hang>().is_some() {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(response.map(|body| Counted { body, _call: call }))
            }
        }))
        .await;
        Self {
            address,
            received,
            calls,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    #[must_use]
    pub fn received(&self) -> Vec<Request<Bytes>> {
        self.received.lock().unwrap().clone()
    }

    /// The only request so far.
    ///
    /// # Panics
    ///
    /// If there were others, or none.
    #[must_use]
    pub fn received_one(&self) -> Request<Bytes> {
        let mut received = self.received();
        assert_eq!(received.len(), 1);
        received.remove(0)
    }

    /// Waits until so many calls have come in all.
    pub async fn called(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        let _ = soon(calls.wait_for(|(all, _)| *all >= times)).await;
    }

    /// Waits until every call has been answered to its end, or given up by its caller.
    pub async fn idle(&self) {
        let mut calls = self.calls.subscribe();
        let _ = soon(calls.wait_for(|(_, open)| *open == 0)).await;
    }
}

/// A script's way not to answer at all.
#[must_use]
pub fn hang() -> Response<ScriptedBody> {
    let mut response = Response::new(ScriptedBody::new());
    response.extensions_mut().insert(Hang);
    response
}

#[derive(Clone, Copy)]
struct Hang;

/// One call, as long as it lives.
struct Call(watch::Sender<(usize, usize)>);

impl Call {
    fn open(calls: &watch::Sender<(usize, usize)>) -> Self {
        calls.send_modify(|(all, open)| {
            *all += 1;
            *open += 1;
        });
        Self(calls.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.send_modify(|(_, open)| *open -= 1);
    }
}

/// An answer that is part of a call.
struct Counted {
    body: ScriptedBody,
    _call: Call,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
