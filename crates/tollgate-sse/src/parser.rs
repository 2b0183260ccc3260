//! Lines, fields and events out of pieces that stay with the caller.

use std::{fmt, ops::Range};

use bytes::Bytes;
use memchr::memchr2;

use crate::{Event, EventTooLarge, fields::Fields, line::Line};

/// The state between two events. Whoever owns it hands in the same piece until that is used up.
///
/// A line that a cut goes through is carried over; the next piece first completes it.
#[derive(Clone)]
pub(crate) struct Parser {
    max_event_bytes: usize,
    /// Everything in the piece before it is done with.
    at: usize,
    /// The beginning of a line that earlier pieces brought. If there is any, the piece is used up.
    line: Line,
    data: Data,
    /// The data of an event that is not one slice of the piece.
    joined: Vec<u8>,
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
    Slice(Range<usize>),
    /// In `joined`, from here on.
    Joined(usize),
}

impl Parser {
    pub(crate) fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            at: 0,
            line: Line::default(),
            data: Data::None,
            joined: Vec::new(),
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
        self.line.bytes.len() + self.joined.len()
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
        if self.line.lengthen(piece) {
            return false;
        }
        match memchr2(b'\n', b'\r', piece) {
            Some(end) => self.end_carried(piece, end),
            None => self.carry(piece),
        }
        // That a line has become too large is for `advance` to tell.
        self.line.is_empty()
    }

    /// Begins a piece after the beginning of an event that earlier pieces brought.
    pub(crate) fn begin_after(&mut self, earlier: &[u8], piece: &[u8]) -> bool {
        self.begin(earlier);
        // There is no empty line in it. That it is too large is told once more.
        let _ = self.advance(earlier);
        self.begin(piece)
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
            self.pass_line_end(piece, line.end);
            if !self.fits(length) {
                self.fail();
                break;
            }
            if self.line_in_piece(piece, line) && self.complete() {
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
        let (data, start) = match &self.data {
            Data::None => (&b""[..], None),
            Data::Joined(from) => (&self.joined[*from..], None),
            Data::Slice(value) => (&piece[value.clone()], Some(value.start)),
        };
        Event {
            data,
            name: self.fields.name(),
            last_event_id: self.fields.last_id(),
            piece,
            start,
        }
    }

    /// Ends the stream; `true` if an event is left that no blank line has completed.
    pub(crate) fn finish(&mut self, piece: &[u8]) -> bool {
        self.clear_handed_out();
        if self.advance(piece).is_err() {
            return false;
        }
        self.clear_handed_out();
        if !self.line.is_empty() {
            self.carried_line();
        }
        self.check_lines();
        !self.too_large && !matches!(self.data, Data::None)
    }

    /// Whether it stands between two events, with nothing in its hands.
    pub(crate) fn is_between_events(&self) -> bool {
        self.line.is_empty() && matches!(self.data, Data::None)
    }

    /// Where in the piece it stands.
    pub(crate) fn at(&self) -> usize {
        self.at
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
            Data::Slice(value) => value.len() + 1,
            Data::Joined(from) => self.joined.len() - from + 1,
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
        for buffer in [&mut self.joined, &mut self.line.bytes] {
            if buffer.is_empty() && buffer.capacity() > MAX_KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }

    /// Steps over the line end that begins here.
    fn pass_line_end(&mut self, piece: &[u8], end: usize) {
        self.at = end + 1;
        if piece[end] == b'\r' {
            match piece.get(self.at) {
                Some(b'\n') => self.at += 1,
                Some(_) => {}
                None => self.swallow_lf = true,
            }
        }
    }

    /// An empty line has come; `true` if there was an event in front of it.
    fn complete(&mut self) -> bool {
        self.fields.complete();
        let is_event = !matches!(self.data, Data::None);
        if !is_event {
            self.fields.forget_name();
        }
        is_event
    }

    /// Reads a line that stands whole in the piece; `true` if it is empty.
    fn line_in_piece(&mut self, piece: &[u8], mut line: Range<usize>) -> bool {
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
                let value = value.strip_prefix(b" ").unwrap_or(value);
                self.data_lines += 1;
                self.data = Data::Slice(line.end - value.len()..line.end);
            }
            _ => self.field(text, piece),
        }
        false
    }

    /// Completes the line that is carried.
    fn end_carried(&mut self, piece: &[u8], end: usize) {
        self.pass_line_end(piece, end);
        if !self.fits(self.line.bytes.len() + end) {
            return self.fail();
        }
        self.line.bytes.extend_from_slice(&piece[..end]);
        self.carried_line();
        self.check_lines();
    }

    /// Reads the line that was carried. It holds a byte at least; if that is a mark and nothing
    /// else, it is the first line, and there is no event that it could complete.
    fn carried_line(&mut self) {
        let is_first = !std::mem::replace(&mut self.past_first_line, true);
        let line = &mut self.line.bytes;
        let marked = is_first && line.starts_with(BYTE_ORDER_MARK);
        let start = if marked { BYTE_ORDER_MARK.len() } else { 0 };
        match (&self.data, line[start..].strip_prefix(b"data:")) {
            (Data::None, Some(value)) => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                self.data_lines += 1;
                self.data = Data::Joined(line.len() - value.len());
                std::mem::swap(&mut self.joined, line);
            }
            _ => {
                let line = std::mem::take(line);
                self.field(&line[start..], NO_PIECE);
                // The buffer is used again.
                self.line.bytes = line;
            }
        }
        self.line.clear();
    }

    /// Reads a line that is not the first one with data.
    fn field(&mut self, line: &[u8], piece: &[u8]) {
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
            self.data = Data::Joined(0);
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
        let max_bytes = self.max_event_bytes.saturating_sub(self.held());
        if !self.line.push(rest, max_bytes) {
            self.fail();
        }
    }

    /// Copies the data that was a slice of the piece.
    fn unslice(&mut self, piece: &[u8]) {
        if let Data::Slice(value) = &self.data {
            self.joined.extend_from_slice(&piece[value.clone()]);
            self.data = Data::Joined(0);
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

const MAX_KEPT_BYTES: usize = 64 << 10;

/// Where nothing is a slice of a piece.
const NO_PIECE: &[u8] = &[];

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
