//! The rules for one event after the other.

use tollgate_core::{UpstreamFault, Usage};

use crate::{
    Event, StreamEnd, Tap,
    address::Address,
    chunk::{self, Findings, Reading, Shape},
    edit, fault,
    identity::Identity,
    json::Scanner,
    known::Known,
    outlet::{Outlet, frame},
    parser::Parser,
    pattern::Step,
    usage,
};

/// What is known of a stream, and decides what becomes of its events.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) reading: Reading,
    pub(crate) identity: Identity,
    pub(crate) address: Address,
    pub(crate) known: Known,
    findings: Findings,
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
            known: Known::default(),
            findings: Findings::default(),
            begun: 0,
            finished: 0,
            usage: None,
            usage_is_new: false,
            passed: Passed::default(),
            end: None,
        }
    }

    pub(crate) fn event<T: Tap>(&mut self, event: &Event<'_>, outlet: &mut Outlet<T>) {
        let piece = event.piece;
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return;
        }
        if data == DONE {
            return self.complete(outlet, piece);
        }
        if self.known.fits(data) {
            let known = self.known.event();
            self.passed.count(known.text_bytes());
            outlet.write(piece, None, |out| known.write(out));
            return self.known.pass();
        }
        let Ok(json) = std::str::from_utf8(data) else {
            return self.fail(fault::invalid_event(), outlet, piece);
        };
        let known_before = self.identity.known();
        let read = chunk::read(json, self.reading, &mut self.identity, &mut self.findings);
        let Ok(chunk) = read else {
            return self.fail(fault::invalid_event(), outlet, piece);
        };
        if self.identity.known() != known_before {
            self.known.forget();
        }
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
            return;
        }
        self.begun |= chunk.begun;
        self.finished |= chunk.finished;
        self.passed.count(text_bytes);
        self.known
            .learn(data, &chunk, &self.findings, &self.identity);
        let edits = self.findings.edits.as_slice();
        match event.canonical() {
            Some(place) if edits.is_empty() && data.len() == event.data.len() => {
                outlet.pass(place, piece);
            }
            _ => outlet.write(piece, None, |out| {
                frame(out, |out| {
                    edit::apply(edits, data, 0..data.len(), &self.identity, out);
                });
            }),
        }
    }

    /// Passes on what stands in the piece of events that are known: what they are tells where they
    /// end, so that nothing has to look for it. `false` if an event comes that is not known.
    pub(crate) fn known_events<T: Tap>(
        &mut self,
        parser: &mut Parser,
        piece: &[u8],
        outlet: &mut Outlet<T>,
    ) -> bool {
        loop {
            let from = parser.at();
            let rest = &piece[from..];
            if rest.is_empty() {
                parser.pass_to(0);
                return true;
            }
            let Some(step) = self.known.follow(rest, parser.max_event_bytes()) else {
                return false;
            };
            let event = self.known.event();
            let end = match step {
                Step::Wait => {
                    parser.pass_to(0);
                    return true;
                }
                Step::Pass(end) => {
                    outlet.pass(from..from + end, piece);
                    end
                }
                Step::Write(end) => {
                    // Another one does not follow.
                    let is_all = rest.len() - end < event.len();
                    outlet.write(piece, is_all.then(|| event.len()), |out| event.write(out));
                    end
                }
            };
            self.passed.count(event.text_bytes());
            self.known.pass();
            parser.pass_to(from + end);
        }
    }

    /// The last event, which was not completed (rule R13): whole JSON is an event like any other. A
    /// fragment is not an error of its own: what matters is whether the answer is whole.
    pub(crate) fn leftover<T: Tap>(&mut self, event: &Event<'_>, outlet: &mut Outlet<T>) {
        let data = event.data.trim_ascii();
        if data == DONE || is_whole(data) {
            self.event(event, outlet);
        }
    }

    /// The input has ended (rule R12).
    pub(crate) fn finish<T: Tap>(&mut self, outlet: &mut Outlet<T>) {
        if self.end.is_some() {
            return;
        }
        if self.begun != 0 && self.begun & !self.finished == 0 {
            self.complete(outlet, &[]);
        } else {
            self.fail(fault::truncated(), outlet, &[]);
        }
    }

    pub(crate) fn fail<T: Tap>(
        &mut self,
        fault: UpstreamFault,
        outlet: &mut Outlet<T>,
        piece: &[u8],
    ) {
        let last = fault::event(&fault, &self.address);
        self.end_with(&last, StreamEnd::Failed(fault), outlet, piece);
    }

    fn complete<T: Tap>(&mut self, outlet: &mut Outlet<T>, piece: &[u8]) {
        self.passed.events += 1;
        self.end_with(b"data: [DONE]\n\n", StreamEnd::Complete, outlet, piece);
    }

    fn end_with<T: Tap>(
        &mut self,
        last: &[u8],
        end: StreamEnd,
        outlet: &mut Outlet<T>,
        piece: &[u8],
    ) {
        outlet.end(last, &end, piece);
        self.end = Some(end);
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
