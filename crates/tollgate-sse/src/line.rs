//! A line that comes in several pieces.

/// The beginning of a line whose end has not come.
#[derive(Clone, Default)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    /// How long it may become; 0 if there is none.
    max_bytes: usize,
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes in bytes without a line end. `false` if that makes the line too long.
    pub(crate) fn push(&mut self, bytes: &[u8], max_bytes: usize) -> bool {
        let fits = self.bytes.len() + bytes.len() <= max_bytes;
        if fits {
            if self.bytes.is_empty() {
                self.bytes.reserve(bytes.len().max(TYPICAL_BYTES));
            }
            self.bytes.extend_from_slice(bytes);
            self.max_bytes = max_bytes;
        }
        fits
    }

    /// Takes in a piece that only makes the line longer, as most pieces of a stream do that was cut
    /// small. `false` if it may be another one, and nothing has happened.
    #[inline]
    pub(crate) fn lengthen(&mut self, piece: &[u8]) -> bool {
        let room = self.bytes.len() + piece.len() <= self.max_bytes;
        let lengthens = room && is_short_and_within_line(piece);
        if lengthens {
            self.bytes.extend_from_slice(piece);
        }
        lengthens
    }

    /// The line has been read.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.max_bytes = 0;
    }
}

/// Whether the piece surely holds no line end, told in less time than a search needs to begin.
#[inline]
fn is_short_and_within_line(piece: &[u8]) -> bool {
    match piece.last_chunk() {
        Some(last) if piece.len() <= 32 => {
            let words = piece.chunks_exact(8).filter_map(<[u8]>::first_chunk);
            words.fold(low_bytes(last), |low, word| low | low_bytes(word)) == 0
        }
        _ => false,
    }
}

/// Not 0 if one of the bytes is below 0x0e, as line ends are.
#[inline]
fn low_bytes(word: &[u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let word = u64::from_le_bytes(*word);
    word.wrapping_sub(ONES * 0x0e) & !word & TOPS
}

/// Room for a line that comes in many pieces, so that it is not moved at each of them.
const TYPICAL_BYTES: usize = 512;
