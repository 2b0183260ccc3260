use std::{fmt, ops::Range};

use bytes::Bytes;

/// An event, borrowed from the [`Framer`](crate::Framer) that found it.
#[derive(Clone)]
pub struct Event<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) last_event_id: &'a [u8],
    pub(crate) piece: &'a Bytes,
    pub(crate) source: Source,
}

/// Where an event stands.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// In the piece: its data begins at `start`, and `wire` is the whole of it, if that is all of
    /// `data: …` LF LF and nothing else.
    Piece {
        start: usize,
        wire: Option<Range<usize>>,
    },
    /// In a copy, which is `data: …` if it is canonical.
    Copy { canonical: bool },
}

impl<'a> Event<'a> {
    /// The data. It may be empty: an event is whatever has a `data` line.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The value of the `event` field, unless it is absent or empty.
    #[must_use]
    pub fn name(&self) -> Option<&'a [u8]> {
        Some(self.name).filter(|name| !name.is_empty())
    }

    /// The last `id` that the stream has sent with this event or before it; empty if none.
    #[must_use]
    pub const fn last_event_id(&self) -> &'a [u8] {
        self.last_event_id
    }

    /// The data for keeps: shared with the piece that brought it if it can be, copied otherwise.
    /// As long as it is shared, the whole piece stays in memory.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.source {
            Source::Piece { start, .. } => self.piece.slice(*start..start + self.data.len()),
            Source::Copy { .. } => Bytes::copy_from_slice(self.data),
        }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// An event has more bytes or lines than its [`Framer`](crate::Framer) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge(pub(crate) ());

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server-sent event is larger than allowed")
    }
}

impl std::error::Error for EventTooLarge {}

/// How an event begins that has no other form than ours.
pub(crate) const PREFIX: &[u8] = b"data: ";

/// How it ends.
pub(crate) const SUFFIX: &[u8] = b"\n\n";
