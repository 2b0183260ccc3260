//! The caller: one keep-alive connection, one call after the other.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

use crate::process::Server;

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

pub(crate) async fn run(server: &Server, call: Call, calls: u32) -> Result<Round, Box<dyn Error>> {
    let stream = TcpStream::connect(server.address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);

    let body = Bytes::from(body(call));
    let cpu_before = server.cpu_time()?;
    let (mut heads, mut latencies) = (Vec::new(), Vec::new());
    for _ in 0..calls {
        let request = Request::post("/openai/eu/v1/chat/completions")
            .header("host", server.address.to_string())
            .header("authorization", "Bearer sk-bench")
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        let sent = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        heads.push(sent.elapsed());
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        latencies.push(sent.elapsed());
        check(call, status, &answer)?;
    }
    let cpu = server.cpu_time()?.since(&cpu_before);
    drop(sender);
    connection.await??;
    Ok(Round {
        latency: median(&mut latencies),
        head: median(&mut heads),
        cpu: cpu / calls,
    })
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
