//! The arithmetic of one sliding window: no clock, no lock, no key.
//!
//! Time is cut into slots of `g` nanoseconds, and a window looks at the current slot and the `N`
//! before it. A call is charged to the slot in which it was admitted; what it did not use leaves
//! that same slot, and what it used beyond its reservation is charged to the slot of the day.
//!
//! **Why the limit holds.** A charge made at time `t`, in slot `s = ⌊t/g⌋`, counts until the
//! current slot is `s + N + 1`, which is not before `(s + N + 1)·g > t + N·g`. So take any stretch
//! of `P = N·g`, and the last admission in it: every earlier one of that stretch still counted
//! when it was admitted, and the sum was at most the limit. Only charges above a reservation
//! ([`settle`](Window::settle) with more than was reserved) come on top; they are debt, and while
//! it lasts nothing is admitted.
//!
//! **Why refunds are exact.** A charge and its refund have the same address, so nothing has to be
//! known about what happened in between. If the slot has left the window, the charge has too, and
//! there is nothing to give back.
//!
//! What every admission comes by is `inline(always)`: there are two callers, one for a single window
//! and one for several, and what has two callers is left apart otherwise, which costs a tenth.
//!
//! Amounts cannot overflow: a window never holds more than `u64::MAX` in all, because
//! [`add`](Window::add) stops there; every slot is at most the sum.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::{collections::VecDeque, num::NonZeroU64, time::Duration};

use crate::{Dimension, Limit, Standing, Standings, Units};

/// How a window divides time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Nanoseconds of one slot, `g`.
    pub(crate) slot: NonZeroU64,
    /// How many past slots are counted beside the current one, `N`.
    pub(crate) slots: u16,
}

/// A moment as windows of one shape see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    shape: Shape,
    now: u64,
    slot: u64,
}

impl Moment {
    /// The moment `now`, in nanoseconds.
    pub(crate) fn new(shape: Shape, now: u64) -> Self {
        Self {
            shape,
            now,
            slot: now / shape.slot,
        }
    }

    /// Whether a charge in `slot` still counts in the slot `current`.
    fn reaches(&self, slot: u64, current: u64) -> bool {
        current.saturating_sub(slot) <= u64::from(self.shape.slots)
    }

    /// Whether `slot` is so far ahead that the clock must have stepped back by more than a window.
    fn is_long_before(&self, slot: u64) -> bool {
        slot.saturating_sub(self.slot) > u64::from(self.shape.slots).saturating_add(1)
    }

    /// Nanoseconds until the first slot that a charge in `slot` does not reach.
    fn until_past(&self, slot: u64) -> u64 {
        let slots = u64::from(self.shape.slots).saturating_add(1);
        let end = slot.saturating_add(slots);
        end.saturating_mul(self.shape.slot.get())
            .saturating_sub(self.now)
    }
}

/// Why a cost does not fit into a window now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) dimension: Dimension,
    pub(crate) used: u64,
    pub(crate) limit: u64,
    /// Nanoseconds until the same cost fits, if nothing else happens; `None`: it never does.
    pub(crate) retry: Option<u64>,
}

/// Where a charge was put, for its settlement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) slot: u64,
    pub(crate) generation: u32,
}

/// One sliding window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// The newest slot that was charged: the one that nearly every call is about.
    newest: Option<Slot>,
    /// Those before it, oldest first.
    older: VecDeque<Slot>,
    /// The sum of all slots.
    used: Units,
    /// Tells charges of this window's content from those of an earlier one.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    at: u64,
    units: Units,
}

impl Window {
    /// Drops what has left the window, and says which slot is current.
    ///
    /// A clock that stepped back by at most a window's length finds time standing still in the
    /// newest slot; one that stepped back further begins anew, which admits one limit more.
    pub(crate) fn advance(&mut self, moment: &Moment) -> u64 {
        match self.newest {
            // What does not reach the newest slot was dropped when that was charged first.
            Some(newest) if newest.at != moment.slot => self.advance_from(newest, moment),
            _ => moment.slot,
        }
    }

    #[cold]
    fn advance_from(&mut self, newest: Slot, moment: &Moment) -> u64 {
        let current = moment.slot;
        if moment.is_long_before(newest.at) {
            self.reset();
            return current;
        }
        if newest.at > current {
            return newest.at;
        }
        while let Some(oldest) = self.older.front() {
            if moment.reaches(oldest.at, current) {
                break;
            }
            self.used = self.used.saturating_sub(oldest.units);
            self.older.pop_front();
        }
        if !moment.reaches(newest.at, current) {
            self.used = self.used.saturating_sub(newest.units);
            self.newest = None;
        }
        current
    }

    /// Why `cost` does not fit, if it does not; the window must have been
    /// [advanced](Self::advance) to this moment.
    #[inline(always)]
    pub(crate) fn full(&self, moment: &Moment, cost: Units, limit: Limit) -> Option<Full> {
        let fits = |dimension| self.fits(dimension, cost, limit);
        if fits(Dimension::Requests) && fits(Dimension::Tokens) {
            return None;
        }
        let full = |dimension| self.full_in(moment, dimension, cost, limit);
        match (full(Dimension::Requests), full(Dimension::Tokens)) {
            (Some(one), Some(other)) if other.is_worse_than(&one) => Some(other),
            (one, other) => one.or(other),
        }
    }

    /// A dimension in which nothing is asked cannot be the reason to refuse.
    fn fits(&self, dimension: Dimension, cost: Units, limit: Limit) -> bool {
        let (cost, used) = (cost.of(dimension), self.used.of(dimension));
        let fits = |limit: u64| limit.checked_sub(cost).is_some_and(|room| used <= room);
        cost == 0 || limit.of(dimension).is_none_or(fits)
    }

    #[cold]
    fn full_in(
        &self,
        moment: &Moment,
        dimension: Dimension,
        cost: Units,
        limit: Limit,
    ) -> Option<Full> {
        if self.fits(dimension, cost, limit) {
            return None;
        }
        let limit = limit.of(dimension)?;
        let room = limit.checked_sub(cost.of(dimension));
        Some(Full {
            dimension,
            used: self.used.of(dimension),
            limit,
            retry: room.map(|room| self.until_at_most(moment, dimension, room)),
        })
    }

    /// Nanoseconds until no more than `room` is used, if nothing else happens: the time at which
    /// enough of the oldest slots will have left.
    fn until_at_most(&self, moment: &Moment, dimension: Dimension, room: u64) -> u64 {
        let mut used = self.used.of(dimension);
        for slot in self.slots() {
            used = used.saturating_sub(slot.units.of(dimension));
            if used <= room {
                return moment.until_past(slot.at);
            }
        }
        0
    }

    /// Charges the current slot.
    pub(crate) fn charge(&mut self, current: u64, cost: Units) -> Origin {
        self.add(current, cost);
        Origin {
            slot: current,
            generation: self.generation,
        }
    }

    /// Replaces a charge by what was really used: less is given back to the slot of origin, more
    /// is charged to the current slot. Says whether there was still something to give back to.
    ///
    /// `current` is asked only for the latter, so that the usual settlement reads no clock; it
    /// must [advance](Self::advance) the window.
    pub(crate) fn settle(
        &mut self,
        origin: Origin,
        cost: Units,
        actual: Units,
        current: impl FnOnce(&mut Self) -> u64,
    ) -> bool {
        let unused = cost.saturating_sub(actual);
        let is_live = self.give_back(origin, unused);
        let debt = actual.saturating_sub(cost);
        if debt != Units::ZERO {
            let current = current(self);
            self.add(current, debt);
        }
        is_live
    }

    fn give_back(&mut self, origin: Origin, unused: Units) -> bool {
        if origin.generation != self.generation {
            return false;
        }
        // Most calls are over soon.
        let newest = self.newest.as_mut().filter(|slot| slot.at == origin.slot);
        let older = &mut self.older;
        let found = newest.or_else(|| {
            let found = older.binary_search_by_key(&origin.slot, |slot| slot.at);
            found.ok().and_then(|at| older.get_mut(at))
        });
        let Some(slot) = found else {
            return false;
        };
        slot.units = slot.units.saturating_sub(unused);
        self.used = self.used.saturating_sub(unused);
        true
    }

    #[inline(always)]
    fn add(&mut self, current: u64, units: Units) {
        let room = Units::new(u64::MAX, u64::MAX).saturating_sub(self.used);
        let units = units.zip(room, u64::min);
        self.used = self.used.zip(units, u64::saturating_add);
        match &mut self.newest {
            Some(slot) if slot.at == current => {
                slot.units = slot.units.zip(units, u64::saturating_add);
            }
            newest => {
                let past = newest.replace(Slot { at: current, units });
                self.older.extend(past);
            }
        }
    }

    /// Forgets everything, open charges included.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            generation: self.generation.wrapping_add(1),
            ..Self::default()
        };
    }

    /// Whether everything has left, or will be forgotten.
    pub(crate) fn is_past(&self, moment: &Moment) -> bool {
        self.newest.is_none_or(|slot| {
            !moment.reaches(slot.at, moment.slot) || moment.is_long_before(slot.at)
        })
    }

    /// Oldest first.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.older.iter().chain(&self.newest)
    }

    /// How the limits stand.
    #[inline(always)]
    pub(crate) fn standings(&self, moment: &Moment, limit: Limit) -> Standings {
        let standing = |dimension| self.standing(moment, dimension, limit);
        Standings {
            requests: standing(Dimension::Requests),
            tokens: standing(Dimension::Tokens),
        }
    }

    fn standing(&self, moment: &Moment, dimension: Dimension, limit: Limit) -> Option<Standing> {
        let limit = limit.of(dimension)?;
        let remaining = limit.saturating_sub(self.used.of(dimension));
        let reset = Duration::from_nanos(self.until_unused(moment, dimension));
        Some(Standing::new(limit, remaining, reset))
    }

    /// Nanoseconds until nothing of this dimension is used, if nothing else happens.
    fn until_unused(&self, moment: &Moment, dimension: Dimension) -> u64 {
        let used = |slot: &&Slot| slot.units.of(dimension) > 0;
        let newest = self.newest.as_ref().filter(used);
        let last = newest.or_else(|| self.older.iter().rev().find(used));
        last.map_or(0, |slot| moment.until_past(slot.at))
    }
}

impl Full {
    /// What lasts longer is the reason to name.
    pub(crate) fn is_worse_than(&self, other: &Self) -> bool {
        let wait = |full: &Self| full.retry.map_or((true, 0), |wait| (false, wait));
        wait(self) > wait(other)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
