//! One part of the store: what its lock guards.

use std::{
    cell::OnceCell,
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
};

use foldhash::quality::RandomState;

use crate::{
    Limit, Span, Standings, Units, WindowSpec,
    window::{Full, Moment, Origin, Shape, Window},
};

/// Windows by name. They stay where they are while a reservation is open, so a reservation needs
/// only a number to find them again.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// The first entry of each hash; entries of one hash are chained.
    index: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    entries: Vec<Entry>,
    /// The first vacant entry; they are chained too.
    vacant: Option<u32>,
    /// Where the next sweep begins.
    hand: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    window: Window,
    hash: u64,
    /// Workspace, scope and name, joined.
    text: Box<str>,
    workspace_len: u32,
    scope_len: u32,
    next: Option<u32>,
    /// Reservations that will come back to this entry; none of a vacant one.
    open: u32,
    span: Span,
    is_vacant: bool,
}

/// A moment as each kind of window sees it.
#[derive(Debug)]
pub(super) struct Moments {
    minute: Moment,
    second: OnceCell<Moment>,
    second_shape: Shape,
    now: u64,
}

impl Moments {
    pub(super) fn new(minute: Shape, second: Shape, now: u64) -> Self {
        Self {
            minute: Moment::new(minute, now),
            second: OnceCell::new(),
            second_shape: second,
            now,
        }
    }

    pub(super) fn of(&self, span: Span) -> &Moment {
        let second = || Moment::new(self.second_shape, self.now);
        match span {
            Span::Minute => &self.minute,
            Span::Second => self.second.get_or_init(second),
        }
    }
}

/// Where a reservation was charged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) index: u32,
    // An `Origin`, without the space that it would waste: places are moved a lot.
    generation: u32,
    slot: u64,
}

impl Shard {
    #[inline(always)]
    pub(super) fn find(&self, name: &Name<'_>, hash: u64) -> Option<u32> {
        let mut next = self.index.get(&hash).copied();
        while let Some(index) = next {
            let entry = self.entry(index);
            if entry.is(name) {
                return Some(index);
            }
            next = entry.next;
        }
        None
    }

    /// Adds a window that [`find`](Self::find) did not.
    pub(super) fn insert(&mut self, name: &Name<'_>, hash: u64) -> u32 {
        let [workspace, scope, own] = name.parts;
        let text = [workspace, scope, own].concat().into_boxed_str();
        let mut entry = Entry {
            window: Window::default(),
            hash,
            text,
            workspace_len: u32::try_from(workspace.len()).unwrap_or(u32::MAX),
            scope_len: u32::try_from(scope.len()).unwrap_or(u32::MAX),
            next: None,
            open: 0,
            span: name.span,
            is_vacant: false,
        };
        let index = match self.vacant {
            Some(index) => {
                let vacant = self.entry_mut(index);
                // Its generation goes on, so that nothing old can reach the new content.
                std::mem::swap(&mut entry.window, &mut vacant.window);
                let next_vacant = vacant.next;
                *vacant = entry;
                self.vacant = next_vacant;
                index
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let next = self.index.insert(hash, index);
        self.entry_mut(index).next = next;
        index
    }

    /// Why the cost does not fit into the window, or into an empty one if there is none.
    pub(super) fn full(
        &mut self,
        index: Option<u32>,
        moment: &Moment,
        cost: Units,
        limit: Limit,
    ) -> Option<Full> {
        let Some(index) = index else {
            return Window::default().full(moment, cost, limit);
        };
        self.entry_mut(index).full(moment, cost, limit)
    }

    pub(super) fn settle(
        &mut self,
        place: Place,
        cost: Units,
        actual: Units,
        moments: impl FnOnce() -> Moments,
    ) -> bool {
        let Place {
            index,
            generation,
            slot,
        } = place;
        let entry = self.entry_mut(index);
        entry.open = entry.open.saturating_sub(1);
        let span = entry.span;
        let current = |window: &mut Window| window.advance(moments().of(span));
        let origin = Origin { slot, generation };
        entry.window.settle(origin, cost, actual, current)
    }

    /// How the limits of a window stand, or of an empty one if there is none.
    pub(super) fn standings(&self, index: Option<u32>, moment: &Moment, limit: Limit) -> Standings {
        match index {
            Some(index) => self.entry(index).standings(moment, limit),
            None => Window::default().standings(moment, limit),
        }
    }

    /// Looks at the next two windows, and drops those that hold nothing and that no reservation
    /// will come back to. Says how many.
    pub(super) fn sweep(&mut self, moments: &Moments) -> usize {
        let mut dropped = 0;
        for _ in 0..2 {
            let at = self.hand;
            let Some(entry) = self.entries.get(at) else {
                break;
            };
            self.hand = if at + 1 < self.entries.len() {
                at + 1
            } else {
                0
            };
            if entry.open == 0 && !entry.is_vacant && entry.window.is_past(moments.of(entry.span)) {
                self.remove(u32::try_from(at).unwrap_or(u32::MAX));
                dropped += 1;
            }
        }
        dropped
    }

    #[cold]
    fn remove(&mut self, index: u32) {
        let Entry { hash, next, .. } = *self.entry(index);
        let mut before = self.index.get(&hash).copied();
        if before == Some(index) {
            match next {
                Some(next) => self.index.insert(hash, next),
                None => self.index.remove(&hash),
            };
        } else {
            while let Some(other) = before {
                let other = self.entry_mut(other);
                before = other.next;
                if before == Some(index) {
                    other.next = next;
                    break;
                }
            }
        }
        let vacant = self.vacant.replace(index);
        let entry = self.entry_mut(index);
        entry.window.reset();
        entry.text = Box::default();
        entry.is_vacant = true;
        entry.next = vacant;
    }

    fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    pub(super) fn entry_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }
}

impl Entry {
    /// Why the cost does not fit now, if it does not.
    #[inline(always)]
    pub(super) fn full(&mut self, moment: &Moment, cost: Units, limit: Limit) -> Option<Full> {
        self.window.advance(moment);
        self.window.full(moment, cost, limit)
    }

    /// How the limits stand.
    #[inline(always)]
    pub(super) fn standings(&self, moment: &Moment, limit: Limit) -> Standings {
        self.window.standings(moment, limit)
    }

    /// Charges the window of this entry, which is at `index`.
    pub(super) fn charge(&mut self, index: u32, moment: &Moment, cost: Units) -> Place {
        self.open = self.open.saturating_add(1);
        let current = self.window.advance(moment);
        let Origin { slot, generation } = self.window.charge(current, cost);
        Place {
            index,
            generation,
            slot,
        }
    }

    #[inline(always)]
    fn is(&self, name: &Name<'_>) -> bool {
        let [workspace, scope, own] = name.parts.map(str::as_bytes);
        let text = self.text.as_bytes();
        if self.span != name.span
            || self.workspace_len as usize != workspace.len()
            || self.scope_len as usize != scope.len()
            || text.len() != workspace.len() + scope.len() + own.len()
        {
            return false;
        }
        let (first, rest) = text.split_at(workspace.len());
        let (second, third) = rest.split_at(scope.len());
        same(first, workspace) && same(second, scope) && same(third, own)
    }
}

/// Whether two slices of one length are the same. Names are so short, and often empty, that a call
/// of `memcmp` may take longer than all the rest.
fn same(left: &[u8], right: &[u8]) -> bool {
    // The last eight may overlap those before them, which have been compared already.
    if let (Some(left_end), Some(right_end)) = (left.last_chunk::<8>(), right.last_chunk::<8>()) {
        let (left, right) = (left.chunks_exact(8), right.chunks_exact(8));
        return left_end == right_end && left.zip(right).all(|(left, right)| left == right);
    }
    if let (Some(left_end), Some(right_end)) = (left.last_chunk::<4>(), right.last_chunk::<4>()) {
        return left_end == right_end && left.first_chunk::<4>() == right.first_chunk::<4>();
    }
    left.iter().eq(right)
}

/// What tells windows apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    parts: [&'a str; 3],
    span: Span,
}

impl<'a> Name<'a> {
    pub(super) fn new(workspace: &'a str, window: &WindowSpec<'a>) -> Self {
        Self {
            parts: [workspace, window.scope, window.name],
            span: window.span,
        }
    }

    /// The window that new keys of this kind share when there are too many.
    pub(super) fn shared(&self) -> Self {
        Self {
            parts: ["\0", self.parts[1], ""],
            span: self.span,
        }
    }

    /// A hash of the name; `home` is that of the workspace.
    #[inline(always)]
    pub(super) fn hash(&self, home: u64, random: &RandomState) -> u64 {
        let mut hasher = random.build_hasher();
        hasher.write_u64(home);
        hasher.write(self.parts[2].as_bytes());
        // Names do not hold it, so it ends one.
        hasher.write_u8(0xff - self.span as u8);
        if !self.parts[1].is_empty() {
            hasher.write(self.parts[1].as_bytes());
        }
        hasher.finish()
    }
}

/// A hash is its own hash: it was made with random keys.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only whole hashes are keys");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
