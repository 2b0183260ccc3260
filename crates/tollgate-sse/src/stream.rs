//! A streamed answer on its way: the upstream's body, the rules, and the clocks.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};
use tollgate_core::UsageSlot;

use crate::{Reframer, StreamEnd, Tap, fault, rules::Passed};

/// What is left of a streamed answer.
pub(crate) struct Stream<B, T> {
    /// Dropped as soon as nothing of it can matter any more.
    upstream: Option<B>,
    reframer: Reframer<T>,
    usage: Option<UsageSlot>,
    /// What the slot has been told of.
    counted: Passed,
    clocks: Clocks,
    /// What came in since something went out.
    withheld: usize,
}

/// How long a stream may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    /// Without a byte of the upstream's.
    pub(crate) idle: Duration,
    /// Without an event.
    pub(crate) progress: Duration,
    /// Without a byte for the caller.
    pub(crate) keep_alive: Option<Duration>,
}

impl<B, T> Stream<B, T> {
    pub(crate) fn new(
        upstream: B,
        reframer: Reframer<T>,
        usage: Option<UsageSlot>,
        silence: Silence,
    ) -> Self {
        Self {
            upstream: Some(upstream),
            reframer,
            usage,
            counted: Passed::default(),
            clocks: Clocks::new(silence),
            withheld: 0,
        }
    }

    /// How the stream ended, once it has.
    pub(crate) fn end(&self) -> Option<&StreamEnd> {
        self.reframer.end()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.reframer.end().is_some() && self.reframer.output_len() == 0
    }

    /// Nothing was passed on before the stream failed.
    pub(crate) fn is_untouched(&self) -> bool {
        self.reframer.passed().events == 0
    }

    fn has_output(&self) -> bool {
        self.reframer.output_len() > 0
    }
}

impl<B, T> Stream<B, T>
where
    B: Body<Data = Bytes> + Unpin,
    T: Tap,
{
    /// The next frame for the caller; `None` after the last one.
    pub(crate) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let waiting = !self.has_output() && self.poll_fill(cx, usize::MAX).is_pending();
        if !self.has_output() {
            if !waiting {
                return Poll::Ready(None);
            }
            return match self.clocks.poll_keep_alive(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Bytes::from_static(KEEP_ALIVE))),
                Poll::Pending => Poll::Pending,
            };
        }
        self.withheld = 0;
        let passed = self.reframer.passed();
        let pieces = passed.pieces - self.counted.pieces;
        if let Some(slot) = self.usage.as_ref().filter(|_| pieces > 0) {
            slot.add_output(pieces, passed.text_bytes - self.counted.text_bytes);
        }
        self.counted = passed;
        Poll::Ready(Some(self.reframer.take_output()))
    }

    /// Reads until there is something for the caller, the stream has ended, or this much came in
    /// for nothing. Whatever is ready in the same poll is taken along, within bounds; nothing
    /// waits for more.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, max_withheld: usize) -> Poll<()> {
        let mut frames = 0;
        while let Some(upstream) = &mut self.upstream {
            if self.reframer.output_len() >= ENOUGH_BYTES || self.withheld > max_withheld {
                break;
            }
            if frames == MAX_FRAMES {
                if self.has_output() {
                    break;
                }
                // An upstream that floods us with nothing must not keep others from their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            frames += 1;
            match Pin::new(&mut *upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.clocks.heard();
                    let ended = upstream.is_end_stream();
                    if let Ok(data) = frame.into_data() {
                        self.withheld = self.withheld.saturating_add(data.len());
                        self.reframer.push(data);
                    }
                    if ended {
                        self.reframer.finish();
                    }
                }
                // A broken connection is an end like any other: what matters is whether the
                // answer is complete.
                Poll::Ready(Some(Err(_)) | None) => self.reframer.finish(),
                Poll::Pending if self.has_output() => break,
                Poll::Pending => {
                    let events = self.reframer.passed().events;
                    if self.clocks.poll_expired(events, cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.reframer.fail(fault::silent());
                }
            }
            self.settle();
        }
        Poll::Ready(())
    }

    /// Publishes the usage, and lets go of the upstream if the stream is decided.
    fn settle(&mut self) {
        if let (Some(slot), Some(usage)) = (&self.usage, self.reframer.take_usage()) {
            slot.record(usage);
        }
        if self.reframer.end().is_some() {
            self.upstream = None;
        }
    }
}

/// Measures silence while the upstream is being waited for; a caller who does not read stops the
/// clocks. One timer, set anew only when it has run out.
pub(crate) struct Clocks {
    silence: Silence,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
    waiting_since: Option<Instant>,
    last_event: Option<Instant>,
    events: u64,
    last_comment: Option<Instant>,
}

impl Clocks {
    pub(crate) const fn new(silence: Silence) -> Self {
        Self {
            silence,
            timer: None,
            waker: None,
            waiting_since: None,
            last_event: None,
            events: 0,
            last_comment: None,
        }
    }

    /// The upstream has sent something.
    pub(crate) fn heard(&mut self) {
        self.waiting_since = None;
        self.last_comment = None;
    }

    /// Ready if the upstream has been silent for too long.
    pub(crate) fn poll_expired(&mut self, events: u64, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if self.events != events || self.last_event.is_none() {
            self.events = events;
            self.last_event = Some(since);
        }
        let last_event = self.last_event.unwrap_or(since);
        let ends = [
            since.checked_add(self.silence.idle),
            last_event.checked_add(self.silence.progress),
        ];
        let end = ends.into_iter().flatten().min();
        self.poll_until(end, cx)
    }

    /// Ready if the caller should be sent a sign of life. To be polled after
    /// [`poll_expired`](Self::poll_expired), of which it borrows the timer.
    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(since), Some(interval)) = (self.waiting_since, self.silence.keep_alive) else {
            return Poll::Pending;
        };
        let quiet_since = self.last_comment.unwrap_or(since);
        let due = quiet_since.checked_add(interval);
        let expired = self.poll_until(due, cx);
        if expired.is_ready() {
            self.last_comment = Some(Instant::now());
        }
        expired
    }

    fn poll_until(&mut self, end: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        // Too far away to be an instant.
        let Some(end) = end else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        // A timer that is set earlier wakes for nothing, once; moving it costs a lock.
        if timer.deadline() > end {
            timer.as_mut().reset(end);
            self.waker = None;
        }
        // To compare a waker costs less than to register it anew at each event.
        let registered = self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if registered && !timer.is_elapsed() {
            return Poll::Pending;
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A frame of this size is worth its cost; less is joined with what is ready.
const ENOUGH_BYTES: usize = 16 << 10;

/// Frames of the upstream's that one poll takes at most.
const MAX_FRAMES: usize = 64;

const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
