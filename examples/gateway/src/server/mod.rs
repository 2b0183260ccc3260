//! The listener: connections, their clocks and caps, and their end.

mod again;
mod connection;
mod exchange;
mod head;
mod notice;

use std::{fmt, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tollgate::{DrainBody, DrainOnRefusalLayer};
use tower::{BoxError, Layer, Service, service_fn};

use self::{
    again::{Again, Relay},
    connection::{CallerIo, OpenCalls},
    exchange::Calls,
    notice::{Graceful, Notice},
};
use crate::{
    config::ServerLimits,
    metrics::{CallsInFlight, Metrics},
};

/// Serves every connection of the listener until `stop` is ready, and then until open calls have
/// ended or the time for draining is over. The service must always be ready.
///
/// Streams that are cut at that time end with an error event, so that nobody takes what came for
/// the whole answer.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    limits: ServerLimits,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<DrainBody<Incoming>>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: fmt::Display + Send,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (cut, cut_seen) = watch::channel(false);
    let places = Arc::new(Semaphore::new(
        limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    let (last_call, _) = watch::channel(false);
    let protocol = Arc::new(protocol(&limits));
    let calls = Arc::new(Calls {
        in_flight: CallsInFlight::new(limits.in_flight, &metrics),
        metrics,
        cut: cut_seen,
    });
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let conversation = Conversation {
                    protocol: Arc::clone(&protocol),
                    service: service.clone(),
                    calls: Arc::clone(&calls),
                    limits,
                };
                let last_call = Notice::new(last_call.subscribe());
                tokio::spawn(async move {
                    conversation.hold(stream, last_call).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most likely there are no file descriptors left; they come back.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    drop(listener);
    last_call.send_replace(true);
    // Each connection looks for the last call to its own end.
    let mut drained = pin!(last_call.closed());
    if timeout(limits.drain, &mut drained).await.is_err() {
        tracing::warn!("open calls are cut: the time for draining is over");
        cut.send_replace(true);
        let _ = timeout(LAST_WORDS, drained).await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// The protocol's own limits.
fn protocol(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `CallerIo` has the clocks of heads.
        .header_read_timeout(None)
        // Wider than ours, so that what is too much is refused in OpenAI's words.
        .max_headers(READABLE_HEADERS)
        // A head must fit into the buffer.
        .max_buf_size(READABLE_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle / 2)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(100)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10)
        .max_pending_accept_reset_streams(20)
        .max_header_list_size(READABLE_HEADER_LIST);
    builder
}

/// What a connection needs.
struct Conversation<S> {
    protocol: Arc<auto::Builder<TokioExecutor>>,
    service: S,
    calls: Arc<Calls>,
    limits: ServerLimits,
}

impl<S> Conversation<S> {
    async fn hold<B>(self, stream: TcpStream, last_call: Notice)
    where
        S: Service<Request<DrainBody<Incoming>>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: fmt::Display + Send,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let relay = Arc::<Relay>::default();
        let open_calls = Arc::new(OpenCalls::new(Arc::clone(&relay)));
        let io = CallerIo::new(stream, Arc::clone(&open_calls), self.limits);
        let (service, calls) = (self.service, self.calls);
        let answer = service_fn(move |request: Request<DrainBody<Incoming>>| {
            let open = open_calls.begin(request.version());
            Arc::clone(&calls).exchange(service.clone(), request, open)
        });
        // Outside the exchange, because whoever is heard out after a refusal is no call any more.
        let discard = self.limits.discard;
        let discard_bytes = self.limits.discard_bytes.unwrap_or_default();
        let drain = DrainOnRefusalLayer::new(discard_bytes, move || sleep(discard));
        let answer = AlwaysReady(drain.layer(answer));
        let connection = self.protocol.serve_connection(TokioIo::new(io), answer);
        let connection = Graceful::new(connection.into_owned(), last_call);
        if let Err(error) = Again::new(connection, relay).await {
            tracing::debug!(error, "a connection broke");
        }
    }
}

/// Gives requests to a service without asking whether it is ready.
struct AlwaysReady<S>(S);

impl<S, R> hyper::service::Service<R> for AlwaysReady<S>
where
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: R) -> S::Future {
        self.0.clone().call(request)
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const LAST_WORDS: Duration = Duration::from_secs(1);
const READABLE_HEAD_BYTES: usize = 32 << 10;
const READABLE_HEADER_LIST: u32 = 32 << 10;
const READABLE_HEADERS: usize = 128;
