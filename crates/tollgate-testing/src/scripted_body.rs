use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body that does exactly what its script says, and panics when it is polled past its end.
///
/// ```
/// use tollgate_testing::ScriptedBody;
///
/// // Two frames with a pause between them, and then the connection breaks.
/// let body = ScriptedBody::new().data("one").pending().data("two").error();
/// # drop(body);
/// ```
#[derive(Debug, Default)]
pub struct ScriptedBody {
    script: VecDeque<Step>,
    ended: bool,
    announce_length: bool,
    watch: BodyWatch,
}

#[derive(Debug)]
enum Step {
    Data(Bytes),
    Error,
    Hang,
    Pending,
    Trailers(HeaderMap),
}

impl ScriptedBody {
    /// An empty body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Then a data frame, which may be empty.
    #[must_use]
    pub fn data(mut self, bytes: impl Into<Bytes>) -> Self {
        self.script.push_back(Step::Data(bytes.into()));
        self
    }

    /// Then one data frame for each of these.
    #[must_use]
    pub fn frames<B: Into<Bytes>>(mut self, frames: impl IntoIterator<Item = B>) -> Self {
        let steps = frames.into_iter().map(|bytes| Step::Data(bytes.into()));
        self.script.extend(steps);
        self
    }

    /// Then trailers.
    #[must_use]
    pub fn trailers(mut self, trailers: HeaderMap) -> Self {
        self.script.push_back(Step::Trailers(trailers));
        self
    }

    /// Then one poll that is not ready yet; the task is woken at once.
    #[must_use]
    pub fn pending(mut self) -> Self {
        self.script.push_back(Step::Pending);
        self
    }

    /// Then nothing more, for ever: an upstream that went silent.
    #[must_use]
    pub fn hang(mut self) -> Self {
        self.script.push_back(Step::Hang);
        self
    }

    /// Then an error, which ends the body.
    #[must_use]
    pub fn error(mut self) -> Self {
        self.script.push_back(Step::Error);
        self
    }

    /// Announces its exact length and its end, as a body with a content-length does. Without it
    /// the length is unknown, as with chunked transfer.
    #[must_use]
    pub fn announce_length(mut self) -> Self {
        self.announce_length = true;
        self
    }

    /// A handle that tells what has become of the body.
    #[must_use]
    pub fn watch(&self) -> BodyWatch {
        self.watch.clone()
    }

    fn is_plain_data(&self) -> bool {
        let plain = |step: &Step| matches!(step, Step::Data(_) | Step::Pending);
        self.script.iter().all(plain)
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptError>>> {
        assert!(!self.ended, "the body was polled after its end");
        self.watch.0.polls.fetch_add(1, Ordering::SeqCst);
        match self.script.pop_front() {
            Some(Step::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Hang) => {
                self.script.push_front(Step::Hang);
                Poll::Pending
            }
            Some(Step::Error) => {
                self.ended = true;
                Poll::Ready(Some(Err(ScriptError(()))))
            }
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.announce_length && self.script.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.announce_length || !self.is_plain_data() {
            return SizeHint::default();
        }
        let length = |step: &Step| match step {
            Step::Data(bytes) => bytes.len() as u64,
            _ => 0,
        };
        SizeHint::with_exact(self.script.iter().map(length).sum())
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        self.watch.0.dropped.store(true, Ordering::SeqCst);
    }
}

/// What has become of a [`ScriptedBody`].
#[derive(Clone, Debug, Default)]
pub struct BodyWatch(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    polls: AtomicU64,
    dropped: AtomicBool,
}

impl BodyWatch {
    /// How often it was polled.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.0.polls.load(Ordering::SeqCst)
    }

    /// Whether it has been dropped.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.0.dropped.load(Ordering::SeqCst)
    }
}

/// The error that a script asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptError(());

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script broke the body off")
    }
}

impl std::error::Error for ScriptError {}
