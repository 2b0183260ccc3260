//! The bodies of upstreams' answers.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};

/// An answer's body.
///
/// A stream is let go at its last event, and over HTTP/1.1 a connection whose body was not read to
/// its end serves no other call. So what little follows the last event is still read.
pub(crate) struct UpstreamBody {
    /// Until it is dropped.
    body: Option<Incoming>,
    /// The last event has come.
    is_done: bool,
}

impl UpstreamBody {
    pub(super) const fn new(body: Incoming) -> Self {
        Self {
            body: Some(body),
            is_done: false,
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        let data = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.is_done = data.is_some_and(|data| data.trim_ascii_end().ends_with(DONE));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        let rest = self
            .body
            .take()
            .filter(|rest| self.is_done && !rest.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(timeout(LONGEST_END, read_to_end(rest)));
        }
    }
}

async fn read_to_end(mut rest: Incoming) {
    let mut frames = 0;
    while let Some(Ok(_)) = rest.frame().await {
        frames += 1;
        if frames == MAX_FRAMES {
            return;
        }
    }
}

const DONE: &[u8] = b"[DONE]";

/// Enough for what has been sent already; a new connection costs as much as waiting for more.
const LONGEST_END: Duration = Duration::from_millis(250);

const MAX_FRAMES: u32 = 16;
