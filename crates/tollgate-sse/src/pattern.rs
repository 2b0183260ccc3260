//! Knowing an event by one that was read before.
//!
//! The chunks of a stream differ in a few short strings and in nothing else. An event that equals
//! a chunk that was read, but for the insides of such strings, is JSON of the same structure: it
//! begins and finishes the same choices and needs the same changes. To compare is a tenth of the
//! work of reading, and as certain.

use std::ops::Range;

use crate::{
    chunk::{Chunk, Findings, Hole},
    edit::Edit,
    text,
};

/// A chunk that was read, as a pattern for those that follow.
#[derive(Clone, Debug, Default)]
struct Pattern {
    json: Vec<u8>,
    holes: Vec<Hole>,
    edits: Vec<Edit>,
    text_bytes: u64,
    /// Bytes outside of the holes.
    shortest: usize,
}

/// The patterns of a stream, the latest used first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    known: Vec<Pattern>,
    /// What is learnt in vain is learnt less often.
    misses: u32,
}

/// Data that a pattern fits.
#[derive(Debug)]
pub(crate) struct Fit<'p> {
    /// Bytes of data that the pattern covers.
    pub(crate) length: usize,
    /// Bytes of output text.
    pub(crate) text_bytes: u64,
    /// The changes, whose places are still those in the pattern.
    pub(crate) edits: &'p [Edit],
}

impl Patterns {
    /// Finds the pattern that the data begins with. `moves` receives where each hole ends in the
    /// pattern and in the data.
    pub(crate) fn fit(&mut self, data: &[u8], moves: &mut Vec<Move>) -> Option<Fit<'_>> {
        let mut known = self.known.iter().enumerate();
        let (at, (length, text_bytes)) =
            known.find_map(|(at, pattern)| Some((at, pattern.fit(data, moves)?)))?;
        self.misses = 0;
        if at > 0 {
            self.known.swap(0, at);
        }
        let edits = &self.known[0].edits;
        Some(Fit {
            length,
            text_bytes,
            edits,
        })
    }

    /// How long the shortest data is that could fit.
    pub(crate) fn shortest(&self) -> usize {
        let shortest = self.known.iter().map(|pattern| pattern.shortest).min();
        shortest.unwrap_or(MAX_BYTES)
    }

    /// Remembers a chunk, unless something about it is true of it alone.
    pub(crate) fn learn(&mut self, data: &[u8], chunk: &Chunk, findings: &Findings) {
        self.misses = self.misses.saturating_add(1);
        let promising = self.misses <= EAGER || self.misses % EAGER == 0;
        if !promising
            || chunk.usage.is_some()
            || findings.holes.is_empty()
            || data.len() > MAX_BYTES
            // Whoever looks for a pattern in a piece takes it for one line.
            || data.contains(&b'\n')
        {
            return;
        }
        let mut pattern = if self.known.len() < MAX_PATTERNS {
            Pattern::default()
        } else {
            self.known.pop().unwrap_or_default()
        };
        pattern.json.clear();
        pattern.json.extend_from_slice(data);
        pattern.holes.clone_from(&findings.holes);
        // No change ever touches a hole: what is taken out or replaced holds no output.
        pattern.edits.clear();
        pattern.edits.extend_from_slice(findings.edits.as_slice());
        pattern.text_bytes = chunk.text_bytes;
        let varying: usize = findings.holes.iter().map(|hole| hole.inside.len()).sum();
        pattern.shortest = data.len() - varying;
        self.known.insert(0, pattern);
    }
}

/// From this place of the pattern on, the event's bytes stand elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    from: usize,
    pattern_end: usize,
    event_end: usize,
}

/// Where a span of the pattern stands in the event.
pub(crate) fn moved(span: &Range<usize>, moves: &[Move]) -> Range<usize> {
    let last = moves.iter().rfind(|hole| hole.from <= span.start);
    let Some(hole) = last else {
        return span.clone();
    };
    let place = |at: usize| at - hole.pattern_end + hole.event_end;
    place(span.start)..place(span.end)
}

impl Pattern {
    /// How many bytes of the data fit, and how many of these are text.
    fn fit(&self, data: &[u8], moves: &mut Vec<Move>) -> Option<(usize, u64)> {
        moves.clear();
        // What a cut went through is not looked at in vain.
        if data.len() < self.shortest {
            return None;
        }
        let mut text_bytes = self.text_bytes;
        let mut at = 0;
        let mut same_from = 0;
        for hole in &self.holes {
            let Range { start, end } = hole.inside;
            let same = &self.json[same_from..start];
            let rest = data[at..].strip_prefix(same)?;
            let read = text::read(rest)?;
            // What is the same was checked before.
            if !read.is_ascii {
                std::str::from_utf8(&rest[..read.length]).ok()?;
            }
            if hole.text_bytes.is_some() {
                text_bytes += read.text_bytes;
            }
            at += same.len() + read.length;
            same_from = end;
            moves.push(Move {
                from: start,
                pattern_end: end,
                event_end: at,
            });
        }
        let same = &self.json[same_from..];
        data[at..]
            .starts_with(same)
            .then_some((at + same.len(), text_bytes))
    }
}

/// Two interleaved choices, with and without a role or a finish: more shapes are rare.
const MAX_PATTERNS: usize = 4;

/// A longer chunk is a rare one, or differs in more than strings.
const MAX_BYTES: usize = 4 << 10;

/// After so many misses in a row, only each so many-th is learnt from.
const EAGER: u32 = 16;
