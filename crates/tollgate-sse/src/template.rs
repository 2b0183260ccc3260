//! An event without the insides of the strings that vary.

use std::ops::Range;

use crate::{
    edit::{self, Edit},
    event::{PREFIX, SUFFIX},
    identity::Identity,
};

/// A text with gaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    pub(crate) text: Vec<u8>,
    /// Where in the text the gaps are, and where it ends.
    pub(crate) ends: Vec<usize>,
}

impl Template {
    /// Becomes the template of an event with this data, changed, and with gaps in place of what is
    /// to vary.
    pub(crate) fn set<'a>(
        &mut self,
        data: &[u8],
        mut edits: &[Edit],
        identity: &Identity,
        varying: impl Iterator<Item = &'a Range<usize>>,
    ) {
        self.text.clear();
        self.ends.clear();
        self.text.reserve(PREFIX.len() + data.len() + SUFFIX.len());
        self.text.extend_from_slice(PREFIX);
        let mut from = 0;
        for inside in varying {
            // No change ever touches what varies: what is taken out or replaced is no output.
            let count = edits.partition_point(|edit| edit.span.end <= inside.start);
            let (here, later) = edits.split_at(count);
            edit::apply(here, data, from..inside.start, identity, &mut self.text);
            self.ends.push(self.text.len());
            edits = later;
            from = inside.end;
        }
        edit::apply(edits, data, from..data.len(), identity, &mut self.text);
        self.text.extend_from_slice(SUFFIX);
        self.ends.push(self.text.len());
    }

    /// Writes the text, with this in its gaps: so many bytes in each of them, as far as it goes.
    pub(crate) fn fill(&self, mut insides: &[u8], lengths: &[usize], out: &mut Vec<u8>) {
        let mut from = 0;
        for (end, length) in self.ends.iter().zip(lengths) {
            let (inside, later) = insides.split_at(*length);
            out.extend_from_slice(&self.text[from..*end]);
            out.extend_from_slice(inside);
            insides = later;
            from = *end;
        }
        out.extend_from_slice(&self.text[from..]);
    }
}
