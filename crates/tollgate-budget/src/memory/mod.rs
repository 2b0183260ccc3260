//! Budgets of one process.

mod shard;

use std::{
    array, fmt,
    future::{Ready, ready},
    hash::{BuildHasher, Hasher},
    num::NonZeroU64,
    slice,
    sync::{Arc, PoisonError},
    time::Duration,
};

use foldhash::quality::RandomState;

use self::shard::{Moments, Name, Place, Shard};
use crate::{
    Charge, Clock, Decision, Denial, MonotonicClock, Settled, Span, Standings, Store, StoreError,
    Units,
    sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering},
    window::{Full, Shape},
};

/// Budgets in the memory of one process: sharded, exact, and bounded.
///
/// A handle: clones share the counts, so layers that are to share budgets get clones of one store.
/// Nothing runs in the background. A lock is held for well under a microsecond and never while
/// anything is awaited.
///
/// Keys whose windows have become empty are dropped by later calls: each looks at two others. So
/// there are never many more keys than were used within a window's length, and at most
/// [`max_keys`](Self::max_keys).
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    settings: Settings,
    minute: Shape,
    second: Shape,
    random: RandomState,
    shards: [Padded; SHARDS],
    keys: AtomicUsize,
    overflowed: AtomicU64,
}

#[derive(Clone)]
struct Settings {
    slot: Duration,
    max_keys: usize,
    clock: Arc<dyn Clock>,
}

/// A cache line of its own for each lock.
#[derive(Default)]
#[repr(align(64))]
struct Padded(Mutex<Shard>);

impl MemoryStore {
    /// An empty store: slots of one second, 100,000 keys, the machine's monotonic clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Settings {
            slot: Duration::from_secs(1),
            max_keys: 100_000,
            clock: Arc::new(MonotonicClock::new()),
        })
    }

    /// An empty store with slots of this duration, at least a nanosecond. 60 slots are a quota's
    /// minute, so a shorter slot makes a shorter minute: for tests and demonstrations.
    #[must_use]
    pub fn slot(self, slot: Duration) -> Self {
        Self::with(Settings {
            slot,
            ..self.0.settings.clone()
        })
    }

    /// An empty store that counts for at most this many keys at a time. Beyond it, keys that are
    /// new share one window in each of 64 parts of the store, under the limit of whoever asks:
    /// memory stays bounded. A key that then gets a window of its own starts it empty, and may use
    /// up to twice its limit within that minute.
    ///
    /// Keys are made of authenticated workspaces and configured models, so only a mistake in a
    /// configuration gets there; [`overflowed`](Self::overflowed) tells.
    #[must_use]
    pub fn max_keys(self, max_keys: usize) -> Self {
        Self::with(Settings {
            max_keys,
            ..self.0.settings.clone()
        })
    }

    /// An empty store that goes by this clock. [`Clock`] has an example of one that is read faster.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self::with(Settings {
            clock: Arc::new(clock),
            ..self.0.settings.clone()
        })
    }

    fn with(settings: Settings) -> Self {
        let shape = |span: Span| {
            let (slots, slot) = span.slots(settings.slot);
            let slot = NonZeroU64::new(nanos(slot)).unwrap_or(NonZeroU64::MIN);
            Shape { slot, slots }
        };
        Self(Arc::new(Inner {
            minute: shape(Span::Minute),
            second: shape(Span::Second),
            settings,
            random: RandomState::default(),
            shards: array::from_fn(|_| Padded::default()),
            keys: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
        }))
    }

    /// How many windows are in memory. A key has one, or two if its quota has limits for seconds.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.0.keys.load(Ordering::Relaxed)
    }

    /// How many charges went to shared windows because there were too many keys.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.0.overflowed.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moments {
        Moments::new(self.0.minute, self.0.second, self.nanos())
    }

    /// The time by the store's clock.
    pub(crate) fn nanos(&self) -> u64 {
        nanos(self.0.settings.clock.now())
    }

    /// How long a charge counts at most.
    pub(crate) fn reach(&self) -> Duration {
        let Shape { slot, slots } = self.0.minute;
        Duration::from_nanos(slot.get().saturating_mul(u64::from(slots) + 1))
    }

    fn shard(&self, at: usize) -> MutexGuard<'_, Shard> {
        let shard = &self.0.shards[at % SHARDS].0;
        // Only arithmetic runs under the lock: a poisoned one cannot have left a half-made state.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn decide(&self, charge: &Charge<'_>) -> Decision<MemoryHeld> {
        let workspace = self.hash_of(charge.workspace);
        let home = usize::try_from(workspace % SHARDS as u64).unwrap_or_default();
        let only = match charge.windows {
            [window] => {
                let name = Name::new(charge.workspace, window);
                Some((window, name, name.hash(workspace, &self.0.random)))
            }
            _ => None,
        };

        let mut shard = self.shard(home);
        // Read under the lock, so that no charge is older than it seems.
        let now = self.now();
        let dropped = shard.sweep(&now);
        if dropped > 0 {
            self.0.keys.fetch_sub(dropped, Ordering::Relaxed);
        }
        // What most calls come to: one window, which is known.
        if let Some((window, name, hash)) = only {
            if let Some(index) = shard.find(&name, hash) {
                let (moment, cost, limit) = (now.of(window.span), charge.cost, window.limit);
                let entry = shard.entry_mut(index);
                if let Some(full) = entry.full(moment, cost, limit) {
                    return self.denied(0, full, entry.standings(moment, limit));
                }
                let places = Few::One(entry.charge(index, moment, cost));
                let standings = entry.standings(moment, limit);
                let held = MemoryHeld { home, places, cost };
                return Decision::Granted { held, standings };
            }
        }
        self.decide_on_all(charge, &mut shard, home, workspace, &now)
    }

    /// Asks every window first, and charges all of them or none.
    fn decide_on_all(
        &self,
        charge: &Charge<'_>,
        shard: &mut Shard,
        home: usize,
        workspace: u64,
        now: &Moments,
    ) -> Decision<MemoryHeld> {
        let Charge { windows, cost, .. } = *charge;
        let mut worst: Option<(usize, Full)> = None;
        let found = Few::of(windows.len(), |at| {
            let window = &windows[at];
            let found = self.find(shard, &Name::new(charge.workspace, window), workspace);
            let full = shard.full(found.index(), now.of(window.span), cost, window.limit);
            if let Some(full) = full {
                if worst.is_none_or(|(_, other)| full.is_worse_than(&other)) {
                    worst = Some((at, full));
                }
            }
            found
        });
        let found = found.as_slice();
        let mut standings = Standings::default();
        if let Some((at, full)) = worst {
            for (window, found) in windows.iter().zip(found) {
                let moment = now.of(window.span);
                standings.note_all(shard.standings(found.index(), moment, window.limit));
            }
            return self.denied(at, full, standings);
        }

        let places = Few::of(windows.len(), |at| {
            let window = &windows[at];
            let name = Name::new(charge.workspace, window);
            let index = self.index_of(shard, found[at], &name);
            let moment = now.of(window.span);
            let place = shard.entry_mut(index).charge(index, moment, cost);
            standings.note_all(shard.standings(Some(index), moment, window.limit));
            place
        });
        let held = MemoryHeld { home, places, cost };
        Decision::Granted { held, standings }
    }

    fn denied(&self, window: usize, full: Full, standings: Standings) -> Decision<MemoryHeld> {
        let Full {
            dimension,
            used,
            limit,
            retry,
        } = full;
        let denial = Denial::new(window, dimension, used, limit).standings(standings);
        Decision::Denied(match retry {
            Some(wait) => denial.retry_after(Duration::from_nanos(wait), self.0.settings.slot),
            None => denial,
        })
    }

    fn find(&self, shard: &Shard, name: &Name<'_>, workspace: u64) -> Found {
        let hash = name.hash(workspace, &self.0.random);
        if let Some(index) = shard.find(name, hash) {
            return Found::Known(index);
        }
        if self.keys() < self.0.settings.max_keys {
            return Found::Absent(hash);
        }
        let shared = name.shared();
        Found::Overflow(shard.find(&shared, self.shared_hash(&shared)))
    }

    /// The window that was found, or a new one.
    fn index_of(&self, shard: &mut Shard, found: Found, name: &Name<'_>) -> u32 {
        match found {
            Found::Known(index) => index,
            Found::Absent(hash) => {
                self.0.keys.fetch_add(1, Ordering::Relaxed);
                shard.insert(name, hash)
            }
            Found::Overflow(known) => {
                self.0.overflowed.fetch_add(1, Ordering::Relaxed);
                let shared = name.shared();
                let hash = self.shared_hash(&shared);
                let known = known.or_else(|| shard.find(&shared, hash));
                known.unwrap_or_else(|| {
                    self.0.keys.fetch_add(1, Ordering::Relaxed);
                    shard.insert(&shared, hash)
                })
            }
        }
    }

    fn shared_hash(&self, shared: &Name<'_>) -> u64 {
        shared.hash(0, &self.0.random)
    }

    fn hash_of(&self, workspace: &str) -> u64 {
        let mut hasher = self.0.random.build_hasher();
        hasher.write(workspace.as_bytes());
        hasher.finish()
    }
}

impl Store for MemoryStore {
    type Held = MemoryHeld;
    type Reserve = Ready<Result<Decision<MemoryHeld>, StoreError>>;

    // A decision is large: spares its way through a caller in another crate.
    #[inline]
    fn reserve(&self, charge: &Charge<'_>) -> Self::Reserve {
        ready(Ok(self.decide(charge)))
    }

    fn settle(&self, held: MemoryHeld, actual: Units) -> Settled {
        let mut settled = Settled::Done;
        let mut shard = self.shard(held.home);
        for place in held.places.as_slice() {
            // The clock is read only for debt, which the usual call does not leave.
            if !shard.settle(*place, held.cost, actual.capped(), || self.now()) {
                settled = Settled::Expired;
            }
        }
        settled
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

/// An open reservation in a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryHeld {
    home: usize,
    places: Few<Place>,
    cost: Units,
}

/// One value for each window of a charge, in place as long as they are few.
#[derive(Debug)]
enum Few<T> {
    One(T),
    Two([T; 2]),
    Many(Box<[T]>),
}

impl<T> Few<T> {
    fn of(len: usize, mut value: impl FnMut(usize) -> T) -> Self {
        match len {
            1 => Self::One(value(0)),
            2 => Self::Two([value(0), value(1)]),
            _ => Self::Many((0..len).map(value).collect()),
        }
    }

    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => slice::from_ref(value),
            Self::Two(values) => values,
            Self::Many(values) => values,
        }
    }
}

#[derive(Clone, Copy)]
enum Found {
    Known(u32),
    Absent(u64),
    Overflow(Option<u32>),
}

impl Found {
    fn index(self) -> Option<u32> {
        match self {
            Self::Known(index) => Some(index),
            Self::Absent(_) => None,
            Self::Overflow(index) => index,
        }
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(time.subsec_nanos()))
}

// Fewer interleavings where they are explored.
const SHARDS: usize = if cfg!(all(test, shuttle)) { 1 } else { 64 };
