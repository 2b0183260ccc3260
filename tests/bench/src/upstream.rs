//! An upstream with Azure's answers, made beforehand: a completion of 1 KB, or 200 events.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    time::{Instant, Sleep, sleep},
};

use crate::Failure;

const EVENTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let completion = Bytes::from(completion());
    let events: Arc<[Bytes]> = events().into();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (completion, events) = (completion.clone(), Arc::clone(&events));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (completion, events) = (completion.clone(), Arc::clone(&events));
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let streamed = body.windows(13).any(|part| part == b"\"stream\":true");
                    let (kind, body) = if streamed {
                        ("text/event-stream", Either::Right(Events::new(events)))
                    } else {
                        ("application/json", Either::Left(Full::new(completion)))
                    };
                    let mut response = Response::new(body);
                    let kind = HeaderValue::from_static(kind);
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                    Ok::<_, hyper::Error>(response)
                }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                eprintln!("upstream: {error}");
            }
        });
    }
}

fn completion() -> String {
    let text = "The sky is dark because most of it is empty, and young. ".repeat(10);
    format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1730000000,"model":"gpt-4o-2024-11-20","system_fingerprint":"fp_bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":200,"completion_tokens":130,"total_tokens":330}}}}"#
    )
}

fn events() -> Vec<Bytes> {
    let chunk = |rest: &str| {
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1730000000,\"model\":\"gpt-4o-2024-11-20\",\"system_fingerprint\":\"fp_bench\",{rest}}}\n\n"
        ))
    };
    let mut events = vec![chunk(
        r#""choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]"#,
    )];
    events.resize(
        EVENTS - 3,
        chunk(r#""choices":[{"index":0,"delta":{"content":" because"},"finish_reason":null}]"#),
    );
    events.push(chunk(
        r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#,
    ));
    events.push(chunk(
        r#""choices":[],"usage":{"prompt_tokens":200,"completion_tokens":196,"total_tokens":396}"#,
    ));
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// One event after the other, as the tokens of a fast model come: each leaves in a write of its own,
/// and finds everybody on its way asleep.
struct Events {
    events: Arc<[Bytes]>,
    sent: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Events {
    fn new(events: Arc<[Bytes]>) -> Self {
        Self {
            events,
            sent: 0,
            pause: None,
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // The first comes with the head.
        match &mut self.pause {
            None => self.pause = Some(Box::pin(sleep(PAUSE))),
            Some(pause) => {
                ready!(pause.as_mut().poll(cx));
                pause.as_mut().reset(Instant::now() + PAUSE);
            }
        }
        let event = self.events.get(self.sent).cloned();
        self.sent += 1;
        Poll::Ready(event.map(|event| Ok(Frame::data(event))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.events.len()
    }
}
