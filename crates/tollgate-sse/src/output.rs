//! What is to go out next, in as few pieces and copies as possible.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Collects output. A run of events that came side by side in one piece, and is all there is,
/// leaves as a slice of that piece; anything else is copied into one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    chunk: Bytes,
    run: Range<usize>,
    copied: BytesMut,
}

impl Output {
    /// The next calls of [`keep`](Self::keep) will speak of another piece.
    pub(crate) fn begin(&mut self) {
        self.flush();
    }

    /// Sends this part of the piece.
    pub(crate) fn keep(&mut self, chunk: &Bytes, wire: Range<usize>) {
        if self.run.end == wire.start && !self.run.is_empty() {
            self.run.end = wire.end;
        } else {
            self.flush();
            self.chunk = chunk.clone();
            self.run = wire;
        }
    }

    /// Sends a copy of these bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.flush();
        self.copied.extend_from_slice(bytes);
    }

    /// Sends a copy of this data as an event. Its line ends can only stand between tokens.
    pub(crate) fn frame(&mut self, data: &[u8]) {
        self.put(b"data: ");
        let start = self.copied.len();
        self.copied.extend_from_slice(data);
        self.copied.extend_from_slice(b"\n\n");
        let mut rest = &mut self.copied[start..start + data.len()];
        while let Some(at) = memchr2(b'\n', b'\r', rest) {
            rest[at] = b' ';
            rest = &mut rest[at..];
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.copied.len() + self.run.len()
    }

    /// Everything collected so far.
    pub(crate) fn take(&mut self) -> Bytes {
        if self.copied.is_empty() {
            let run = std::mem::take(&mut self.run);
            return std::mem::take(&mut self.chunk).slice(run);
        }
        self.flush();
        if self.copied.capacity() > MAX_KEPT_BYTES {
            return std::mem::take(&mut self.copied).freeze();
        }
        self.copied.split().freeze()
    }

    fn flush(&mut self) {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            let chunk = std::mem::take(&mut self.chunk);
            self.copied.extend_from_slice(&chunk[run]);
        }
    }
}

/// A larger buffer is not kept for what comes next.
const MAX_KEPT_BYTES: usize = 64 << 10;
