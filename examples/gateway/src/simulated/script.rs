//! A body that is sent in pieces, with pauses.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// A response body that follows a plan.
pub(super) struct Script {
    steps: VecDeque<Step>,
    /// Runs while the first step waits for its turn.
    pause: Option<Pin<Box<Sleep>>>,
    /// The length to declare, if any.
    length: Option<u64>,
}

struct Step {
    after: Duration,
    /// `None` breaks the connection.
    bytes: Option<Bytes>,
}

impl Script {
    pub(super) const fn new() -> Self {
        Self {
            steps: VecDeque::new(),
            pause: None,
            length: None,
        }
    }

    /// All bytes at once, with their length.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let mut script = Self::new();
        script.send(Duration::ZERO, bytes);
        script.length = Some(length);
        script
    }

    /// The first half of the bytes, and then a broken connection.
    pub(super) fn half(mut bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        bytes.truncate(bytes.len() / 2);
        let mut script = Self::whole(bytes);
        script.cut();
        script.length = Some(length);
        script
    }

    /// Sends bytes once `after` has passed since what was sent before.
    pub(super) fn send(&mut self, after: Duration, bytes: Bytes) {
        self.steps.push_back(Step {
            after,
            bytes: Some(bytes),
        });
    }

    /// Breaks the connection.
    pub(super) fn cut(&mut self) {
        self.steps.push_back(Step {
            after: CUT_PAUSE,
            bytes: None,
        });
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let Some(step) = this.steps.front() else {
            return Poll::Ready(None);
        };
        if !step.after.is_zero() {
            let pause = this
                .pause
                .get_or_insert_with(|| Box::pin(sleep(step.after)));
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let bytes = this.steps.pop_front().and_then(|step| step.bytes);
        Poll::Ready(Some(bytes.map(Frame::data).ok_or(Cut)))
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The plan was to break the connection here.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated upstream breaks the connection")
    }
}

impl std::error::Error for Cut {}

// What was sent before should have arrived when the connection breaks.
const CUT_PAUSE: Duration = Duration::from_millis(20);
