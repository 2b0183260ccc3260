//! The last step of an event: framed, and shown to the tap.

use std::ops::Range;

use memchr::memchr2;

use crate::{
    Flow, StreamEnd, Tap,
    event::{PREFIX, SUFFIX},
    output::Output,
};

/// Where events leave.
#[derive(Clone, Debug)]
pub(crate) struct Outlet<T> {
    pub(crate) tap: T,
    pub(crate) output: Output,
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
    /// Sends an event that stands in the piece in the form in which events go out.
    pub(crate) fn pass(&mut self, event: Range<usize>, piece: &[u8]) {
        match self.show(&piece[event.clone()]) {
            Flow::Keep => self.output.keep(event, piece),
            Flow::Drop => {}
            Flow::Replace(data) => self.replace(&data, piece),
        }
    }

    /// Sends an event that is written in that form. Its length is told if nothing will go out with
    /// it.
    pub(crate) fn write(
        &mut self,
        piece: &[u8],
        alone: Option<usize>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.output.write(piece, alone, write);
        if T::IDLE {
            return;
        }
        match self.tap.event(data_of(self.output.written_since(start))) {
            Flow::Keep => {}
            Flow::Drop => self.output.take_back(start),
            Flow::Replace(data) => {
                self.output.take_back(start);
                self.replace(&data, piece);
            }
        }
    }

    /// Sends the last event.
    pub(crate) fn end(&mut self, last: &[u8], end: &StreamEnd, piece: &[u8]) {
        self.output
            .write(piece, None, |out| out.extend_from_slice(last));
        self.tap.end(end);
    }

    fn show(&mut self, event: &[u8]) -> Flow {
        match T::IDLE {
            true => Flow::Keep,
            false => self.tap.event(data_of(event)),
        }
    }

    fn replace(&mut self, data: &[u8], piece: &[u8]) {
        self.output.write(piece, None, |out| {
            frame(out, |out| out.extend_from_slice(data));
        });
    }
}

/// Writes data as an event. Line ends in it become spaces: in JSON they can only stand between
/// tokens.
pub(crate) fn frame(out: &mut Vec<u8>, write_data: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(PREFIX);
    let start = out.len();
    write_data(out);
    let mut rest = &mut out[start..];
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        rest[at] = b' ';
        rest = &mut rest[at..];
    }
    out.extend_from_slice(SUFFIX);
}

fn data_of(event: &[u8]) -> &[u8] {
    &event[PREFIX.len()..event.len() - SUFFIX.len()]
}
