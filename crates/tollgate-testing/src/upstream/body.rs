use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    Latch,
    calls::Call,
    line::{Broken, Line},
};

/// What a body does next.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    Hold(Latch),
    Trailers(HeaderMap),
}

/// What a body does last.
#[derive(Clone, Debug)]
pub(super) enum End {
    Close,
    Complete,
    Repeat(Bytes),
    Reset,
    Stall,
}

/// The body of a reply on its way.
pub(super) struct ReplyBody {
    pub(super) steps: std::vec::IntoIter<Step>,
    pub(super) end: End,
    pub(super) length: Option<u64>,
    pub(super) pace: Option<Duration>,
    pub(super) line: Line,
    pub(super) call: Call,
    pub(super) wait: Option<Wait>,
}

/// What has to happen before the next step.
type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let frame = match self.steps.next() {
                Some(Step::Data(bytes)) => self.give(bytes),
                Some(Step::Trailers(trailers)) => Frame::trailers(trailers),
                Some(Step::Hold(latch)) => {
                    self.wait = Some(Box::pin(latch.opened()));
                    continue;
                }
                None => match &self.end {
                    End::Complete => {
                        self.call.is_over();
                        return Poll::Ready(None);
                    }
                    End::Repeat(bytes) => {
                        let bytes = bytes.clone();
                        self.give(bytes)
                    }
                    End::Stall => return Poll::Pending,
                    End::Close => {
                        self.call.is_over();
                        self.line.close();
                        return Poll::Pending;
                    }
                    End::Reset => {
                        self.call.is_over();
                        return match self.line.reset() {
                            Ok(()) => Poll::Pending,
                            Err(broken) => Poll::Ready(Some(Err(broken))),
                        };
                    }
                },
            };
            if self.is_end_stream() {
                self.call.is_over();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.as_slice().is_empty() && matches!(self.end, End::Complete)
    }

    fn size_hint(&self) -> SizeHint {
        let left = |length: u64| SizeHint::with_exact(length - self.call.sent());
        self.length.map_or_else(SizeHint::default, left)
    }
}

impl ReplyBody {
    fn give(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.call.add_sent(bytes.len() as u64);
        let (pace, flushed) = (self.pace, self.line.flushed());
        self.wait = Some(Box::pin(async move {
            flushed.await;
            if let Some(pause) = pace {
                tokio::time::sleep(pause).await;
            }
        }));
        Frame::data(bytes)
    }
}
