//! The re-framing rules as a pure state machine: pieces of a stream in, bytes for the caller out.

use std::fmt;

use bytes::Bytes;
use tollgate_core::{UpstreamFault, Usage};

use crate::{
    NoTap, Tap,
    address::Address,
    fault,
    framer::DEFAULT_MAX_EVENT_BYTES,
    identity::Identity,
    outlet::Outlet,
    parser::Parser,
    rules::{Passed, Rules},
};

/// Re-frames the answer of a chat completion that is streamed. Sans-IO.
///
/// What comes out does not depend on how the input was cut: whole events of the form `data: …` LF
/// LF, `[DONE]` once if the answer is complete, and one error event as the last one if it is not.
///
/// ```
/// use tollgate_sse::Reframer;
///
/// let mut reframer = Reframer::new();
/// reframer.push("data: {\"choices\":[],\"prompt_filter_results\":[]}\r\n\r\nda");
/// reframer.push("ta: [DONE]");
/// reframer.finish();
/// assert_eq!(reframer.take_output(), "data: [DONE]\n\n");
/// ```
#[derive(Clone)]
pub struct Reframer<T = NoTap> {
    parser: Parser,
    rules: Rules,
    outlet: Outlet<T>,
}

// What it holds of the stream is not for logs.
impl<T> fmt::Debug for Reframer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reframer")
            .field("is_over", &self.end().is_some())
            .finish_non_exhaustive()
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// With `[DONE]`: the answer is complete.
    Complete,
    /// With an error event.
    Failed(UpstreamFault),
}

impl Reframer {
    /// A re-framer that shows usage and hides what content filters say.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parser: Parser::new(DEFAULT_MAX_EVENT_BYTES),
            rules: Rules::new(Identity::new("chatcmpl-0", "unknown", 1)),
            outlet: Outlet::new(NoTap::default()),
        }
    }
}

impl Default for Reframer {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Reframer<T> {
    /// Whether the caller sees the usage of the call. Default: yes.
    #[must_use]
    pub fn show_usage(mut self, show: bool) -> Self {
        self.rules.reading.show_usage = show;
        self
    }

    /// Whether the caller sees what Azure's content filters say. Default: no.
    #[must_use]
    pub fn keep_filters(mut self, keep: bool) -> Self {
        self.rules.reading.keep_filters = keep;
        self
    }

    /// Limits an event to this many bytes. Default: 1 MiB.
    #[must_use]
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.parser.set_max_event_bytes(bytes);
        self
    }

    /// The id, model and time (in seconds since 1970) for chunks that have none, until a chunk has
    /// one. Default: `chatcmpl-0`, `unknown` and 1.
    #[must_use]
    pub fn fill_with(mut self, id: &str, model: &str, created: u64) -> Self {
        self.rules.identity = Identity::new(id, model, created);
        self
    }

    /// What callers must not read of where the stream comes from.
    pub(crate) fn hide(mut self, address: Address) -> Self {
        self.rules.address = address;
        self
    }

    /// Shows each event to a tap before it goes out. To be set before anything is pushed.
    #[must_use]
    pub fn tap<T2>(self, tap: T2) -> Reframer<T2> {
        Reframer {
            parser: self.parser,
            rules: self.rules,
            outlet: Outlet::new(tap),
        }
    }

    /// The usage that the upstream has reported last, bounded from below by what was seen.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.rules.usage
    }

    /// How the stream ended, once it has. What is pushed after that is ignored.
    #[must_use]
    pub fn end(&self) -> Option<&StreamEnd> {
        self.rules.end.as_ref()
    }

    /// What can go out now, in one piece; empty if nothing can.
    pub fn take_output(&mut self) -> Bytes {
        self.outlet.output.take()
    }

    /// How many bytes [`take_output`](Self::take_output) would give.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.outlet.output.len()
    }

    /// The usage, if it has been reported since the last call.
    pub(crate) fn take_usage(&mut self) -> Option<Usage> {
        std::mem::take(&mut self.rules.usage_is_new)
            .then_some(self.rules.usage)
            .flatten()
    }

    /// What has been passed on, over all.
    pub(crate) fn passed(&self) -> Passed {
        self.rules.passed
    }
}

impl<T: Tap> Reframer<T> {
    /// Takes in the next piece of the stream.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        self.take_in(piece.into());
    }

    // Inlined, it would move each piece: that takes longer than to look at a small one.
    #[inline(never)]
    fn take_in(&mut self, piece: Bytes) {
        if self.rules.end.is_none() && !self.rules.known.goes_on(&piece) {
            self.read(&piece);
            self.outlet.output.end(piece);
        }
    }

    #[inline(never)]
    fn read(&mut self, piece: &Bytes) {
        let Self {
            parser,
            rules,
            outlet,
        } = self;
        outlet.output.begin();
        if !rules.known.has_begun() && !parser.begin(piece) {
            return;
        }
        while rules.end.is_none() {
            if parser.is_between_events() && rules.known_events(parser, piece, outlet) {
                break;
            }
            // The event that has begun is another one than it looked like.
            if let Some(begun) = rules.known.give_up() {
                if !parser.begin_after(&begun, piece) {
                    break;
                }
            }
            match parser.advance(piece) {
                Ok(true) => rules.event(&parser.event(piece), outlet),
                Ok(false) => break,
                Err(_) => rules.fail(fault::invalid_event(), outlet, piece),
            }
            parser.clear_handed_out();
        }
    }

    /// The stream has ended, or was broken off.
    pub fn finish(&mut self) {
        if self.rules.end.is_some() {
            return;
        }
        self.outlet.output.begin();
        let none = Bytes::new();
        if let Some(begun) = self.rules.known.give_up() {
            self.parser.begin_after(&begun, &none);
        }
        if self.parser.finish(&none) {
            let event = self.parser.event(&none);
            self.rules.leftover(&event, &mut self.outlet);
        }
        self.rules.finish(&mut self.outlet);
    }

    /// Ends the stream with this failure, for reasons that only the caller knows.
    pub fn fail(&mut self, fault: UpstreamFault) {
        if self.rules.end.is_none() {
            self.outlet.output.begin();
            self.rules.fail(fault, &mut self.outlet, &[]);
        }
    }
}
