//! Server-sent events out of pieces of any size.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use memchr::memchr2;

use crate::{Event, EventTooLarge};

/// Finds the events in a `text/event-stream`, however it was cut. Sans-IO and usable alone.
///
/// Bytes go in by [`push`](Self::push) and events come out of [`next_event`](Self::next_event),
/// as the [HTML standard] reads them: lines end at LF, CR or CRLF; one byte order mark at the
/// start, comments and unknown fields mean nothing; several `data` lines are joined by LF. An event
/// that came in one piece and has one `data` line is a borrowed slice of that piece; only what a
/// cut went through is copied. Nothing is decoded: data is bytes.
///
/// Memory is bounded: an event with more than [`max_event_bytes`](Self::max_event_bytes), or with
/// more than 1,024 `data` lines, is an error. The time is linear in the input for any cuts.
///
/// ```
/// use tollgate_sse::Framer;
///
/// let mut framer = Framer::new();
/// let mut seen = Vec::new();
/// for piece in [": hello\r\n\r\nda", "ta: one\n\nevent: tick\nda", "ta: two\ndata: lines\n\n"] {
///     framer.push(piece);
///     while let Some(event) = framer.next_event()? {
///         seen.push((event.name().map(<[u8]>::to_vec), event.to_bytes()));
///     }
/// }
/// assert_eq!(seen[0], (None, "one".into()));
/// assert_eq!(seen[1], (Some(b"tick".to_vec()), "two\nlines".into()));
/// # Ok::<_, tollgate_sse::EventTooLarge>(())
/// ```
///
/// [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html
#[derive(Clone)]
pub struct Framer {
    max_event_bytes: usize,
    /// The piece being read; everything before `at` is done with.
    chunk: Bytes,
    at: usize,
    /// The beginning of a line that earlier pieces brought.
    line: Vec<u8>,
    data: Data,
    /// The data of an event that is not one slice of `chunk`.
    joined: Vec<u8>,
    data_lines: usize,
    name: Vec<u8>,
    /// What the next empty line makes the last id.
    id: Vec<u8>,
    last_id: Vec<u8>,
    id_changed: bool,
    retry: Option<Duration>,
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
    },
}

impl Framer {
    /// A framer for one stream, with the default limit of 1 MiB for an event.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_event_bytes: DEFAULT_MAX_EVENT_BYTES,
            chunk: Bytes::new(),
            at: 0,
            line: Vec::new(),
            data: Data::None,
            joined: Vec::new(),
            data_lines: 0,
            name: Vec::new(),
            id: Vec::new(),
            last_id: Vec::new(),
            id_changed: false,
            retry: None,
            handed_out: false,
            past_first_line: false,
            swallow_lf: false,
            too_large: false,
        }
    }

    /// Limits an event's data and any single line to this many bytes. Default: 1 MiB.
    #[must_use]
    pub const fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.max_event_bytes = bytes;
        self
    }

    /// Adds the next piece of the stream.
    ///
    /// Take all events out of a piece before you push the next one: otherwise what is left of it
    /// has to be copied. After [`EventTooLarge`] nothing is taken in any more.
    pub fn push(&mut self, chunk: impl Into<Bytes>) {
        if self.too_large {
            return;
        }
        let chunk = chunk.into();
        self.chunk = if self.at < self.chunk.len() {
            self.clear_handed_out();
            self.unslice();
            [&self.chunk[self.at..], &chunk].concat().into()
        } else {
            chunk
        };
        self.at = 0;
        if self.swallow_lf && !self.chunk.is_empty() {
            self.swallow_lf = false;
            self.at = usize::from(self.chunk[0] == b'\n');
        }
    }

    /// The next event that is complete, or `None` until more is pushed.
    ///
    /// # Errors
    ///
    /// [`EventTooLarge`], and from then on always: where the event ends is not looked for.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, EventTooLarge> {
        if self.advance()? {
            return Ok(Some(self.event()));
        }
        Ok(None)
    }

    /// What stands at the end of the stream without the blank line that would complete it.
    ///
    /// Browsers discard it. Some servers forget the blank line after their last event, so it is
    /// up to you to see whether it is whole. Call this after the last
    /// [`next_event`](Self::next_event).
    pub fn finish(&mut self) -> Option<Event<'_>> {
        self.clear_handed_out();
        if self.too_large || self.advance().is_err() {
            return None;
        }
        self.clear_handed_out();
        let line = std::mem::take(&mut self.line);
        self.carried_line(line);
        if matches!(self.data, Data::None) || self.data_lines > MAX_DATA_LINES {
            return None;
        }
        Some(self.event())
    }

    /// The last `id` that the stream has sent, for `last-event-id` when it is opened again. An
    /// event without an `id` does not change it.
    #[must_use]
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_id
    }

    /// How long the stream asks to wait before it is opened again.
    #[must_use]
    pub const fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The piece, and where the next event begins in it, if that is spelled `data: …`. For a reader
    /// who knows where it ends, and who asks for neither names nor ids.
    pub(crate) fn canonical_start(&self) -> Option<(&Bytes, usize)> {
        let fresh = self.line.is_empty() && matches!(self.data, Data::None);
        let begins = fresh && self.chunk.get(self.at..)?.starts_with(b"data: ");
        begins.then_some((&self.chunk, self.at))
    }

    /// Whether a line of this length is one event's worth.
    pub(crate) const fn fits(&self, line: usize) -> bool {
        line <= self.max_event_bytes
    }

    /// Continues at this place of the piece, up to which the caller has read.
    pub(crate) const fn pass_to(&mut self, at: usize) {
        self.at = at;
    }

    fn event(&mut self) -> Event<'_> {
        self.handed_out = true;
        let (data, source) = match &self.data {
            Data::None => (&b""[..], None),
            Data::Joined { from } => (&self.joined[*from..], None),
            Data::Slice { value, wire, .. } => (
                &self.chunk[value.clone()],
                Some((value.start, wire.clone())),
            ),
        };
        Event {
            data,
            name: &self.name,
            last_event_id: &self.last_id,
            chunk: &self.chunk,
            source,
        }
    }

    /// Reads on until an event is complete (`true`) or the piece is used up.
    fn advance(&mut self) -> Result<bool, EventTooLarge> {
        self.clear_handed_out();
        if self.too_large {
            return Err(EventTooLarge(()));
        }
        loop {
            let rest = &self.chunk[self.at..];
            let found = match rest.first() {
                // Every event has an empty line: finding its end needs no search.
                Some(b'\n' | b'\r') => Some(0),
                Some(_) => memchr2(b'\n', b'\r', rest),
                None => None,
            };
            let Some(length) = found else {
                self.carry()?;
                return Ok(false);
            };
            let line = self.at..self.at + length;
            let ends_with_lf = rest[length] == b'\n';
            self.at = line.end + 1;
            if !ends_with_lf {
                match self.chunk.get(self.at) {
                    Some(b'\n') => self.at += 1,
                    Some(_) => {}
                    None => self.swallow_lf = true,
                }
            }
            self.check_size(self.line.len() + length)?;
            let empty = if self.line.is_empty() {
                self.line_in_chunk(line, ends_with_lf)
            } else {
                let mut carried = std::mem::take(&mut self.line);
                carried.extend_from_slice(&self.chunk[line]);
                self.carried_line(carried)
            };
            if self.data_lines > MAX_DATA_LINES {
                return self.fail();
            }
            if empty {
                if std::mem::take(&mut self.id_changed) {
                    self.last_id.clone_from(&self.id);
                }
                if let Data::Slice {
                    canonical_from,
                    wire,
                    ..
                } = &mut self.data
                {
                    let from = canonical_from.filter(|_| ends_with_lf);
                    *wire = from.map(|from| from..self.at);
                    return Ok(true);
                }
                if matches!(self.data, Data::Joined { .. }) {
                    return Ok(true);
                }
                self.name.clear();
            }
        }
    }

    /// Reads a line that stands whole in the piece; `true` if it is empty.
    fn line_in_chunk(&mut self, mut line: Range<usize>, ends_with_lf: bool) -> bool {
        if !std::mem::replace(&mut self.past_first_line, true)
            && self.chunk[line.clone()].starts_with(BYTE_ORDER_MARK)
        {
            line.start += BYTE_ORDER_MARK.len();
        }
        let text = &self.chunk[line.clone()];
        if text.is_empty() {
            return true;
        }
        match (&mut self.data, text.strip_prefix(b"data:")) {
            (Data::None, Some(value)) => {
                let spaced = value.first() == Some(&b' ');
                let start = line.end - value.len() + usize::from(spaced);
                self.data_lines += 1;
                self.data = Data::Slice {
                    value: start..line.end,
                    canonical_from: Some(line.start).filter(|_| spaced && ends_with_lf),
                    wire: None,
                };
                return false;
            }
            // This line stands between the data and the empty line: they are not one slice.
            (Data::Slice { canonical_from, .. }, _) => *canonical_from = None,
            _ => {}
        }
        let chunk = self.chunk.clone();
        self.field(&chunk[line]);
        false
    }

    /// Reads a line that a cut went through; `true` if it is empty.
    fn carried_line(&mut self, mut carried: Vec<u8>) -> bool {
        let mut line = &carried[..];
        if !std::mem::replace(&mut self.past_first_line, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let empty = line.is_empty();
        match (&self.data, line.strip_prefix(b"data:")) {
            (Data::None, Some(value)) => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                let from = carried.len() - value.len();
                self.data_lines += 1;
                self.data = Data::Joined { from };
                std::mem::swap(&mut self.joined, &mut carried);
            }
            _ if empty => {}
            _ => self.field(line),
        }
        // The buffer is used again.
        carried.clear();
        self.line = carried;
        empty
    }

    fn field(&mut self, line: &[u8]) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => self.push_data(value),
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
                self.id_changed = true;
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let millis = value.iter().try_fold(0u64, |millis, digit| {
                    millis.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
                });
                self.retry = millis.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }

    fn push_data(&mut self, value: &[u8]) {
        self.data_lines += 1;
        self.unslice();
        if matches!(self.data, Data::None) {
            self.data = Data::Joined { from: 0 };
        } else {
            self.joined.push(b'\n');
        }
        self.joined.extend_from_slice(value);
    }

    /// Takes over what the next piece will complete.
    fn carry(&mut self) -> Result<(), EventTooLarge> {
        self.unslice();
        let chunk = std::mem::take(&mut self.chunk);
        let rest = &chunk[std::mem::take(&mut self.at)..];
        self.check_size(self.line.len() + rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Copies the data that was a slice of the piece.
    fn unslice(&mut self) {
        if let Data::Slice { value, .. } = &self.data {
            self.joined.extend_from_slice(&self.chunk[value.clone()]);
            self.data = Data::Joined { from: 0 };
        }
    }

    /// Whether the event fits with one more line of this length. What counts does not depend on
    /// how the stream was cut: a line that is too long is so from the first byte too many.
    fn check_size(&mut self, line: usize) -> Result<(), EventTooLarge> {
        let held = match &self.data {
            Data::None => 0,
            Data::Slice { value, .. } => value.len() + 1,
            Data::Joined { from } => self.joined.len() - from + 1,
        };
        if held + line > self.max_event_bytes {
            return self.fail().map(drop);
        }
        Ok(())
    }

    #[cold]
    fn fail(&mut self) -> Result<bool, EventTooLarge> {
        let max_event_bytes = self.max_event_bytes;
        *self = Self::new().max_event_bytes(max_event_bytes);
        self.too_large = true;
        Err(EventTooLarge(()))
    }

    /// Forgets the event that was handed out last.
    pub(crate) fn clear_handed_out(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            self.data = Data::None;
            self.data_lines = 0;
            self.joined.clear();
            self.name.clear();
            // A buffer that one large event has left behind is not kept for all the small ones.
            for buffer in [&mut self.joined, &mut self.name, &mut self.line] {
                if buffer.is_empty() && buffer.capacity() > MAX_KEPT_BYTES {
                    *buffer = Vec::new();
                }
            }
        }
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Answers do not belong in logs.
        f.debug_struct("Framer")
            .field("max_event_bytes", &self.max_event_bytes)
            .field("held_bytes", &(self.line.len() + self.joined.len()))
            .finish_non_exhaustive()
    }
}

/// The default of [`Framer::max_event_bytes`].
pub(crate) const DEFAULT_MAX_EVENT_BYTES: usize = 1 << 20;

/// Far above any printed JSON that somebody put on several lines.
const MAX_DATA_LINES: usize = 1_024;

const MAX_KEPT_BYTES: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
