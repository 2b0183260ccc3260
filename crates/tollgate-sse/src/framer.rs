//! Server-sent events out of pieces of any size.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{Event, EventTooLarge, parser::Parser};

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
    parser: Parser,
    /// The piece being read; empty once it is used up.
    piece: Bytes,
}

impl Framer {
    /// A framer for one stream, with the default limit of 1 MiB for an event.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parser: Parser::new(DEFAULT_MAX_EVENT_BYTES),
            piece: Bytes::new(),
        }
    }

    /// Limits an event's data and any single line to this many bytes. Default: 1 MiB.
    #[must_use]
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.parser.set_max_event_bytes(bytes);
        self
    }

    /// Adds the next piece of the stream.
    ///
    /// Take all events out of a piece before you push the next one: otherwise what is left of it
    /// has to be copied. After [`EventTooLarge`] nothing is taken in any more.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let mut piece = piece.into();
        if self.parser.is_too_large() {
            return;
        }
        if !self.piece.is_empty() {
            let rest = self.parser.leave(&self.piece);
            if !rest.is_empty() {
                piece = [rest, &piece].concat().into();
            }
        }
        if self.parser.begin(&piece) {
            self.piece = piece;
        }
    }

    /// The next event that is complete, or `None` until more is pushed.
    ///
    /// # Errors
    ///
    /// [`EventTooLarge`], and from then on always: where the event ends is not looked for.
    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, EventTooLarge> {
        if self.piece.is_empty() && !self.parser.is_too_large() {
            return Ok(None);
        }
        self.advance()
    }

    fn advance(&mut self) -> Result<Option<Event<'_>>, EventTooLarge> {
        let found = self.parser.advance(&self.piece);
        if found == Ok(true) {
            return Ok(Some(self.parser.event(&self.piece)));
        }
        // Nothing of the piece is needed, and others may wait for its memory.
        self.piece = Bytes::new();
        found.map(|_| None)
    }

    /// What stands at the end of the stream without the blank line that would complete it.
    ///
    /// Browsers discard it. Some servers forget the blank line after their last event, so it is
    /// up to you to see whether it is whole. Call this after the last
    /// [`next_event`](Self::next_event).
    pub fn finish(&mut self) -> Option<Event<'_>> {
        let found = self.parser.finish(&self.piece);
        self.piece = Bytes::new();
        found.then(|| self.parser.event(&self.piece))
    }

    /// The last `id` that the stream has sent, for `last-event-id` when it is opened again. An
    /// event without an `id` does not change it.
    #[must_use]
    pub fn last_event_id(&self) -> &[u8] {
        self.parser.fields().last_id()
    }

    /// How long the stream asks to wait before it is opened again.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.parser.fields().retry()
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer")
            .field("parser", &self.parser)
            .finish_non_exhaustive()
    }
}

/// The default of [`Framer::max_event_bytes`].
pub(crate) const DEFAULT_MAX_EVENT_BYTES: usize = 1 << 20;
