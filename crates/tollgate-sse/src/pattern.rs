//! Knowing an event by one that was read before.
//!
//! The chunks of a stream differ in a few short strings and in nothing else. An event that equals
//! a chunk that was read, but for the insides of such strings, is JSON of the same structure: it
//! begins and finishes the same choices and needs the same changes. To compare is a tenth of the
//! work of reading, and as certain. It is done while the event comes, piece by piece, and of what
//! equals the pattern nothing has to be kept.

use memchr::memchr2;

use crate::{
    chunk::{Chunk, Findings, MAX_HOLES},
    event::{PREFIX, SUFFIX},
    identity::Identity,
    template::Template,
    text,
};

/// An event that was read, as a pattern for those that follow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pattern {
    /// The event in the form in which events go out.
    input: Template,
    /// The same with its changes; empty if there are none.
    output: Template,
    /// Whether what stands in a gap is output of the model's.
    is_output: Vec<bool>,
    /// Bytes of such output outside of the gaps.
    text_bytes: u64,
}

/// How much has come of an event that a pattern fits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of the pattern.
    at: usize,
    /// Up to here there is neither a gap nor too much of the event.
    until: usize,
    /// So many gaps are complete.
    gaps: usize,
    /// How long their insides are.
    lengths: [usize; MAX_HOLES],
    /// Their insides side by side, unless the event came whole and needs no change.
    kept: Vec<u8>,
    /// So much of `kept` counts.
    kept_bytes: usize,
    /// Bytes of output of the model's in the gaps.
    text_bytes: u64,
    /// The beginning of the inside of the next gap.
    open: Vec<u8>,
    /// Memory for the same with more behind it.
    joined: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All of the bytes belong to the event, and more is to come.
    Wait,
    /// The event stands in the bytes up to here, and goes out as it came.
    Pass(usize),
    /// The event ends here and has to be written.
    Write(usize),
}

impl Pattern {
    /// Becomes the pattern of a chunk.
    pub(crate) fn set(
        &mut self,
        data: &[u8],
        chunk: &Chunk,
        findings: &Findings,
        identity: &Identity,
    ) {
        let varying = || findings.holes.iter().map(|hole| &hole.inside);
        let edits = findings.edits.as_slice();
        self.input.set(data, &[], identity, varying());
        self.output.set(data, edits, identity, varying());
        if edits.is_empty() {
            self.output.text.clear();
        }
        let holes = findings.holes.iter();
        self.is_output.clear();
        self.is_output
            .extend(holes.map(|hole| hole.text_bytes.is_some()));
        self.text_bytes = chunk.text_bytes;
    }

    /// Whether these bytes come next in an event that has begun, and are nothing but more of the
    /// pattern. If not, nothing has happened.
    #[inline]
    pub(crate) fn goes_on(&self, progress: &mut Progress, bytes: &[u8]) -> bool {
        let next = self.input.text.get(progress.at..progress.until);
        let goes_on = next.is_some_and(|next| bytes.len() < next.len() && next.starts_with(bytes));
        if goes_on {
            progress.at += bytes.len();
        }
        goes_on
    }

    /// Goes on with an event of which these bytes come next. `None` if they do not fit, or make it
    /// too large, and then nothing has happened.
    #[inline]
    pub(crate) fn follow(
        &self,
        progress: &mut Progress,
        bytes: &[u8],
        max_event_bytes: usize,
    ) -> Option<Step> {
        match progress.open.is_empty() {
            true => self.walk(progress, bytes, max_event_bytes),
            false => self.follow_inside(progress, bytes, max_event_bytes),
        }
    }

    /// Does it with what has come of an inside in front.
    #[cold]
    fn follow_inside(
        &self,
        progress: &mut Progress,
        bytes: &[u8],
        max_event_bytes: usize,
    ) -> Option<Step> {
        let mut joined = std::mem::take(&mut progress.joined);
        joined.clear();
        joined.extend_from_slice(&progress.open);
        joined.extend_from_slice(bytes);
        let open = progress.open.len();
        let step = self.walk(progress, &joined, max_event_bytes);
        if joined.len() <= 2 * MAX_OPEN_BYTES {
            progress.joined = joined;
        }
        match step {
            Some(Step::Write(end)) => Some(Step::Write(end - open)),
            step => step,
        }
    }

    fn walk(&self, progress: &mut Progress, bytes: &[u8], max_event_bytes: usize) -> Option<Step> {
        let Template { text, ends } = &self.input;
        let keeps = progress.is_begun() || !self.is_unchanged();
        let mut at = progress.at;
        let mut gap = progress.gaps;
        let mut text_bytes = progress.text_bytes;
        progress.kept.truncate(progress.kept_bytes);
        let mut rest = bytes;
        let end = loop {
            let end = ends[gap];
            let same = &text[at..end];
            let Some(after) = rest.strip_prefix(same) else {
                if !same.starts_with(rest) {
                    return None;
                }
                at += rest.len();
                rest = &[];
                break end;
            };
            at = end;
            rest = after;
            let Some(is_output) = self.is_output.get(gap) else {
                break end;
            };
            let Some(read) = text::read(&rest[..rest.len().min(MAX_INSIDE_BYTES)]) else {
                if rest.len() > MAX_OPEN_BYTES || memchr2(b'\n', b'\r', rest).is_some() {
                    return None;
                }
                break end;
            };
            let (inside, after) = rest.split_at(read.length);
            // What is the same was checked before.
            if !read.is_ascii {
                std::str::from_utf8(inside).ok()?;
            }
            if *is_output {
                text_bytes += read.text_bytes;
            }
            if keeps {
                progress.kept.extend_from_slice(inside);
            }
            progress.lengths[gap] = inside.len();
            gap += 1;
            rest = after;
        };
        let insides: usize = match keeps {
            true => progress.kept.len(),
            false => progress.lengths[..gap].iter().sum(),
        };
        if at == text.len() {
            if at + insides - SUFFIX.len() > max_event_bytes {
                return None;
            }
            progress.gaps = gap;
            progress.text_bytes = text_bytes;
            let length = bytes.len() - rest.len();
            return Some(match keeps {
                true => Step::Write(length),
                false => Step::Pass(length),
            });
        }
        let room = max_event_bytes.checked_sub(at + insides + rest.len())?;
        progress.at = at;
        progress.until = end.min(at + room);
        progress.gaps = gap;
        progress.text_bytes = text_bytes;
        progress.open.clear();
        progress.open.extend_from_slice(rest);
        if !keeps {
            self.keep(progress, bytes);
        }
        progress.kept_bytes = progress.kept.len();
        Some(Step::Wait)
    }

    /// Keeps the insides of an event that begins here.
    fn keep(&self, progress: &mut Progress, event: &[u8]) {
        let mut before = 0;
        let lengths = &progress.lengths[..progress.gaps];
        for (gap, length) in self.input.ends.iter().zip(lengths) {
            let start = gap + before;
            progress
                .kept
                .extend_from_slice(&event[start..start + length]);
            before += length;
        }
    }

    /// Whether this is the data of an event that fits, all of it. It may then be written.
    pub(crate) fn fits(&self, progress: &mut Progress, data: &[u8]) -> bool {
        progress.at = PREFIX.len();
        let step = self.follow(progress, data, usize::MAX);
        let is_all = progress.at + SUFFIX.len() == self.input.text.len();
        let fits = step == Some(Step::Wait) && is_all && progress.open.is_empty();
        if !fits {
            progress.clear();
        }
        fits
    }

    /// Bytes of output of the model's in an event that fits.
    pub(crate) fn text_bytes(&self, progress: &Progress) -> u64 {
        self.text_bytes + progress.text_bytes
    }

    /// How long an event becomes that fits.
    pub(crate) fn written_len(&self, progress: &Progress) -> usize {
        self.written().text.len() + progress.kept.len()
    }

    /// Writes an event that fits, as it goes out.
    pub(crate) fn write(&self, progress: &Progress, out: &mut Vec<u8>) {
        let lengths = &progress.lengths[..progress.gaps];
        self.written().fill(&progress.kept, lengths, out);
    }

    /// As much of an event as has come.
    pub(crate) fn begun(&self, progress: &Progress) -> Vec<u8> {
        let mut begun = Vec::new();
        let lengths = &progress.lengths[..progress.gaps];
        self.input.fill(&progress.kept, lengths, &mut begun);
        let missing = self.input.text.len() - progress.at;
        begun.truncate(begun.len() - missing);
        begun.extend_from_slice(&progress.open);
        begun
    }

    fn is_unchanged(&self) -> bool {
        self.output.text.is_empty()
    }

    fn written(&self) -> &Template {
        match self.is_unchanged() {
            true => &self.input,
            false => &self.output,
        }
    }
}

impl Progress {
    /// Something of an event has come.
    pub(crate) fn is_begun(&self) -> bool {
        self.at > 0
    }

    /// The next event has not begun.
    pub(crate) fn clear(&mut self) {
        self.at = 0;
        self.until = 0;
        self.gaps = 0;
        self.kept_bytes = 0;
        self.text_bytes = 0;
        self.open.clear();
    }
}

/// A longer string is rare, and then reading is no great loss.
const MAX_INSIDE_BYTES: usize = 4 << 10;

/// What a cut goes through is looked at again with each piece.
const MAX_OPEN_BYTES: usize = 512;
