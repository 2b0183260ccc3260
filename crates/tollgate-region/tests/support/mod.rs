//! Upstreams to be called, and calls for them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Collected};
use tollgate_core::{Member, Model, RequestBody, SharedBody};
use tollgate_region::{DeploymentStatus, Fault, Region, Upstream, UpstreamLayer, Upstreams};
use tollgate_testing::{ScriptedBody, check_body};
use tower::Service;

pub fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

/// An Azure upstream at `http://{name}.test` that serves `gpt-4o` from `{name}-secret-deployment`.
pub fn azure(name: &str, in_region: &str) -> Upstream {
    let url = format!("http://{name}.test");
    let key = format!("key-of-{name}");
    let deployment = format!("{name}-secret-deployment");
    Upstream::azure(name, region(in_region), url, key).deployment("gpt-4o", deployment)
}

/// What arrived at a client.
#[derive(Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub extensions: Extensions,
    pub body: Bytes,
}

impl Seen {
    pub fn host(&self) -> &str {
        self.uri.host().unwrap()
    }
}

/// How a client deals with one request.
pub enum Reaction {
    Answer(Response<ScriptedBody>),
    Break(Fault),
    Hang,
    /// Wait before reacting.
    After(Duration, Box<Reaction>),
}

#[derive(Clone, Copy, Debug)]
pub struct ClientError(pub Fault);

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connecting to http://sweden.test with key-of-sweden failed")
    }
}

impl std::error::Error for ClientError {}

pub fn classify(error: &ClientError) -> Fault {
    error.0
}

type React = dyn FnMut(&Seen) -> Reaction + Send;

/// A client that must be polled ready before each call, records what it is asked, and reacts by
/// script.
pub struct Client {
    react: Arc<Mutex<React>>,
    log: Arc<Mutex<Vec<Seen>>>,
    ready: bool,
}

impl Client {
    pub fn new(react: impl FnMut(&Seen) -> Reaction + Send + 'static) -> Self {
        Self {
            react: Arc::new(Mutex::new(react)),
            log: Arc::default(),
            ready: false,
        }
    }

    /// The hosts that were called, in order.
    pub fn hosts(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().map(|seen| seen.host().to_owned()).collect()
    }

    /// The only request that came.
    pub fn only(&self) -> Seen {
        let mut log = self.log.lock().unwrap();
        assert_eq!(log.len(), 1);
        log.remove(0)
    }

    pub fn forget(&self) -> Vec<Seen> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self {
            react: Arc::clone(&self.react),
            log: Arc::clone(&self.log),
            // Readiness belongs to one instance.
            ready: false,
        }
    }
}

impl Service<Request<RequestBody<ScriptedBody>>> for Client {
    type Response = Response<ScriptedBody>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ScriptedBody>, ClientError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<ScriptedBody>>) -> Self::Future {
        let was_ready = std::mem::take(&mut self.ready);
        assert!(was_ready, "called without having been polled ready");
        let (react, log) = (Arc::clone(&self.react), Arc::clone(&self.log));
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(Collected::to_bytes);
            let seen = Seen {
                method: head.method,
                uri: head.uri,
                version: head.version,
                headers: head.headers,
                extensions: head.extensions,
                body: body.map_err(|_| ClientError(Fault::Other))?,
            };
            let mut reaction = react.lock().unwrap()(&seen);
            log.lock().unwrap().push(seen);
            loop {
                reaction = match reaction {
                    Reaction::Answer(answer) => return Ok(answer),
                    Reaction::Break(fault) => return Err(ClientError(fault)),
                    Reaction::Hang => std::future::pending().await,
                    Reaction::After(time, then) => {
                        tokio::time::sleep(time).await;
                        *then
                    }
                }
            }
        })
    }
}

/// An answer with this status and JSON body.
pub fn answer(status: u16, body: &str) -> Reaction {
    answer_with(status, &[], body)
}

pub fn answer_with(status: u16, headers: &[(&str, &str)], body: &str) -> Reaction {
    let mut answer = Response::builder().status(status);
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        answer = answer.header("content-type", "application/json");
    }
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    let body = ScriptedBody::new().data(body.to_owned());
    Reaction::Answer(answer.body(body).unwrap())
}

pub fn ok() -> Reaction {
    answer(200, "{}")
}

pub const JSON: &str = r#"{"model": "gpt-4o", "messages": []}"#;

pub fn shared() -> SharedBody {
    let members = vec![
        Member::new("model", 1, 10..18),
        Member::new("messages", 20, 32..34),
    ];
    SharedBody::new(JSON.into(), members)
}

/// A call for `gpt-4o` in this region, its body read.
pub fn call(in_region: &str) -> Request<ScriptedBody> {
    let mut request = unread(in_region);
    request.extensions_mut().insert(shared());
    request
}

/// The same, its body not read.
pub fn unread(in_region: &str) -> Request<ScriptedBody> {
    let body = ScriptedBody::new().data(JSON);
    let mut request = Request::post("/v1/chat/completions").body(body).unwrap();
    request.extensions_mut().insert(region(in_region));
    request.extensions_mut().insert(Model::new("gpt-4o"));
    request
}

/// An answer's head and text.
pub async fn read<B>(answer: Response<B>) -> (Response<()>, String)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Debug,
{
    let (head, body) = answer.into_parts();
    let received = check_body(body).await;
    let text = String::from_utf8(received.data.to_vec()).unwrap();
    (Response::from_parts(head, ()), text)
}

/// All of eu's upstreams, with choices that can be repeated.
pub fn eu(upstreams: impl IntoIterator<Item = Upstream>) -> Upstreams {
    let builder = Upstreams::builder().pool(region("eu"), upstreams).seed(7);
    builder.build().unwrap()
}

pub fn layer(upstreams: &Upstreams) -> UpstreamLayer<fn(&ClientError) -> Fault> {
    UpstreamLayer::new(upstreams.clone()).classify(classify)
}

/// The status of the upstream of this name.
pub fn status_of(upstreams: &Upstreams, name: &str) -> DeploymentStatus {
    let all = upstreams.status().into_iter();
    let mut named = all.filter(|status| &*status.upstream == name);
    named.next().unwrap()
}
