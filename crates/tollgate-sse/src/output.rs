//! What is to go out next, in as few pieces and copies as possible.

use std::ops::Range;

use bytes::{Buf, Bytes};

/// Collects output. A run of events that came side by side in one piece, and is all there is,
/// leaves as a slice of that piece; anything else is copied into one buffer.
///
/// While a piece is being read it stays with its reader, and is lent to each call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    /// What was written before the run.
    written: Vec<u8>,
    /// A part of the piece.
    run: Range<usize>,
    /// The piece, once it has been read and if it is all there is.
    piece: Bytes,
}

impl Output {
    /// The calls that follow will speak of another piece.
    #[inline]
    pub(crate) fn begin(&mut self) {
        if !self.run.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            self.flush(&piece);
        }
    }

    /// The piece has been read.
    #[inline]
    pub(crate) fn end(&mut self, piece: Bytes) {
        if !self.run.is_empty() {
            self.end_run(piece);
        }
    }

    fn end_run(&mut self, piece: Bytes) {
        if self.written.is_empty() {
            self.piece = piece;
        } else if self.len() <= SMALL_BYTES {
            // It will be copied once anyway.
            let mut all = Vec::with_capacity(self.len());
            all.extend_from_slice(&self.written);
            all.extend_from_slice(&piece[self.run.clone()]);
            self.run = 0..all.len();
            self.piece = all.into();
            self.written.clear();
        } else {
            self.flush(&piece);
        }
    }

    /// Sends this part of the piece.
    pub(crate) fn keep(&mut self, part: Range<usize>, piece: &[u8]) {
        if self.run.end == part.start && !self.run.is_empty() {
            self.run.end = part.end;
        } else {
            self.flush(piece);
            self.run = part;
        }
    }

    /// Sends what is written now, and says where that begins. If it is likely to go out alone, its
    /// length is to be told.
    pub(crate) fn write(
        &mut self,
        piece: &[u8],
        alone: Option<usize>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        self.flush(piece);
        let start = self.written.len();
        if start == 0 {
            match alone {
                Some(length) => self.written = Vec::with_capacity(length),
                // About as much goes out as comes in.
                None => self.written.reserve(piece.len().min(MAX_KEPT_BYTES)),
            }
        }
        write(&mut self.written);
        start
    }

    /// What was written since then.
    pub(crate) fn written_since(&self, start: usize) -> &[u8] {
        &self.written[start..]
    }

    /// Takes back what was written since then.
    pub(crate) fn take_back(&mut self, start: usize) {
        self.written.truncate(start);
    }

    pub(crate) fn len(&self) -> usize {
        self.written.len() + self.run.len()
    }

    /// Everything collected so far.
    pub(crate) fn take(&mut self) -> Bytes {
        if self.written.is_empty() {
            let run = std::mem::take(&mut self.run);
            let mut piece = std::mem::take(&mut self.piece);
            piece.truncate(run.end);
            piece.advance(run.start);
            return piece;
        }
        let has_slack = self.written.len() < self.written.capacity();
        if !has_slack || self.written.len() > SMALL_BYTES {
            return std::mem::take(&mut self.written).into();
        }
        let bytes = Bytes::copy_from_slice(&self.written);
        self.written.clear();
        self.written.shrink_to(MAX_KEPT_BYTES);
        bytes
    }

    fn flush(&mut self, piece: &[u8]) {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.written.extend_from_slice(&piece[run]);
        }
    }
}

/// To copy less than this into memory of its own is cheaper than to give the buffer away.
const SMALL_BYTES: usize = 2 << 10;

/// A buffer that one large event has left behind is not kept for all the small ones.
const MAX_KEPT_BYTES: usize = 64 << 10;
