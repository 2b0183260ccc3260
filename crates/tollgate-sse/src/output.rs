//! What is to go out next, in as few pieces and copies as possible.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

use crate::event::{PREFIX, SUFFIX};

/// Collects output. A run of events that came side by side in one piece, and is all there is,
/// leaves as a slice of that piece; anything else is copied into one buffer.
///
/// While a piece is being read it stays with its reader, and is lent to each call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    /// What was written before the run.
    copied: BytesMut,
    /// A part of the piece.
    run: Range<usize>,
    /// The piece, once it has been read and if it is all there is.
    piece: Bytes,
}

impl Output {
    /// The calls that follow will speak of another piece.
    pub(crate) fn begin(&mut self) {
        if !self.run.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            self.flush(&piece);
        }
    }

    /// The piece has been read.
    pub(crate) fn end(&mut self, piece: Bytes) {
        if self.run.is_empty() {
            return;
        }
        if self.copied.is_empty() {
            self.piece = piece;
        } else if self.len() <= SMALL_BYTES {
            // It will be copied once anyway.
            let mut all = Vec::with_capacity(self.len());
            all.extend_from_slice(&self.copied);
            all.extend_from_slice(&piece[self.run.clone()]);
            self.run = 0..all.len();
            self.piece = all.into();
            self.copied.clear();
        } else {
            self.flush(&piece);
        }
    }

    /// Sends this part of the piece.
    pub(crate) fn keep(&mut self, wire: Range<usize>, piece: &[u8]) {
        if self.run.end == wire.start && !self.run.is_empty() {
            self.run.end = wire.end;
        } else {
            self.flush(piece);
            self.run = wire;
        }
    }

    /// Sends these bytes.
    pub(crate) fn put(&mut self, bytes: &[u8], piece: &[u8]) {
        self.flush(piece);
        self.copied.extend_from_slice(bytes);
    }

    /// Sends the event that stands in this buffer, and leaves the buffer without it.
    pub(crate) fn take_over(&mut self, event: &mut BytesMut, piece: &[u8]) {
        self.flush(piece);
        if self.copied.is_empty() {
            std::mem::swap(&mut self.copied, event);
        } else {
            self.copied.extend_from_slice(event);
        }
    }

    /// Begins an event whose data is written next, and says where that is.
    pub(crate) fn open(&mut self, piece: &[u8]) -> Draft<'_> {
        self.flush(piece);
        let event = self.copied.len();
        self.copied.extend_from_slice(PREFIX);
        Draft {
            buffer: &mut self.copied,
            event,
        }
    }

    /// Sends a copy of this data as an event.
    pub(crate) fn frame(&mut self, data: &[u8], piece: &[u8]) {
        let mut draft = self.open(piece);
        draft.put(data);
        draft.send_on_one_line();
    }

    pub(crate) fn len(&self) -> usize {
        self.copied.len() + self.run.len()
    }

    /// Everything collected so far.
    pub(crate) fn take(&mut self) -> Bytes {
        if self.copied.is_empty() {
            let run = std::mem::take(&mut self.run);
            let mut piece = std::mem::take(&mut self.piece);
            piece.truncate(run.end);
            piece.advance(run.start);
            return piece;
        }
        if self.copied.capacity() > MAX_KEPT_BYTES {
            return std::mem::take(&mut self.copied).freeze();
        }
        if self.copied.len() <= SMALL_BYTES {
            let bytes = Bytes::copy_from_slice(&self.copied);
            self.copied.clear();
            return bytes;
        }
        self.copied.split().freeze()
    }

    fn flush(&mut self, piece: &[u8]) {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.copied.extend_from_slice(&piece[run]);
        }
    }
}

/// An event that is being written.
pub(crate) struct Draft<'a> {
    buffer: &'a mut BytesMut,
    event: usize,
}

impl Draft<'_> {
    pub(crate) fn put(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The data so far.
    pub(crate) fn data(&mut self) -> &mut [u8] {
        &mut self.buffer[self.event + PREFIX.len()..]
    }

    pub(crate) fn send(self) {
        self.buffer.extend_from_slice(SUFFIX);
    }

    /// Line ends in the data become spaces: in JSON they can only stand between tokens.
    pub(crate) fn send_on_one_line(mut self) {
        let mut rest = self.data();
        while let Some(at) = memchr2(b'\n', b'\r', rest) {
            rest[at] = b' ';
            rest = &mut rest[at..];
        }
        self.send();
    }

    pub(crate) fn discard(self) {
        self.buffer.truncate(self.event);
    }
}

/// To copy less than this into memory of its own is cheaper than to share the buffer.
const SMALL_BYTES: usize = 2 << 10;

/// A larger buffer is not kept for what comes next.
const MAX_KEPT_BYTES: usize = 64 << 10;
