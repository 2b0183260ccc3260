//! The rules for one event after the other.

use tollgate_core::{UpstreamFault, Usage};

use crate::{
    Event, StreamEnd, Tap,
    address::Address,
    chunk::{self, Findings, Reading, Shape},
    event::{PREFIX, SUFFIX},
    fault,
    identity::Identity,
    json::Scanner,
    outlet::{Form, Outgoing, Outlet, Sent},
    parser::Parser,
    pattern::{Move, Patterns},
    usage,
};

/// What is known of a stream, and decides what becomes of its events.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) reading: Reading,
    pub(crate) identity: Identity,
    pub(crate) address: Address,
    patterns: Patterns,
    findings: Findings,
    moves: Vec<Move>,
    /// One bit for each choice.
    begun: u128,
    finished: u128,
    pub(crate) usage: Option<Usage>,
    pub(crate) usage_is_new: bool,
    pub(crate) passed: Passed,
    pub(crate) end: Option<StreamEnd>,
}

/// What has been passed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) events: u64,
    /// Events with output.
    pub(crate) pieces: u64,
    /// Bytes of output.
    pub(crate) text_bytes: u64,
}

impl Rules {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            reading: Reading {
                show_usage: true,
                keep_filters: false,
                shape: Shape::Chunk,
            },
            identity,
            address: Address::default(),
            patterns: Patterns::default(),
            findings: Findings::default(),
            moves: Vec::new(),
            begun: 0,
            finished: 0,
            usage: None,
            usage_is_new: false,
            passed: Passed::default(),
            end: None,
        }
    }

    pub(crate) fn event<T: Tap>(&mut self, event: &Event<'_>, outlet: &mut Outlet<T>) -> Sent {
        let piece = event.piece;
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Sent::Done;
        }
        if data == DONE {
            return self.complete(outlet, piece);
        }
        let form = Form::of(event, data);
        if let Some(fit) = self.patterns.fit(data, &mut self.moves) {
            if fit.length == data.len() {
                self.passed.count(fit.text_bytes);
                let outgoing = Outgoing {
                    data,
                    form,
                    piece,
                    edits: fit.edits,
                    moves: &self.moves,
                };
                return outlet.send(outgoing, &self.identity);
            }
        }
        let Ok(json) = std::str::from_utf8(data) else {
            return self.fail(fault::invalid_event(), outlet, piece);
        };
        let read = chunk::read(json, self.reading, &mut self.identity, &mut self.findings);
        let Ok(chunk) = read else {
            return self.fail(fault::invalid_event(), outlet, piece);
        };
        if let Some(error) = chunk.error {
            let fault = fault::reported(json.get(error).unwrap_or_default());
            return self.fail(fault, outlet, piece);
        }
        let text_bytes = chunk.output_bytes(&self.findings);
        // A piece holds a token at least.
        let observed = self.passed.pieces + u64::from(text_bytes > 0);
        let reported = chunk.usage.clone().and_then(|usage| json.get(usage));
        if let Some(usage) = reported.and_then(|json| usage::read(json, observed)) {
            self.usage = Some(usage);
            self.usage_is_new = true;
        }
        let shows_usage = chunk.usage.is_some() && self.reading.show_usage;
        if !chunk.has_choices || (chunk.choices == 0 && !shows_usage) {
            return Sent::Done;
        }
        self.begun |= chunk.begun;
        self.finished |= chunk.finished;
        self.passed.count(text_bytes);
        self.patterns.learn(data, &chunk, &self.findings);
        let outgoing = Outgoing {
            data,
            form,
            piece,
            edits: self.findings.edits.as_slice(),
            moves: &[],
        };
        outlet.send(outgoing, &self.identity)
    }

    /// Passes on the events that stand side by side in the piece and are known by their patterns:
    /// what they are tells where they end, so that nothing has to look for it.
    pub(crate) fn known_events<T: Tap>(
        &mut self,
        parser: &mut Parser,
        piece: &[u8],
        outlet: &mut Outlet<T>,
    ) {
        parser.clear_handed_out();
        while let Some(from) = parser.canonical_start(piece) {
            let rest = &piece[from + PREFIX.len()..];
            let Some(fit) = self.patterns.fit(rest, &mut self.moves) else {
                return;
            };
            if !rest[fit.length..].starts_with(SUFFIX)
                || PREFIX.len() + fit.length > parser.max_event_bytes()
            {
                return;
            }
            let end = from + PREFIX.len() + fit.length + SUFFIX.len();
            self.passed.count(fit.text_bytes);
            let outgoing = Outgoing {
                data: &rest[..fit.length],
                form: Form::InPiece(from..end),
                piece,
                edits: fit.edits,
                moves: &self.moves,
            };
            // An event in the piece is in no buffer.
            let _done = outlet.send(outgoing, &self.identity);
            parser.pass_to(end);
        }
    }

    /// Does the same for an event that earlier pieces have begun and this one completes. `false` if
    /// there is none.
    pub(crate) fn known_carried<T: Tap>(
        &mut self,
        parser: &mut Parser,
        piece: &[u8],
        outlet: &mut Outlet<T>,
    ) -> bool {
        let max_event_bytes = parser.max_event_bytes();
        let Some(line) = parser.canonical_line() else {
            return false;
        };
        let carried = line.len();
        // An event that has more to come is read as others are.
        let more = piece.len().min(MAX_COMPLETED_BYTES);
        if carried + more < PREFIX.len() + self.patterns.shortest() + SUFFIX.len() {
            return false;
        }
        line.extend_from_slice(&piece[..more]);
        let rest = &line[PREFIX.len()..];
        let fit = self.patterns.fit(rest, &mut self.moves);
        let fit = fit.filter(|fit| {
            rest[fit.length..].starts_with(SUFFIX) && PREFIX.len() + fit.length <= max_event_bytes
        });
        let Some(fit) = fit else {
            line.truncate(carried);
            return false;
        };
        self.passed.count(fit.text_bytes);
        let end = PREFIX.len() + fit.length;
        let outgoing = Outgoing {
            data: &line[PREFIX.len()..end],
            form: Form::Copied,
            piece,
            edits: fit.edits,
            moves: &self.moves,
        };
        if outlet.send(outgoing, &self.identity) == Sent::TakeOver {
            line.truncate(end + SUFFIX.len());
            outlet.output.take_over(line, piece);
        }
        parser.end_line_at(end + SUFFIX.len() - carried);
        true
    }

    /// The last event, which was not completed (rule R13): whole JSON is an event like any other. A
    /// fragment is not an error of its own: what matters is whether the answer is whole.
    pub(crate) fn leftover<T: Tap>(&mut self, event: &Event<'_>, outlet: &mut Outlet<T>) -> Sent {
        let data = event.data.trim_ascii();
        if data == DONE || is_whole(data) {
            return self.event(event, outlet);
        }
        Sent::Done
    }

    /// The input has ended (rule R12).
    pub(crate) fn finish<T: Tap>(&mut self, outlet: &mut Outlet<T>) {
        if self.end.is_some() {
            return;
        }
        let _done = if self.begun != 0 && self.begun & !self.finished == 0 {
            self.complete(outlet, &[])
        } else {
            self.fail(fault::truncated(), outlet, &[])
        };
    }

    pub(crate) fn fail<T: Tap>(
        &mut self,
        fault: UpstreamFault,
        outlet: &mut Outlet<T>,
        piece: &[u8],
    ) -> Sent {
        let last = fault::event(&fault, &self.address);
        self.end_with(&last, StreamEnd::Failed(fault), outlet, piece)
    }

    fn complete<T: Tap>(&mut self, outlet: &mut Outlet<T>, piece: &[u8]) -> Sent {
        self.passed.events += 1;
        self.end_with(b"data: [DONE]\n\n", StreamEnd::Complete, outlet, piece)
    }

    fn end_with<T: Tap>(
        &mut self,
        last: &[u8],
        end: StreamEnd,
        outlet: &mut Outlet<T>,
        piece: &[u8],
    ) -> Sent {
        outlet.end(last, &end, piece);
        self.end = Some(end);
        Sent::Done
    }
}

impl Passed {
    fn count(&mut self, text_bytes: u64) {
        self.events += 1;
        self.pieces += u64::from(text_bytes > 0);
        self.text_bytes += text_bytes;
    }
}

fn is_whole(data: &[u8]) -> bool {
    let Ok(json) = std::str::from_utf8(data) else {
        return false;
    };
    let mut scanner = Scanner::new(json);
    scanner.skip().is_ok() && scanner.end().is_ok()
}

const DONE: &[u8] = b"[DONE]";

/// What one piece adds to a typical event at most.
const MAX_COMPLETED_BYTES: usize = 512;
