use std::{fmt, ops::Range};

use bytes::Bytes;

/// An event, borrowed from the [`Framer`](crate::Framer) that found it.
#[derive(Clone)]
pub struct Event<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) last_event_id: &'a [u8],
    pub(crate) piece: &'a Bytes,
    /// Where the data begins in the piece, if it stands there.
    pub(crate) start: Option<usize>,
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
        match self.start {
            Some(start) => self.piece.slice(start..start + self.data.len()),
            None => Bytes::copy_from_slice(self.data),
        }
    }

    /// Where it stands in the piece, if it has the one form in which events go out.
    pub(crate) fn canonical(&self) -> Option<Range<usize>> {
        let from = self.start?.checked_sub(PREFIX.len())?;
        let to = self.start? + self.data.len() + SUFFIX.len();
        let event = self.piece.get(from..to)?;
        (event.starts_with(PREFIX) && event.ends_with(SUFFIX)).then_some(from..to)
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
