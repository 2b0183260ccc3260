//! An upstream that answers what a test tells it to, over real connections.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpSocket,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::PATIENCE;

/// A server on loopback that stops when it is dropped.
pub struct Upstream {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What the last message says.
    pub fn text(&self) -> String {
        let json = self.json();
        let last = json["messages"].as_array().unwrap().last().unwrap().clone();
        last["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// An answer: its head, and then what a task sends.
pub struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(String, String)>,
    pub body: mpsc::Receiver<Piece>,
}

/// A part of an answer's body; `None` breaks the connection.
pub type Piece = Option<Bytes>;

impl Reply {
    /// An answer whose pieces are all known.
    pub fn new(status: u16, kind: &str, pieces: Vec<Piece>) -> Self {
        let (sender, body) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body,
        }
    }

    pub fn json(status: u16, json: &Value) -> Self {
        let body = Some(Bytes::from(json.to_string()));
        Self::new(status, "application/json", vec![body])
    }

    /// A completion that used so many tokens of prompt and answer.
    pub fn completion(prompt: u64, completion: u64) -> Self {
        Self::json(200, &completion_of(prompt, completion))
    }

    /// A stream of these events, without more.
    pub fn events(events: &[Value]) -> Self {
        let event = |event: &Value| Some(Bytes::from(format!("data: {event}\n\n")));
        Self::new(200, EVENTS, events.iter().map(event).collect())
    }

    /// A stream whose pieces a test sends when it wants.
    pub fn open() -> (mpsc::Sender<Piece>, Self) {
        let (sender, body) = mpsc::channel(1);
        let reply = Self {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), EVENTS.to_owned())],
            body,
        };
        (sender, reply)
    }
}

impl Upstream {
    /// Starts a server that answers what `reply` makes of each request.
    pub async fn start<F>(reply: F) -> Self
    where
        F: Fn(&Seen) -> Reply + Send + Sync + 'static,
    {
        let socket = TcpSocket::new_v4().unwrap();
        // Systems would hold megabytes for each reader that is slow.
        socket.set_send_buffer_size(64 << 10).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1_024).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new((reply, Arc::clone(&seen)));
        let open = Arc::clone(&connections);
        let server = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (shared, open) = (Arc::clone(&shared), Arc::clone(&open));
                tasks.spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(|request: Request<Incoming>| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(answer(request, &shared.0, &shared.1).await) }
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            url,
            seen,
            connections,
            server,
        }
    }

    /// Starts a server that sends events as fast as they are read, and counts their bytes.
    pub async fn endless() -> (Self, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let upstream = Self::start(move |_| {
            let counter = Arc::clone(&counter);
            let (sender, reply) = Reply::open();
            tokio::spawn(async move {
                let event = format!("data: {}\n\n", chunk(&"cat ".repeat(4_000), None));
                let event = Bytes::from(event);
                while sender.send(Some(event.clone())).await.is_ok() {
                    counter.fetch_add(event.len(), Ordering::Relaxed);
                }
            });
            reply
        });
        (upstream.await, sent)
    }

    /// The requests that have come since this was last asked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// How many of those there are.
    pub fn seen_so_far(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Waits until the upstream is left alone.
pub async fn await_no_connections(upstream: &Upstream) {
    let started = Instant::now();
    while upstream.connections() > 0 {
        let open = upstream.connections();
        assert!(started.elapsed() < PATIENCE, "{open} connections are left");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until an endless upstream is no longer read: every buffer on the way to so many clients
/// fills up, most of them the operating system's.
pub async fn await_stall(sent: &AtomicUsize, clients: usize) {
    let mut before = 0;
    loop {
        sleep(Duration::from_millis(300)).await;
        let now = sent.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return;
        }
        assert!(now < clients * (64 << 20), "nothing holds it back");
        before = now;
    }
}

async fn answer<F>(
    request: Request<Incoming>,
    reply: &F,
    seen: &Mutex<Vec<Seen>>,
) -> Response<impl hyper::body::Body<Data = Bytes, Error = Broken> + use<F>>
where
    F: Fn(&Seen) -> Reply,
{
    let (head, body) = request.into_parts();
    let request = Seen {
        target: head.uri.to_string(),
        headers: head.headers,
        body: body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default(),
    };
    let reply = reply(&request);
    seen.lock().unwrap().push(request);
    let mut pieces = reply.body;
    let pieces = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
    let frames = futures_util::StreamExt::map(pieces, |piece| piece.map(Frame::data).ok_or(Broken));
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(StreamBody::new(frames)).unwrap()
}

/// The connection is to break here.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for Broken {}

pub fn completion_of(prompt: u64, completion: u64) -> Value {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_763_900_000,
        "model": "gpt-4o-2024-11-20",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    })
}

/// A chunk with this text.
pub fn chunk(content: &str, finish_reason: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_763_900_000,
        "model": "gpt-4o-2024-11-20",
        "choices": [{
            "index": 0,
            "delta": {"content": content},
            "logprobs": null,
            "finish_reason": finish_reason,
        }],
    })
}

pub const EVENTS: &str = "text/event-stream; charset=utf-8";
