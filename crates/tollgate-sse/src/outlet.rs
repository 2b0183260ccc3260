//! The last step of an event: changed, shown to the tap, and framed.

use std::ops::Range;

use crate::{
    Event, Flow, StreamEnd, Tap,
    edit::{Edit, Put},
    event::Source,
    identity::Identity,
    output::{Draft, Output},
    pattern::{Move, moved},
};

/// Where events leave.
#[derive(Clone, Debug)]
pub(crate) struct Outlet<T> {
    pub(crate) tap: T,
    pub(crate) output: Output,
}

/// An event on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) form: Form,
    pub(crate) piece: &'a [u8],
    pub(crate) edits: &'a [Edit],
    pub(crate) moves: &'a [Move],
}

/// How an event came.
pub(crate) enum Form {
    /// Canonical, and whole in the piece.
    InPiece(Range<usize>),
    /// Canonical, and in a buffer that can be taken over.
    Copied,
    /// With other lines, or in another spelling.
    Other,
}

/// Whether that was all.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The event has been dealt with.
    Done,
    /// The buffer in which it came is to be taken over.
    TakeOver,
}

impl Form {
    /// How this event came, of which `data` is looked at.
    pub(crate) fn of(event: &Event<'_>, data: &[u8]) -> Self {
        match &event.source {
            _ if data.len() != event.data.len() => Self::Other,
            Source::Piece {
                wire: Some(wire), ..
            } => Self::InPiece(wire.clone()),
            Source::Copy { canonical: true } => Self::Copied,
            _ => Self::Other,
        }
    }
}

impl<T> Outlet<T> {
    pub(crate) fn new(tap: T) -> Self {
        Self {
            tap,
            output: Output::default(),
        }
    }
}

impl<T: Tap> Outlet<T> {
    pub(crate) fn send(&mut self, event: Outgoing<'_>, identity: &Identity) -> Sent {
        let Self { tap, output } = self;
        let mut show = |data: &[u8]| match T::IDLE {
            true => Flow::Keep,
            false => tap.event(data),
        };
        if event.edits.is_empty() {
            match (show(event.data), event.form) {
                (Flow::Keep, Form::InPiece(wire)) => output.keep(wire, event.piece),
                (Flow::Keep, Form::Copied) => return Sent::TakeOver,
                (Flow::Keep, Form::Other) => output.frame(event.data, event.piece),
                (Flow::Drop, _) => {}
                (Flow::Replace(data), _) => output.frame(&data, event.piece),
            }
            return Sent::Done;
        }
        let mut draft = output.open(event.piece);
        edit(&event, identity, &mut draft);
        match (show(draft.data()), event.form) {
            (Flow::Keep, Form::InPiece(_) | Form::Copied) => draft.send(),
            (Flow::Keep, Form::Other) => draft.send_on_one_line(),
            (Flow::Drop, _) => draft.discard(),
            (Flow::Replace(data), _) => {
                draft.discard();
                output.frame(&data, event.piece);
            }
        }
        Sent::Done
    }

    /// Sends the last event.
    pub(crate) fn end(&mut self, last: &[u8], end: &StreamEnd, piece: &[u8]) {
        self.output.put(last, piece);
        self.tap.end(end);
    }
}

fn edit(event: &Outgoing<'_>, identity: &Identity, draft: &mut Draft<'_>) {
    let mut at = 0;
    for Edit { span, put } in event.edits {
        let span = moved(span, event.moves);
        draft.put(event.data.get(at..span.start).unwrap_or_default());
        match put {
            Put::Nothing => {}
            Put::EmptyObject => draft.put(b"{}"),
            Put::EmptyDelta => draft.put(b"\"delta\":{},"),
            Put::Value(field) => draft.put(identity.value(*field).as_bytes()),
            Put::Member(field) => {
                draft.put(field.key());
                draft.put(identity.value(*field).as_bytes());
                draft.put(b",");
            }
        }
        at = span.end;
    }
    draft.put(event.data.get(at..).unwrap_or_default());
}
