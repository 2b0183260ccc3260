//! The last step of an event: changed, shown to the tap, and framed.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    Flow, StreamEnd, Tap,
    edit::{Edit, Put},
    identity::Identity,
    output::Output,
    pattern::{Move, moved},
};

/// Where events leave.
#[derive(Clone, Debug)]
pub(crate) struct Outlet<T> {
    pub(crate) tap: T,
    pub(crate) output: Output,
    edited: Vec<u8>,
}

/// An event on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) data: &'a [u8],
    /// The original bytes, if they can go out as they are.
    pub(crate) wire: Option<(&'a Bytes, Range<usize>)>,
    pub(crate) edits: &'a [Edit],
    pub(crate) moves: &'a [Move],
}

impl<T> Outlet<T> {
    pub(crate) fn new(tap: T) -> Self {
        Self {
            tap,
            output: Output::default(),
            edited: Vec::new(),
        }
    }
}

impl<T: Tap> Outlet<T> {
    pub(crate) fn send(&mut self, event: Outgoing<'_>, identity: &Identity) {
        let Self {
            tap,
            output,
            edited,
        } = self;
        let unchanged = event.edits.is_empty();
        let data = if unchanged {
            event.data
        } else {
            edit(&event, identity, edited);
            edited
        };
        let flow = if T::IDLE { Flow::Keep } else { tap.event(data) };
        match (flow, event.wire.filter(|_| unchanged)) {
            (Flow::Keep, Some((chunk, wire))) => output.keep(chunk, wire),
            (Flow::Keep, None) => output.frame(data),
            (Flow::Drop, _) => {}
            (Flow::Replace(data), _) => output.frame(&data),
        }
        if self.edited.capacity() > MAX_KEPT_BYTES {
            self.edited = Vec::new();
        }
    }

    /// Sends the last event.
    pub(crate) fn end(&mut self, last: &[u8], end: &StreamEnd) {
        self.output.put(last);
        self.tap.end(end);
    }
}

fn edit(event: &Outgoing<'_>, identity: &Identity, edited: &mut Vec<u8>) {
    edited.clear();
    let mut at = 0;
    for Edit { span, put } in event.edits {
        let span = moved(span, event.moves);
        edited.extend_from_slice(event.data.get(at..span.start).unwrap_or_default());
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
    edited.extend_from_slice(event.data.get(at..).unwrap_or_default());
}

/// A buffer that one large event has left behind is not kept for all the small ones.
const MAX_KEPT_BYTES: usize = 64 << 10;
