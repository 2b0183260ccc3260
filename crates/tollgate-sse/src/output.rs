//! What is to go out next, in as few pieces and copies as possible.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Collects output. A run of events that came side by side in one piece, and is all there is,
/// leaves as a slice of that piece; anything else is copied into one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    chunk: Bytes,
    run: Range<usize>,
    copied: BytesMut,
}

impl Output {
    /// The piece that the next calls of [`keep`](Self::keep) speak of.
    pub(crate) fn begin(&mut self, chunk: &Bytes) {
        self.flush();
        self.chunk = chunk.clone();
    }

    /// Sends this part of the piece.
    pub(crate) fn keep(&mut self, wire: Range<usize>) {
        if self.run.end == wire.start && !self.run.is_empty() {
            self.run.end = wire.end;
        } else {
            self.flush();
            self.run = wire;
        }
    }

    /// Sends a copy of these bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.flush();
        self.copied.extend_from_slice(bytes);
    }

    /// Sends a copy of this data, whose line ends can only stand between tokens.
    pub(crate) fn put_on_one_line(&mut self, data: &[u8]) {
        self.flush();
        let start = self.copied.len();
        self.copied.extend_from_slice(data);
        for byte in &mut self.copied[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.copied.len() + self.run.len()
    }

    /// Everything collected so far.
    pub(crate) fn take(&mut self) -> Bytes {
        let chunk = std::mem::take(&mut self.chunk);
        let run = std::mem::take(&mut self.run);
        if self.copied.is_empty() {
            return chunk.slice(run);
        }
        self.copied.extend_from_slice(&chunk[run]);
        self.copied.split().freeze()
    }

    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            self.copied.extend_from_slice(&self.chunk[run]);
        }
    }
}
