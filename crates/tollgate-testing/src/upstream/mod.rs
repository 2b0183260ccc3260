//! An upstream that answers by script over real connections, with every fault that a test asks for.
//!
//! ```
//! use http_body_util::{BodyExt, Empty};
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tollgate_testing::upstream::{Reply, ScriptedUpstream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // It fails at first, and breaks down in the middle of the second answer.
//! let upstream = ScriptedUpstream::in_turn([
//!     Reply::json(r#"{"error": "busy"}"#).status(503).header("retry-after", "1"),
//!     Reply::json(r#"{"greeting": "hello"}"#).reset_after(10),
//! ])
//! .await;
//!
//! // Put what you test here, and point it at the upstream.
//! let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
//! let url: http::Uri = format!("{}/greet", upstream.url()).parse().unwrap();
//! let first = client.get(url.clone()).await.unwrap();
//! assert_eq!(first.status(), 503);
//! let second = client.get(url).await.unwrap();
//! assert!(second.into_body().collect().await.is_err());
//!
//! let received = upstream.received();
//! assert_eq!(received.len(), 2);
//! assert_eq!(received[1].uri().path(), "/greet");
//! # }
//! ```

mod body;
mod calls;
mod latch;
mod line;
mod reply;

pub use latch::Latch;
pub use reply::Reply;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{AbortHandle, JoinSet},
};

use body::ReplyBody;
use calls::Calls;
use line::{Broken, Line, Socket, Wishes};
use reply::BeforeHead;

/// A server on a loopback socket that speaks HTTP/1.1 and HTTP/2 without TLS, answers by script,
/// and remembers what it was asked. It stops when it is dropped.
///
/// It lives in the runtime that it was started in. Its methods that wait give up after 20 seconds
/// and panic: tests that fail should not hang. Real sockets and tokio's paused time do not go
/// together.
///
/// See the [module](self) for an example.
#[derive(Debug)]
pub struct ScriptedUpstream {
    address: SocketAddr,
    calls: Calls,
    what_it_is: Kind,
}

#[derive(Debug)]
enum Kind {
    Refusing(#[expect(dead_code, reason = "keeps the port")] TcpSocket),
    Serving(AbortHandle),
}

impl ScriptedUpstream {
    /// Starts one that answers each request with what `script` makes of it. If that panics, the
    /// connection breaks.
    ///
    /// # Panics
    ///
    /// If there is no socket to be had.
    pub async fn start<F>(script: F) -> Self
    where
        F: FnMut(&Request<Bytes>) -> Reply + Send + 'static,
    {
        let socket = bound_socket();
        socket
            .set_send_buffer_size(SEND_BUFFER)
            .expect("buffers of this size are allowed");
        let listener = socket.listen(1_024).expect("the port is free");
        let address = listener.local_addr().expect("it listens somewhere");
        let calls = Calls::default();
        let server = Server {
            script: Mutex::new(script),
            calls: calls.clone(),
        };
        let serving = tokio::spawn(accept(listener, Arc::new(server)));
        Self {
            address,
            calls,
            what_it_is: Kind::Serving(serving.abort_handle()),
        }
    }

    /// Starts one that gives these answers in turn, and then the last of them again and again.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn in_turn(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        let last = replies.pop_back().expect("a script of one reply at least");
        Self::start(move |_| replies.pop_front().unwrap_or_else(|| last.clone())).await
    }

    /// One that refuses connections. Its port stays its own.
    ///
    /// # Panics
    ///
    /// If there is no socket to be had.
    #[must_use]
    pub fn refusing() -> Self {
        let socket = bound_socket();
        Self {
            address: socket.local_addr().expect("it is bound"),
            calls: Calls::default(),
            what_it_is: Kind::Refusing(socket),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL without a path: `http://127.0.0.1:1234`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, each as soon as its body has ended. One whose caller left in the middle
    /// is there with the part of its body that came, and is not answered.
    #[must_use]
    pub fn received(&self) -> Vec<Request<Bytes>> {
        self.calls.received().clone()
    }

    /// The requests since this was last asked. They are forgotten.
    #[must_use]
    pub fn take_received(&self) -> Vec<Request<Bytes>> {
        std::mem::take(&mut self.calls.received())
    }

    /// The only request so far.
    ///
    /// # Panics
    ///
    /// If there were others, or none.
    #[must_use]
    pub fn received_one(&self) -> Request<Bytes> {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "not one request: {received:?}");
        received.remove(0)
    }

    /// How many callers have left before the end of their answer. Whoever leaves an answer that
    /// [stalls](Reply::stall) or is [endless](Reply::endless) is one of them.
    #[must_use]
    pub fn left(&self) -> usize {
        self.calls.counts().left
    }

    /// The connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.calls.counts().connections
    }

    /// The connections that were ever opened.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.calls.counts().accepted
    }

    /// How many bytes of bodies have been handed to connections.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.calls.counts().sent
    }

    /// Waits until so many requests have come in all.
    pub async fn called(&self, times: usize) {
        let enough = |counts: &calls::Counts| counts.received >= times;
        let what = format!("{times} calls");
        self.calls.wait_for(&what, enough).await;
    }

    /// Waits until every call that has come is answered to its end, or left by its caller.
    pub async fn idle(&self) {
        let idle = |counts: &calls::Counts| counts.open == 0;
        self.calls.wait_for("the end of all calls", idle).await;
    }

    /// Waits until no connection is open.
    pub async fn disconnected(&self) {
        let none = |counts: &calls::Counts| counts.connections == 0;
        let what = "the end of all connections";
        self.calls.wait_for(what, none).await;
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        if let Kind::Serving(server) = &self.what_it_is {
            server.abort();
        }
    }
}

/// Operating systems would hold megabytes for each caller that is slow.
const SEND_BUFFER: u32 = 64 << 10;

fn bound_socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any_port = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(any_port).expect("a port");
    socket
}

struct Server<F> {
    script: Mutex<F>,
    calls: Calls,
}

async fn accept<F>(listener: TcpListener, server: Arc<Server<F>>)
where
    F: FnMut(&Request<Bytes>) -> Reply + Send + 'static,
{
    // They end with this one.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(stream, Arc::clone(&server)));
    }
}

async fn serve<F>(stream: TcpStream, server: Arc<Server<F>>)
where
    F: FnMut(&Request<Bytes>) -> Reply + Send + 'static,
{
    // It fails where the caller is gone already.
    let _ = stream.set_nodelay(true);
    let _connection = server.calls.open_connection();
    let wishes = Arc::<Wishes>::default();
    let socket = Socket {
        stream,
        wishes: Arc::clone(&wishes),
        yielded: false,
    };
    let service = service_fn(|request| {
        let line = Line {
            version: request.version(),
            wishes: Arc::clone(&wishes),
        };
        answer(request, Arc::clone(&server), line)
    });
    let protocol = auto::Builder::new(TokioExecutor::new());
    let serving = protocol.serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        biased;
        () = wishes.end() => {}
        // Connections break on purpose here, and callers leave.
        _ = serving => {}
    }
}

async fn answer<F>(
    request: Request<Incoming>,
    server: Arc<Server<F>>,
    line: Line,
) -> Result<Response<ReplyBody>, Broken>
where
    F: FnMut(&Request<Bytes>) -> Reply + Send + 'static,
{
    let mut call = server.calls.open_call();
    let (head, mut body) = request.into_parts();
    let (mut data, mut breaks) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => data.extend_from_slice(&bytes),
            Ok(Err(_trailers)) => {}
            Err(_) => {
                breaks = Some(Broken);
                break;
            }
        }
    }
    let request = Request::from_parts(head, data.freeze());
    server.calls.receive(request.clone());
    if let Some(broken) = breaks {
        return Err(broken);
    }
    let mut reply = {
        let mut script = server.script.lock().expect("a script that does not panic");
        script(&request)
    };
    match reply.before_head.clone() {
        BeforeHead::Nothing => {}
        BeforeHead::Hold(latch) => latch.opened().await,
        BeforeHead::Silence => std::future::pending::<()>().await,
        BeforeHead::HangUp => {
            call.is_over();
            line.close();
            std::future::pending::<()>().await;
        }
        BeforeHead::Abort => {
            call.is_over();
            line.reset()?;
            std::future::pending::<()>().await;
        }
    }
    if let Some(bytes) = reply.writes {
        line.dribble(bytes);
    }
    let mut response = Response::builder().status(reply.status);
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(&mut reply.headers);
    }
    let (length, pace) = (reply.length(), reply.pace);
    let (steps, end) = reply.into_steps();
    let mut body = ReplyBody {
        steps: steps.into_iter(),
        end,
        length,
        pace,
        line,
        call,
        wait: None,
    };
    if body.is_end_stream() || request.method() == Method::HEAD {
        // Nobody asks for it.
        body.call.is_over();
    }
    Ok(response.body(body).expect("status and headers are valid"))
}
