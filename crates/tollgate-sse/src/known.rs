//! The patterns of a stream, and the event that is compared with them.

use crate::{
    chunk::{Chunk, Findings},
    identity::Identity,
    pattern::{Pattern, Progress, Step},
};

/// Follows a stream for as long as its events are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The latest used first: that is the one that an event fits.
    patterns: Vec<Pattern>,
    progress: Progress,
    /// What is learnt in vain is learnt less often.
    misses: u32,
}

impl Known {
    /// A part of an event has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.progress.is_begun()
    }

    /// Whether this is more of the event that has begun, as most pieces of a stream are that was
    /// cut small. If not, nothing has happened.
    #[inline]
    pub(crate) fn goes_on(&mut self, piece: &[u8]) -> bool {
        match self.patterns.first() {
            Some(pattern) => pattern.goes_on(&mut self.progress, piece),
            None => false,
        }
    }

    /// Goes on with the event that has begun, or begins with the next one. `None` if it is not
    /// known, and then nothing has happened.
    pub(crate) fn follow(&mut self, bytes: &[u8], max_event_bytes: usize) -> Option<Step> {
        let first = self.patterns.first()?;
        match first.follow(&mut self.progress, bytes, max_event_bytes) {
            Some(step) => {
                self.misses = 0;
                Some(step)
            }
            // It has not begun like any other.
            None if self.has_begun() => None,
            None => self.follow_another(bytes, max_event_bytes),
        }
    }

    #[cold]
    fn follow_another(&mut self, bytes: &[u8], max_event_bytes: usize) -> Option<Step> {
        let progress = &mut self.progress;
        let mut others = self.patterns.iter().enumerate().skip(1);
        let (at, step) = others.find_map(|(at, pattern)| {
            let step = pattern.follow(progress, bytes, max_event_bytes)?;
            Some((at, step))
        })?;
        self.used(at);
        Some(step)
    }

    /// Whether this is the data of a known event, all of it.
    pub(crate) fn fits(&mut self, data: &[u8]) -> bool {
        let progress = &mut self.progress;
        let mut patterns = self.patterns.iter();
        let found = patterns.position(|pattern| pattern.fits(progress, data));
        if let Some(at) = found {
            self.used(at);
        }
        found.is_some()
    }

    fn used(&mut self, at: usize) {
        self.misses = 0;
        self.patterns.swap(0, at);
    }

    /// The event that has come to its end.
    pub(crate) fn event(&self) -> KnownEvent<'_> {
        KnownEvent {
            pattern: &self.patterns[0],
            progress: &self.progress,
        }
    }

    /// The event is done with.
    pub(crate) fn pass(&mut self) {
        self.progress.clear();
    }

    /// Gives up the event that has begun, and says what has come of it.
    pub(crate) fn give_up(&mut self) -> Option<Vec<u8>> {
        let pattern = self.patterns.first().filter(|_| self.has_begun())?;
        let begun = pattern.begun(&self.progress);
        self.progress.clear();
        Some(begun)
    }

    /// Remembers a chunk, unless something about it is true of it alone.
    pub(crate) fn learn(
        &mut self,
        data: &[u8],
        chunk: &Chunk,
        findings: &Findings,
        identity: &Identity,
    ) {
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
        let mut pattern = match self.patterns.len() < MAX_PATTERNS {
            true => Pattern::default(),
            false => self.patterns.pop().unwrap_or_default(),
        };
        pattern.set(data, chunk, findings, identity);
        self.patterns.insert(0, pattern);
    }

    /// Forgets what is known: what events are changed to has become another.
    pub(crate) fn forget(&mut self) {
        self.patterns.clear();
    }
}

/// An event that is known, and has come to its end.
#[derive(Clone, Copy)]
pub(crate) struct KnownEvent<'a> {
    pattern: &'a Pattern,
    progress: &'a Progress,
}

impl KnownEvent<'_> {
    /// Bytes of output of the model's.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.pattern.text_bytes(self.progress)
    }

    /// How long it becomes.
    pub(crate) fn len(&self) -> usize {
        self.pattern.written_len(self.progress)
    }

    /// Writes it as it goes out.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.pattern.write(self.progress, out);
    }
}

/// Two interleaved choices, with and without a role or a finish: more shapes are rare.
const MAX_PATTERNS: usize = 4;

/// A longer chunk is a rare one, or differs in more than strings.
const MAX_BYTES: usize = 4 << 10;

/// After so many misses in a row, only each so many-th is learnt from.
const EAGER: u32 = 16;
