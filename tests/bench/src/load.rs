//! The callers: a keep-alive connection each, one call after the other.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{Failure, process::Server};

#[derive(Clone, Copy)]
pub(crate) enum Call {
    Json,
    Stream,
}

/// What one server needed for one round of calls.
pub(crate) struct Round {
    /// From the first byte sent to the last byte read, the median call.
    pub(crate) latency: Duration,
    /// Until the head of the answer, the median call.
    pub(crate) head: Duration,
    /// Processor time for each call.
    pub(crate) cpu: Duration,
}

/// Makes so many calls by each of so many callers at once.
pub(crate) async fn run(
    server: &Server,
    call: Call,
    callers: u32,
    calls: u32,
) -> Result<Round, Failure> {
    let mut connected = Vec::new();
    for _ in 0..callers {
        connected.push(Caller::connect(server.address).await?);
    }
    let cpu_before = server.cpu_time()?;
    let mut calling = JoinSet::new();
    for mut caller in connected {
        calling.spawn(async move {
            let times = caller.call(call, calls).await?;
            Ok::<_, Failure>((caller, times))
        });
    }
    let (mut heads, mut latencies) = (Vec::new(), Vec::new());
    let mut done = Vec::new();
    while let Some(called) = calling.join_next().await {
        let (caller, times) = called??;
        done.push(caller);
        for (head, latency) in times {
            heads.push(head);
            latencies.push(latency);
        }
    }
    let cpu = server.cpu_time()?.since(&cpu_before);
    for caller in done {
        drop(caller.sender);
        caller.connection.await??;
    }
    Ok(Round {
        latency: median(&mut latencies),
        head: median(&mut heads),
        cpu: cpu / (callers * calls),
    })
}

struct Caller {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Caller {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            address,
            sender,
            connection: tokio::spawn(connection),
        })
    }

    /// One call after the other; how long each took until the head of its answer, and in all.
    async fn call(&mut self, call: Call, calls: u32) -> Result<Vec<(Duration, Duration)>, Failure> {
        let body = Bytes::from(body(call));
        let mut times = Vec::new();
        for _ in 0..calls {
            let request = Request::post("/openai/eu/v1/chat/completions")
                .header("host", self.address.to_string())
                .header("authorization", "Bearer sk-bench")
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))?;
            let sent = Instant::now();
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let head = sent.elapsed();
            let status = response.status();
            let answer = response.into_body().collect().await?.to_bytes();
            times.push((head, sent.elapsed()));
            check(call, status, &answer)?;
        }
        Ok(times)
    }
}

fn body(call: Call) -> String {
    let prompt = "Why is the sky dark at night, although stars are everywhere? ".repeat(14);
    let stream = match call {
        Call::Json => "",
        Call::Stream => r#","stream":true"#,
    };
    format!(
        r#"{{"model":"gpt-4o","messages":[{{"role":"system","content":"Answer briefly."}},{{"role":"user","content":"{prompt}"}}],"max_tokens":256{stream}}}"#
    )
}

// A fast wrong answer must not win.
fn check(call: Call, status: StatusCode, answer: &[u8]) -> Result<(), String> {
    let complete = match call {
        Call::Json => answer.ends_with(b"}"),
        Call::Stream => answer.ends_with(b"data: [DONE]\n\n"),
    };
    if status == StatusCode::OK && complete {
        Ok(())
    } else {
        Err(format!("{status}: {}", String::from_utf8_lossy(answer)))
    }
}

pub(crate) fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
