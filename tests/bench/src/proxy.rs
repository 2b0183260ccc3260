//! The baseline: hyper's server, hyper-util's pooled client, and nothing between them but the
//! change of address; or, to see what it costs alone, the re-framer.
//!
//! It does less than a proxy that one could use: it has no clock but that for heads, no cap, no
//! graceful end, no metrics, and it passes every header on, those of the connection included. So
//! its figures are a floor, not a rival's.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use hyper::{
    Request, Response, Uri,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpListener;
use tollgate_sse::SseLayer;
use tower_layer::Layer;
use tower_service::Service;

use crate::Failure;

pub(crate) async fn serve(target: SocketAddr) -> Result<(), Failure> {
    listen(target, client()).await
}

pub(crate) async fn serve_reframed(target: SocketAddr) -> Result<(), Failure> {
    listen(target, SseLayer::new().layer(client())).await
}

fn client() -> Client<HttpConnector, Incoming> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn listen<S, B>(target: SocketAddr, client: S) -> Result<(), Failure>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<Failure>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Failure>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        tokio::spawn(async move {
            let service = service_fn(|mut request: Request<Incoming>| {
                let path = request
                    .uri()
                    .path_and_query()
                    .map_or("/", |path| path.as_str());
                let uri = format!("http://{target}{path}").parse::<Uri>();
                let mut client = client.clone();
                async move {
                    *request.uri_mut() = uri.map_err(io::Error::other)?;
                    // A pooled client is always ready.
                    client.call(request).await.map_err(io::Error::other)
                }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                eprintln!("proxy: {error}");
            }
        });
    }
}
