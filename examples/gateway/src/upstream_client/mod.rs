//! The clients that upstreams are called with.

mod body;

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::Authority};
use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{
    BoxError, Service, ServiceExt,
    timeout::{Timeout, future::ResponseFuture as TimeoutFuture},
    util::MapFuture,
};

use crate::config::{Config, Timeouts};

use body::UpstreamBody;

/// Pooled clients over HTTP/1.1 and HTTP/2, with TLS for `https` URLs.
///
/// The clock of a connection attempt belongs to the connector, and connections are shared by
/// calls. So there is one client for each distinct clock, and an upstream's host says which is its.
///
/// Cheap to clone: each layer clones what it wraps for each call.
pub(crate) struct UpstreamClients<B>(Arc<Clients<B>>);

struct Clients<B> {
    by_clock: HashMap<Duration, HttpsClient<B>>,
    usual: HttpsClient<B>,
    /// The hosts with another clock than the usual.
    hosts: HashMap<Authority, HttpsClient<B>>,
}

type HttpsClient<B> = Client<Connector, B>;

/// Gives up when neither TCP nor TLS has come to an end in time: a server that accepts and then
/// says nothing is not connected to.
type Connector = MapFuture<Timeout<Https>, fn(Connecting) -> Pin<Box<Connecting>>>;
type Connecting = TimeoutFuture<<Https as Service<Uri>>::Future>;
type Https = HttpsConnector<HttpConnector>;

impl<B> UpstreamClients<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// The clients that are configured. Those that were there before go on, and their connections
    /// with them: no credentials belong to a connection.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Result<Self, rustls::Error> {
        let mut by_clock = HashMap::new();
        let mut with_clock = |connect| {
            let known = by_clock.get(&connect);
            let known = known.or_else(|| before?.0.by_clock.get(&connect)).cloned();
            let client = known.map_or_else(|| client(connect), Ok)?;
            by_clock.insert(connect, client.clone());
            Ok::<_, rustls::Error>(client)
        };
        let usual_connect = Timeouts::default().connect;
        let usual = with_clock(usual_connect)?;
        let mut hosts = HashMap::new();
        for upstream in config.regions.values().flat_map(|region| &region.upstreams) {
            let connect = upstream.timeouts.connect;
            let client = with_clock(connect)?;
            let url = upstream
                .url
                .as_deref()
                .and_then(|url| url.parse::<Uri>().ok());
            let Some(host) = url.as_ref().and_then(Uri::authority) else {
                continue;
            };
            if connect == usual_connect {
                hosts.remove(host);
            } else {
                hosts.insert(host.clone(), client);
            }
        }
        Ok(Self(Arc::new(Clients {
            by_clock,
            usual,
            hosts,
        })))
    }
}

impl<B> Service<Request<B>> for UpstreamClients<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<UpstreamBody>;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        let host = request.uri().authority();
        let client = host.and_then(|host| self.0.hosts.get(host));
        Answering(client.unwrap_or(&self.0.usual).request(request))
    }
}

/// An answer that has not come yet.
pub(crate) struct Answering(ResponseFuture);

impl Future for Answering {
    type Output = Result<Response<UpstreamBody>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx))?;
        Poll::Ready(Ok(answer.map(UpstreamBody::new)))
    }
}

impl<B> Clone for UpstreamClients<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for UpstreamClients<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamClients").finish_non_exhaustive()
    }
}

fn client<B>(connect: Duration) -> Result<HttpsClient<B>, rustls::Error>
where
    B: Body<Data = Bytes> + Send,
{
    let mut tcp = HttpConnector::new();
    // TLS is the outer connector's business.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    let connector = ServiceExt::<Uri>::map_future(Timeout::new(tls, connect), Box::pin as _);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .http2_max_header_list_size(16 << 10)
        .http2_keep_alive_interval(HTTP2_PING)
        .http2_keep_alive_timeout(HTTP2_PONG);
    Ok(builder.build(connector))
}

const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
const POOL_IDLE: Duration = Duration::from_secs(60);
const MAX_HEAD_BYTES: usize = 64 << 10;
const HTTP2_PING: Duration = Duration::from_secs(30);
const HTTP2_PONG: Duration = Duration::from_secs(20);
