//! The operator's own listener: health and metrics, for nobody else.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tollgate::OnFailure;

use crate::{
    metrics::{self, Metrics},
    stack::Insight,
};

/// What the admin listener tells.
#[derive(Debug)]
pub(crate) struct Admin {
    metrics: Arc<Metrics>,
    insight: watch::Receiver<Insight>,
    loaded: AtomicBool,
    leaving: AtomicBool,
}

impl Admin {
    pub(crate) fn new(metrics: Arc<Metrics>, insight: watch::Receiver<Insight>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            insight,
            loaded: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        })
    }

    /// Makes `/readyz` fail from now on, so that no balancer sends further calls.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether the vocabularies have been loaded. What a new configuration adds to them takes
    /// nobody out of a balancer.
    fn is_loaded(&self) -> bool {
        let is_loaded =
            self.loaded.load(Ordering::Relaxed) || self.insight.borrow().counter.is_loaded();
        self.loaded.fetch_or(is_loaded, Ordering::Relaxed);
        is_loaded
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.leaving.load(Ordering::Relaxed) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            }
            // Calls are served meanwhile; their tokens are counted more roughly.
            "/readyz" if !self.is_loaded() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "loading vocabularies\n")
            }
            "/readyz" => match self.insight.borrow().store.shared() {
                Some(store) if !store.primary().is_connected() => match store.on_failure() {
                    // Calls are refused.
                    OnFailure::Closed => {
                        text(StatusCode::SERVICE_UNAVAILABLE, "no store of budgets\n")
                    }
                    _ => text(StatusCode::OK, "ready without the store of budgets\n"),
                },
                _ => text(StatusCode::OK, "ready\n"),
            },
            "/metrics" => text(StatusCode::OK, self.metrics.render(&self.insight.borrow())),
            "/admin/upstreams" => {
                let report = metrics::report(&self.insight.borrow().upstreams);
                let mut response = text(StatusCode::OK, format!("{report:#}\n"));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, Arc::clone(&admin)));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Keeps what is observed from piling up until somebody asks.
pub(crate) async fn tidy(metrics: Arc<Metrics>) {
    let mut ticks = interval(TIDY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        metrics.tidy();
    }
}

async fn converse(stream: TcpStream, admin: Arc<Admin>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = admin.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "an admin connection broke");
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_secs(60);
const MAX_CONNECTIONS: usize = 64;
const TIDY_EVERY: Duration = Duration::from_secs(5);
