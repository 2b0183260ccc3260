//! Lines, fields and events out of pieces that stay with the caller.

use std::{fmt, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::{
    Event, EventTooLarge,
    event::{PREFIX, SUFFIX, Source},
    fields::Fields,
};

/// The state between two events. Whoever owns it hands in the same piece until that is used up.
///
/// A line that a cut goes through is carried over; the next piece first completes it.
#[derive(Clone)]
pub(crate) struct Parser {
    max_event_bytes: usize,
    /// Everything in the piece before it is done with.
    at: usize,
    /// The beginning of a line that earlier pieces brought. If there is any, the piece is used up.
    line: BytesMut,
    /// How long that line may become; 0 if there is none.
    max_line_bytes: usize,
    data: Data,
    /// The data of an event that is not one slice of the piece.
    joined: BytesMut,
    data_lines: usize,
    fields: Fields,
    /// The event in `data` has been handed out.
    handed_out: bool,
    past_first_line: bool,
    /// The last line ended with a CR at the very end of a piece.
    swallow_lf: bool,
    too_large: bool,
}

/// The data of the event in progress.
#[derive(Clone, Debug)]
enum Data {
    None,
    /// In the current piece.
    Slice {
        value: Range<usize>,
        /// Where the line began, if it is spelled `data: …` and ends with an LF alone.
        canonical_from: Option<usize>,
        /// Where the whole event stands, once it is complete and all of it is canonical.
        wire: Option<Range<usize>>,
    },
    /// In `joined`, from here on.
    Joined {
        from: usize,
        /// What stands there is `data: …` of an event whose lines all end with an LF alone.
        canonical: bool,
    },
}

impl Parser {
    pub(crate) fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            at: 0,
            line: BytesMut::new(),
            max_line_bytes: 0,
            data: Data::None,
            joined: BytesMut::new(),
            data_lines: 0,
            fields: Fields::new(),
            handed_out: false,
            past_first_line: false,
            swallow_lf: false,
            too_large: false,
        }
    }

    pub(crate) fn set_max_event_bytes(&mut self, bytes: usize) {
        self.max_event_bytes = bytes;
    }

    pub(crate) fn max_event_bytes(&self) -> usize {
        self.max_event_bytes
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.line.len() + self.joined.len()
    }

    /// Takes in a piece that only makes the carried line longer, as most pieces of a stream do that
    /// was cut small. `false` if it may be another one, and nothing has happened.
    #[inline]
    pub(crate) fn lengthen(&mut self, piece: &[u8]) -> bool {
        let room = self.line.len() + piece.len() <= self.max_line_bytes;
        let lengthens = room && is_short_and_within_line(piece);
        if lengthens {
            self.line.extend_from_slice(piece);
        }
        lengthens
    }

    /// Begins a piece. `false` if nothing of it is left to look at.
    pub(crate) fn begin(&mut self, piece: &[u8]) -> bool {
        self.at = 0;
        if self.line.is_empty() {
            if self.swallow_lf && !piece.is_empty() {
                self.swallow_lf = false;
                self.at = usize::from(piece[0] == b'\n');
            }
            return true;
        }
        match memchr2(b'\n', b'\r', piece) {
            Some(end) => self.end_carried(piece, end),
            None => self.carry(piece),
        }
        // That a line has become too large is for `advance` to tell.
        self.line.is_empty()
    }

    /// Reads on until an event is complete (`true`) or the piece is used up.
    pub(crate) fn advance(&mut self, piece: &[u8]) -> Result<bool, EventTooLarge> {
        self.clear_handed_out();
        while !self.too_large {
            let rest = &piece[self.at..];
            let found = match rest.first() {
                // Every event has an empty line: finding its end needs no search.
                Some(b'\n' | b'\r') => Some(0),
                Some(_) => memchr2(b'\n', b'\r', rest),
                None => None,
            };
            let Some(length) = found else {
                self.carry(piece);
                break;
            };
            let line = self.at..self.at + length;
            let ends_with_lf = self.pass_line_end(piece, line.end);
            if !self.fits(length) {
                self.fail();
                break;
            }
            if self.line_in_piece(piece, line, ends_with_lf) && self.complete(ends_with_lf) {
                return Ok(true);
            }
            self.check_lines();
        }
        match self.too_large {
            true => Err(EventTooLarge(())),
            false => Ok(false),
        }
    }

    /// The event that [`advance`](Self::advance) has found.
    pub(crate) fn event<'a>(&'a mut self, piece: &'a Bytes) -> Event<'a> {
        self.handed_out = true;
        let (data, source) = match &self.data {
            Data::None => (&b""[..], Source::Copy { canonical: false }),
            Data::Joined { from, canonical } => {
                let canonical = *canonical;
                (&self.joined[*from..], Source::Copy { canonical })
            }
            Data::Slice { value, wire, .. } => {
                let start = value.start;
                let wire = wire.clone();
                (&piece[value.clone()], Source::Piece { start, wire })
            }
        };
        Event {
            data,
            name: self.fields.name(),
            last_event_id: self.fields.last_id(),
            piece,
            source,
        }
    }

    /// The whole of the event that was found last, if its source is a canonical copy. It may be
    /// taken out.
    pub(crate) fn copied_event(&mut self) -> &mut BytesMut {
        self.joined.extend_from_slice(SUFFIX);
        &mut self.joined
    }

    /// Ends the stream; `true` if an event is left that no blank line has completed.
    pub(crate) fn finish(&mut self, piece: &[u8]) -> bool {
        self.clear_handed_out();
        if self.advance(piece).is_err() {
            return false;
        }
        self.clear_handed_out();
        if !self.line.is_empty() {
            self.carried_line(false);
        }
        self.check_lines();
        !self.too_large && !matches!(self.data, Data::None)
    }

    /// Where the next event begins in the piece, if that is spelled `data: …`. For a reader who
    /// knows where it ends, and who asks for neither names nor ids.
    pub(crate) fn canonical_start(&self, piece: &[u8]) -> Option<usize> {
        let fresh = self.line.is_empty() && matches!(self.data, Data::None);
        let begins = fresh && piece.get(self.at..)?.starts_with(PREFIX);
        begins.then_some(self.at)
    }

    /// The line that is carried, if it spells `data: …` and nothing stands before it. For the same
    /// reader, who either leaves it as it was or [takes it](Self::end_line_at).
    pub(crate) fn canonical_line(&mut self) -> Option<&mut BytesMut> {
        let canonical = matches!(self.data, Data::None) && self.line.starts_with(PREFIX);
        canonical.then_some(&mut self.line)
    }

    /// The carried line was an event that ends at this place of the piece.
    pub(crate) fn end_line_at(&mut self, at: usize) {
        self.line.clear();
        self.max_line_bytes = 0;
        self.at = at;
    }

    /// Continues at this place of the piece, up to which the caller has read.
    pub(crate) fn pass_to(&mut self, at: usize) {
        self.at = at;
    }

    /// What of the piece has not been looked at; the caller will hand it in once more, in front of
    /// other bytes.
    pub(crate) fn leave<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let rest = &piece[self.at..];
        if !rest.is_empty() {
            self.clear_handed_out();
            self.unslice(piece);
        }
        rest
    }

    /// Whether the event fits with one more line of this length. What counts does not depend on
    /// how the stream was cut: a line that is too long is so from the first byte too many.
    fn fits(&self, line: usize) -> bool {
        self.held() + line <= self.max_event_bytes
    }

    /// What the event holds already, with the LF that joins it to the next line.
    fn held(&self) -> usize {
        match &self.data {
            Data::None => 0,
            Data::Slice { value, .. } => value.len() + 1,
            Data::Joined { from, .. } => self.joined.len() - from + 1,
        }
    }

    /// Forgets the event that was handed out last.
    #[inline]
    pub(crate) fn clear_handed_out(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.data = Data::None;
        self.data_lines = 0;
        self.joined.clear();
        self.fields.forget_name();
        // A buffer that one large event has left behind is not kept for all the small ones.
        for buffer in [&mut self.joined, &mut self.line] {
            if buffer.is_empty() && buffer.capacity() > MAX_KEPT_BYTES {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Steps over the line end that begins here; `true` if it is an LF alone.
    fn pass_line_end(&mut self, piece: &[u8], end: usize) -> bool {
        self.at = end + 1;
        if piece[end] == b'\n' {
            return true;
        }
        match piece.get(self.at) {
            Some(b'\n') => self.at += 1,
            Some(_) => {}
            None => self.swallow_lf = true,
        }
        false
    }

    /// An empty line has come; `true` if there was an event in front of it.
    fn complete(&mut self, ends_with_lf: bool) -> bool {
        self.fields.complete();
        match &mut self.data {
            Data::None => {
                self.fields.forget_name();
                return false;
            }
            Data::Slice {
                canonical_from,
                wire,
                ..
            } => {
                let from = canonical_from.filter(|_| ends_with_lf);
                *wire = from.map(|from| from..self.at);
            }
            Data::Joined { canonical, .. } => *canonical &= ends_with_lf,
        }
        true
    }

    /// Reads a line that stands whole in the piece; `true` if it is empty.
    fn line_in_piece(&mut self, piece: &[u8], mut line: Range<usize>, ends_with_lf: bool) -> bool {
        if !std::mem::replace(&mut self.past_first_line, true)
            && piece[line.clone()].starts_with(BYTE_ORDER_MARK)
        {
            line.start += BYTE_ORDER_MARK.len();
        }
        let text = &piece[line.clone()];
        if text.is_empty() {
            return true;
        }
        match (&self.data, text.strip_prefix(b"data:")) {
            (Data::None, Some(value)) => {
                let spaced = value.first() == Some(&b' ');
                let start = line.end - value.len() + usize::from(spaced);
                self.data_lines += 1;
                self.data = Data::Slice {
                    value: start..line.end,
                    canonical_from: Some(line.start).filter(|_| spaced && ends_with_lf),
                    wire: None,
                };
            }
            _ => self.field(text, piece),
        }
        false
    }

    /// Completes the line that is carried.
    fn end_carried(&mut self, piece: &[u8], end: usize) {
        let ends_with_lf = self.pass_line_end(piece, end);
        if !self.fits(self.line.len() + end) {
            return self.fail();
        }
        self.line.extend_from_slice(&piece[..end]);
        self.carried_line(ends_with_lf);
        self.check_lines();
    }

    /// Reads the line that was carried. It holds a byte at least; if that is a mark and nothing
    /// else, it is the first line, and there is no event that it could complete.
    fn carried_line(&mut self, ends_with_lf: bool) {
        let is_first = !std::mem::replace(&mut self.past_first_line, true);
        let marked = is_first && self.line.starts_with(BYTE_ORDER_MARK);
        let start = if marked { BYTE_ORDER_MARK.len() } else { 0 };
        match (&self.data, self.line[start..].strip_prefix(b"data:")) {
            (Data::None, Some(value)) => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                let from = self.line.len() - value.len();
                self.data_lines += 1;
                self.data = Data::Joined {
                    from,
                    canonical: ends_with_lf && from == PREFIX.len(),
                };
                std::mem::swap(&mut self.joined, &mut self.line);
            }
            _ => {
                let line = std::mem::take(&mut self.line);
                self.field(&line[start..], NO_PIECE);
                // The buffer is used again.
                self.line = line;
            }
        }
        self.line.clear();
        self.max_line_bytes = 0;
    }

    /// Reads a line that is not the first one with data.
    fn field(&mut self, line: &[u8], piece: &[u8]) {
        // It stands between the data and the empty line: they do not make one slice.
        match &mut self.data {
            Data::None => {}
            Data::Slice { canonical_from, .. } => *canonical_from = None,
            Data::Joined { canonical, .. } => *canonical = false,
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if field == b"data" {
            self.push_data(value, piece);
        } else {
            self.fields.read(field, value);
        }
    }

    fn push_data(&mut self, value: &[u8], piece: &[u8]) {
        self.data_lines += 1;
        self.unslice(piece);
        if matches!(self.data, Data::None) {
            self.data = Data::Joined {
                from: 0,
                canonical: false,
            };
        } else {
            self.joined.extend_from_slice(b"\n");
        }
        self.joined.extend_from_slice(value);
    }

    /// Takes over what the next piece will complete.
    fn carry(&mut self, piece: &[u8]) {
        self.unslice(piece);
        let rest = &piece[std::mem::take(&mut self.at)..];
        if rest.is_empty() {
            return;
        }
        self.max_line_bytes = self.max_event_bytes.saturating_sub(self.held());
        if self.line.len() + rest.len() > self.max_line_bytes {
            return self.fail();
        }
        if self.line.is_empty() {
            self.line.reserve(rest.len().max(TYPICAL_BYTES));
        }
        self.line.extend_from_slice(rest);
    }

    /// Copies the data that was a slice of the piece.
    fn unslice(&mut self, piece: &[u8]) {
        if let Data::Slice {
            value,
            canonical_from,
            ..
        } = &self.data
        {
            let start = canonical_from.unwrap_or(value.start);
            self.joined.extend_from_slice(&piece[start..value.end]);
            self.data = Data::Joined {
                from: value.start - start,
                canonical: canonical_from.is_some(),
            };
        }
    }

    fn check_lines(&mut self) {
        if self.data_lines > MAX_DATA_LINES {
            self.fail();
        }
    }

    /// Lets go of everything, for good.
    #[cold]
    fn fail(&mut self) {
        *self = Self::new(self.max_event_bytes);
        self.too_large = true;
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

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Answers do not belong in logs.
        f.debug_struct("Parser")
            .field("held_bytes", &self.held_bytes())
            .finish_non_exhaustive()
    }
}

/// Far above any printed JSON that somebody put on several lines.
const MAX_DATA_LINES: usize = 1_024;

/// Room for a line that comes in many pieces, so that it is not moved at each of them.
const TYPICAL_BYTES: usize = 512;

const MAX_KEPT_BYTES: usize = 64 << 10;

/// Where nothing is a slice of a piece.
const NO_PIECE: &[u8] = &[];

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
