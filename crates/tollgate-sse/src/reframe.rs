//! The re-framing rules as a pure state machine: pieces of a stream in, bytes for the caller out.

use std::ops::Range;

use bytes::Bytes;
use tollgate_core::{UpstreamFault, Usage};

use crate::{
    Flow, NoTap, Tap,
    chunk::{self, Findings, Reading, Shape},
    edit::{Edit, Put},
    fault,
    framer::{Event, Framer},
    identity::Identity,
    json::{Scanner, text_length},
    output::Output,
    pattern::{Move, Patterns, moved},
    usage,
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
#[derive(Clone, Debug)]
pub struct Reframer<T = NoTap> {
    framer: Framer,
    rules: Rules<T>,
    output: Output,
}

#[derive(Clone, Debug)]
struct Rules<T> {
    reading: Reading,
    identity: Identity,
    patterns: Patterns,
    findings: Findings,
    moves: Vec<Move>,
    edited: Vec<u8>,
    tap: T,
    begun: u128,
    finished: u128,
    usage: Option<Usage>,
    usage_is_new: bool,
    events: u64,
    /// Non-empty deltas seen so far, each of which holds a token at least.
    seen_pieces: u64,
    progress: Progress,
    end: Option<StreamEnd>,
}

/// What has been passed on since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) pieces: u64,
    pub(crate) text_bytes: u64,
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
            framer: Framer::new(),
            rules: Rules {
                reading: Reading {
                    show_usage: true,
                    keep_filters: false,
                    shape: Shape::Chunk,
                },
                identity: Identity::new("chatcmpl-0", "unknown", 1),
                patterns: Patterns::default(),
                findings: Findings::default(),
                moves: Vec::new(),
                edited: Vec::new(),
                tap: NoTap::default(),
                begun: 0,
                finished: 0,
                usage: None,
                usage_is_new: false,
                events: 0,
                seen_pieces: 0,
                progress: Progress::default(),
                end: None,
            },
            output: Output::default(),
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
        self.framer = self.framer.max_event_bytes(bytes);
        self
    }

    /// The id, model and time (in seconds since 1970) for chunks that have none, until a chunk has
    /// one. Default: `chatcmpl-0`, `unknown` and 1.
    #[must_use]
    pub fn fill_with(mut self, id: &str, model: &str, created: u64) -> Self {
        self.rules.identity = Identity::new(id, model, created);
        self
    }

    /// Shows each event to a tap before it goes out.
    #[must_use]
    pub fn tap<T2>(self, tap: T2) -> Reframer<T2> {
        let rules = self.rules;
        Reframer {
            framer: self.framer,
            rules: Rules {
                reading: rules.reading,
                identity: rules.identity,
                patterns: rules.patterns,
                findings: rules.findings,
                moves: rules.moves,
                edited: rules.edited,
                tap,
                begun: rules.begun,
                finished: rules.finished,
                usage: rules.usage,
                usage_is_new: rules.usage_is_new,
                events: rules.events,
                seen_pieces: rules.seen_pieces,
                progress: rules.progress,
                end: rules.end,
            },
            output: self.output,
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
        self.output.take()
    }

    /// How many bytes [`take_output`](Self::take_output) would give.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// The usage, if it has been reported since the last call.
    pub(crate) fn take_usage(&mut self) -> Option<Usage> {
        std::mem::take(&mut self.rules.usage_is_new)
            .then_some(self.rules.usage)
            .flatten()
    }

    /// How many events have been passed on, over all.
    pub(crate) fn events(&self) -> u64 {
        self.rules.events
    }

    /// What has been passed on since the last call.
    pub(crate) fn take_progress(&mut self) -> Progress {
        std::mem::take(&mut self.rules.progress)
    }
}

impl<T: Tap> Reframer<T> {
    /// Takes in the next piece of the stream.
    pub fn push(&mut self, chunk: impl Into<Bytes>) {
        if self.rules.end.is_some() {
            return;
        }
        self.output.begin();
        self.framer.push(chunk);
        while self.rules.end.is_none() {
            match self.framer.next_event() {
                Ok(Some(event)) => self.rules.event(&event, &mut self.output),
                Ok(None) => break,
                Err(_) => self.rules.fail(fault::invalid_event(), &mut self.output),
            }
        }
    }

    /// The stream has ended, or was broken off.
    pub fn finish(&mut self) {
        if self.rules.end.is_some() {
            return;
        }
        if let Some(event) = self.framer.finish() {
            // A fragment is not an error of its own: what matters is whether the answer is whole.
            let data = event.data().trim_ascii();
            if data == DONE || is_object(data) {
                self.rules.event(&event, &mut self.output);
            }
        }
        if self.rules.end.is_some() {
            return;
        }
        if self.rules.begun != 0 && self.rules.begun & !self.rules.finished == 0 {
            self.rules.complete(&mut self.output);
        } else {
            self.rules.fail(fault::truncated(), &mut self.output);
        }
    }

    /// Ends the stream with this failure, for reasons that only the caller knows.
    pub fn fail(&mut self, fault: UpstreamFault) {
        if self.rules.end.is_none() {
            self.rules.fail(fault, &mut self.output);
        }
    }
}

impl<T: Tap> Rules<T> {
    fn event(&mut self, event: &Event<'_>, output: &mut Output) {
        let data = event.data().trim_ascii();
        if data.is_empty() {
            return;
        }
        if data == DONE {
            return self.complete(output);
        }
        let wire = event.wire().filter(|_| data.len() == event.data().len());
        if let Some(fit) = self.patterns.fit(data, &mut self.moves) {
            self.events += 1;
            self.progress.count(fit.text_bytes);
            self.seen_pieces += u64::from(fit.text_bytes > 0);
            let outgoing = Outgoing {
                data,
                wire,
                edits: fit.edits,
                moves: &self.moves,
            };
            outgoing.send(&self.identity, &mut self.edited, &mut self.tap, output);
            return;
        }
        let Ok(json) = std::str::from_utf8(data) else {
            return self.fail(fault::invalid_event(), output);
        };
        let read = chunk::read(json, self.reading, &mut self.identity, &mut self.findings);
        let Ok(chunk) = read else {
            return self.fail(fault::invalid_event(), output);
        };
        if let Some(error) = chunk.error {
            let fault = fault::reported(json.get(error).unwrap_or_default());
            return self.fail(fault, output);
        }
        let holes = self.findings.holes.iter().filter(|hole| hole.is_text);
        let text_bytes = holes.fold(chunk.text_bytes, |bytes, hole| {
            let text = data.get(hole.inside.clone()).unwrap_or_default();
            bytes + text_length(text)
        });
        self.seen_pieces += u64::from(text_bytes > 0);
        if let Some(reported) = &chunk.usage {
            let reported = json.get(reported.clone()).unwrap_or_default();
            if let Some(usage) = usage::read(reported, self.seen_pieces) {
                self.usage = Some(usage);
                self.usage_is_new = true;
            }
        }
        let only_usage = chunk.usage.is_some() && self.reading.show_usage;
        if !chunk.has_choices || (chunk.choices == 0 && !only_usage) {
            return;
        }
        self.begun |= chunk.begun;
        self.finished |= chunk.finished;
        self.events += 1;
        self.progress.count(text_bytes);
        self.patterns.learn(data, &chunk, &self.findings);
        let outgoing = Outgoing {
            data,
            wire,
            edits: self.findings.edits.as_slice(),
            moves: &[],
        };
        outgoing.send(&self.identity, &mut self.edited, &mut self.tap, output);
    }

    fn complete(&mut self, output: &mut Output) {
        output.put(b"data: [DONE]\n\n");
        self.events += 1;
        self.over(StreamEnd::Complete);
    }

    fn fail(&mut self, fault: UpstreamFault, output: &mut Output) {
        output.put(&fault::event(&fault));
        self.over(StreamEnd::Failed(fault));
    }

    fn over(&mut self, end: StreamEnd) {
        self.tap.end(&end);
        self.end = Some(end);
    }
}

impl Progress {
    fn count(&mut self, text_bytes: u64) {
        self.pieces += u64::from(text_bytes > 0);
        self.text_bytes += text_bytes;
    }
}

/// An event on its way out.
struct Outgoing<'a> {
    data: &'a [u8],
    /// The original bytes, if they can go out as they are.
    wire: Option<(&'a Bytes, Range<usize>)>,
    edits: &'a [Edit],
    moves: &'a [Move],
}

impl Outgoing<'_> {
    fn send<T: Tap>(
        self,
        identity: &Identity,
        edited: &mut Vec<u8>,
        tap: &mut T,
        output: &mut Output,
    ) {
        let unchanged = self.edits.is_empty();
        if unchanged && T::IDLE {
            match self.wire {
                Some((chunk, wire)) => output.keep(chunk, wire),
                None => frame(self.data, output),
            }
            return;
        }
        edited.clear();
        let data = if unchanged {
            self.data
        } else {
            self.edit(identity, edited);
            &edited[..]
        };
        match tap.event(data) {
            Flow::Keep => match self.wire.filter(|_| unchanged) {
                Some((chunk, wire)) => output.keep(chunk, wire),
                None => frame(data, output),
            },
            Flow::Drop => {}
            Flow::Replace(data) => frame(&data, output),
        }
    }

    fn edit(&self, identity: &Identity, edited: &mut Vec<u8>) {
        let mut at = 0;
        for Edit { span, put } in self.edits {
            let span = moved(span, self.moves);
            edited.extend_from_slice(self.data.get(at..span.start).unwrap_or_default());
            match put {
                Put::Nothing => {}
                Put::EmptyObject => edited.extend_from_slice(b"{}"),
                Put::EmptyDelta => edited.extend_from_slice(b"\"delta\":{},"),
                Put::Value(field) => edited.extend_from_slice(identity.value(*field).as_bytes()),
                Put::Member(field) => {
                    edited.extend_from_slice(field.key());
                    edited.extend_from_slice(identity.value(*field).as_bytes());
                    edited.push(b',');
                }
            }
            at = span.end;
        }
        edited.extend_from_slice(self.data.get(at..).unwrap_or_default());
    }
}

fn frame(data: &[u8], output: &mut Output) {
    output.put(b"data: ");
    output.put_on_one_line(data);
    output.put(b"\n\n");
}

fn is_object(data: &[u8]) -> bool {
    let Ok(json) = std::str::from_utf8(data) else {
        return false;
    };
    let mut scanner = Scanner::new(json);
    json.starts_with('{') && scanner.skip().is_ok() && scanner.end().is_ok()
}

const DONE: &[u8] = b"[DONE]";
