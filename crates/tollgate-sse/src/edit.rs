//! Changes of a JSON text by span: every byte outside of them stays as it came.

use std::{cmp::Ordering, ops::Range};

use crate::identity::Identity;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) span: Range<usize>,
    pub(crate) put: Put,
}

/// What stands in place of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Nothing,
    /// `{}`
    EmptyObject,
    /// `"delta":{},`
    EmptyDelta,
    /// The stream's own value of a member.
    Value(Field),
    /// The same with its key in front and a comma behind.
    Member(Field),
}

/// The members that say what a chunk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Id,
    Object,
    Created,
    Model,
}

impl Field {
    /// The member's key and colon.
    pub(crate) const fn key(self) -> &'static [u8] {
        match self {
            Self::Id => b"\"id\":",
            Self::Object => b"\"object\":",
            Self::Created => b"\"created\":",
            Self::Model => b"\"model\":",
        }
    }
}

/// Changes of one text, in the order of their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    list: Vec<Edit>,
}

impl Edits {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[Edit] {
        &self.list
    }

    /// Adds a change in its place. What only inserts comes before what replaces at the same place.
    pub(crate) fn add(&mut self, span: Range<usize>, put: Put) {
        let before = |edit: &Edit| match edit.span.start.cmp(&span.start) {
            Ordering::Less => true,
            Ordering::Equal => edit.span.is_empty() || !span.is_empty(),
            Ordering::Greater => false,
        };
        let at = self.list.iter().rposition(before).map_or(0, |at| at + 1);
        self.list.insert(at, Edit { span, put });
    }
}

/// Writes a part of a text, changed. Wants to know all changes in that part, and no others.
pub(crate) fn apply(
    edits: &[Edit],
    text: &[u8],
    part: Range<usize>,
    identity: &Identity,
    out: &mut Vec<u8>,
) {
    let mut at = part.start;
    for Edit { span, put } in edits {
        out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
        match put {
            Put::Nothing => {}
            Put::EmptyObject => out.extend_from_slice(b"{}"),
            Put::EmptyDelta => out.extend_from_slice(b"\"delta\":{},"),
            Put::Value(field) => out.extend_from_slice(identity.value(*field).as_bytes()),
            Put::Member(field) => {
                out.extend_from_slice(field.key());
                out.extend_from_slice(identity.value(*field).as_bytes());
                out.push(b',');
            }
        }
        at = span.end;
    }
    out.extend_from_slice(text.get(at..part.end).unwrap_or_default());
}

/// Takes items out of an object or array together with their commas.
///
/// Wants to be told of every item, after the changes inside of the item.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    kept: bool,
    last_end: usize,
    /// The start of the items that are taken from the head of the list.
    head: Option<usize>,
}

impl Removal {
    /// The item stays.
    pub(crate) fn keep(&mut self, item: Range<usize>, edits: &mut Edits) {
        if let Some(head) = self.head.take() {
            edits.add(head..item.start, Put::Nothing);
        }
        self.kept = true;
        self.last_end = item.end;
    }

    /// The item goes, and with it all changes from the given one on, which are inside of it.
    pub(crate) fn remove(&mut self, item: Range<usize>, first_inside: usize, edits: &mut Edits) {
        edits.list.truncate(first_inside);
        match edits.list.last_mut() {
            _ if !self.kept => {
                self.head.get_or_insert(item.start);
            }
            Some(last) if last.put == Put::Nothing && last.span.end == self.last_end => {
                last.span.end = item.end;
            }
            _ => edits.add(self.last_end..item.end, Put::Nothing),
        }
        self.last_end = item.end;
    }

    /// The list has ended.
    pub(crate) fn close(self, edits: &mut Edits) {
        if let Some(head) = self.head {
            edits.add(head..self.last_end, Put::Nothing);
        }
    }
}
