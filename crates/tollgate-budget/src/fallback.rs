//! What decides while the store cannot.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
    pin::Pin,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{
    Charge, Decision, Denial, Dimension, Limit, MemoryHeld, MemoryStore, Reservation, Settled,
    Span, Standings, Store, StoreError, Units, WindowSpec, memory::nanos,
};

/// A store that several processes share, and what decides while that store cannot.
///
/// ```
/// use std::num::NonZeroU32;
///
/// use tollgate_budget::{BudgetLayer, Fallback, Limits, OnFailure, Store};
///
/// # fn layer(shared: impl Store, limits: Limits) {
/// // Three gateways ask one store. Without it, each admits a third of every limit.
/// let instances = NonZeroU32::new(3).unwrap();
/// let store = Fallback::new(shared, OnFailure::LocalShare { instances });
/// let layer = BudgetLayer::new(store.clone(), limits);
/// // … and for your monitoring:
/// println!("{} {}", store.is_active(), store.decided());
/// # drop(layer);
/// # }
/// ```
///
/// A handle: clones share what they know. What a failure of the store is, and how long it takes to
/// be one, is the store's business.
///
/// # Local shares
///
/// What this process used within the last minute is counted here all the time, so that a share is
/// not admitted on top of it when the store fails. What was admitted without the store is
/// [charged there](Store::record) when it is back, if the store can do that. If not, and when it [has
/// forgotten](Store::since_loss) what it had counted, the share has to agree to what the store admits,
/// until what it does not know has left the window; a store that cannot be told anything has this done
/// only by those that asked it in vain.
///
/// So when all instances lose a store that can, and there are no more of them than stated, a minute holds
/// more than the limit by at most this: for each instance that had used less than its share in the
/// minute before, that difference. That is nothing where calls are spread evenly, and less than once
/// the limit where all of them went to one instance. Where some lose the store and others do not, it
/// is the shares of those that did.
///
/// A call that is larger than a share, but not than its limit, is refused as if the store had failed
/// alone: it may fit later.
#[derive(Clone)]
pub struct Fallback<St> {
    primary: St,
    rule: OnFailure,
    local: MemoryStore,
    state: Arc<State>,
}

/// What happens to charges that the store cannot decide on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// They fail: calls are refused with 503.
    Closed,
    /// This process decides, by its own count and an even share of every limit.
    LocalShare {
        /// How many processes share the store. With fewer than there are, limits are exceeded.
        instances: NonZeroU32,
    },
    /// They are granted, and no limit holds until the store is back.
    Open,
}

#[derive(Default)]
struct State {
    observer: Option<Arc<Observer>>,
    is_failing: AtomicBool,
    /// Until when, by the local clock and in nanoseconds, the store does not know all that was used.
    doubt: AtomicU64,
    decided: AtomicU64,
}

type Observer = dyn Fn(Option<&StoreError>) + Send + Sync;

impl<St: Store> Fallback<St> {
    /// Asks `primary`, and does as `rule` says when that cannot decide.
    #[must_use]
    pub fn new(primary: St, rule: OnFailure) -> Self {
        Self {
            primary,
            rule,
            local: MemoryStore::new(),
            state: Arc::default(),
        }
    }

    /// Counts locally in this store, whose slots must be as long as those of the primary. Default:
    /// [`MemoryStore::new`].
    #[must_use]
    pub fn local(mut self, local: MemoryStore) -> Self {
        self.local = local;
        self
    }

    /// Tells this when the primary cannot decide for the first time, and why; and with `None` when it
    /// decides again. It must neither block nor panic.
    #[must_use]
    pub fn observe(
        mut self,
        observer: impl Fn(Option<&StoreError>) + Send + Sync + 'static,
    ) -> Self {
        self.state = Arc::new(State {
            observer: Some(Arc::new(observer)),
            ..State::default()
        });
        self
    }

    /// The store that is asked first.
    #[must_use]
    pub fn primary(&self) -> &St {
        &self.primary
    }

    /// What happens when that cannot decide.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        self.rule
    }

    /// Whether the primary could not decide when it was asked last, or does not know all that was used
    /// within the last minute.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state.is_failing.load(Ordering::Relaxed) || self.doubt().is_some()
    }

    /// How many charges were decided without the primary.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.state.decided.load(Ordering::Relaxed)
    }

    /// For how long the primary will not know all that counts, if it does not.
    fn doubt(&self) -> Option<Duration> {
        let reach = self.local.reach();
        let until = self.state.doubt.load(Ordering::Relaxed);
        let own = Duration::from_nanos(until.saturating_sub(self.local.nanos()));
        let loss = self.primary.since_loss();
        let loss = loss.map_or(Duration::ZERO, |since| reach.saturating_sub(since));
        Some(own.max(loss)).filter(|doubt| !doubt.is_zero())
    }

    fn failed(&self, error: &StoreError) {
        if !St::RECORDS {
            // Whether here or elsewhere: something will be admitted that it is not told.
            self.begin_doubt();
        }
        if !self.state.is_failing.swap(true, Ordering::Relaxed) {
            self.tell(Some(error));
        }
    }

    /// Has the primary charged what was granted without it.
    fn record(&self, charge: &OwnedCharge) -> Option<St::Held> {
        let held = charge.with(|charge| self.primary.record(charge));
        if held.is_none() {
            self.begin_doubt();
        }
        held
    }

    fn begin_doubt(&self) {
        let until = self.local.nanos().saturating_add(nanos(self.local.reach()));
        self.state.doubt.fetch_max(until, Ordering::Relaxed);
    }

    fn recovered(&self) {
        let is_failing = &self.state.is_failing;
        if is_failing.load(Ordering::Relaxed) && is_failing.swap(false, Ordering::Relaxed) {
            self.tell(None);
        }
    }

    fn tell(&self, failure: Option<&StoreError>) {
        if let Some(observer) = &self.state.observer {
            observer(failure);
        }
    }

    /// Charges the local store, whatever the limits, and finds out what a share of them says.
    fn count(&self, charge: &Charge<'_>, instances: NonZeroU32) -> Option<Counted> {
        let never = too_large(charge, instances);
        let opinion = match never {
            Some(never) => never,
            None => match self.charge_local(charge, |limit| share(limit, instances)) {
                Decision::Granted { held, standings } => {
                    let opinion = Opinion::Fits(standings);
                    return Some(Counted {
                        opinion,
                        mirror: self.guard(held),
                    });
                }
                Decision::Denied(denial) => Opinion::Full(denial),
            },
        };
        match self.charge_local(charge, |_| Limit::NONE) {
            Decision::Granted { held, .. } => Some(Counted {
                opinion,
                mirror: self.guard(held),
            }),
            Decision::Denied(_) => None,
        }
    }

    fn charge_local(
        &self,
        charge: &Charge<'_>,
        limit: impl Fn(Limit) -> Limit,
    ) -> Decision<MemoryHeld> {
        let (mut one, mut many);
        // The usual case, without an allocation.
        let windows = if let [window] = charge.windows {
            one = *window;
            slice::from_mut(&mut one)
        } else {
            many = charge.windows.to_vec();
            &mut many
        };
        for window in &mut *windows {
            window.limit = limit(window.limit);
        }
        self.local.decide(&Charge { windows, ..*charge })
    }

    fn guard(&self, held: MemoryHeld) -> Reservation<MemoryStore> {
        Reservation::new(self.local.clone(), held, Units::ZERO)
    }
}

impl<St: Store> Store for Fallback<St> {
    type Held = FallbackHeld<St::Held>;
    type Reserve = FallbackReserve<St>;

    fn reserve(&self, charge: &Charge<'_>) -> FallbackReserve<St> {
        let counted = match self.rule {
            OnFailure::LocalShare { instances } => self.count(charge, instances),
            OnFailure::Closed | OnFailure::Open => None,
        };
        FallbackReserve {
            primary: self.primary.reserve(charge),
            waiting: Some(Waiting {
                fallback: self.clone(),
                charge: (self.rule != OnFailure::Closed).then(|| OwnedCharge::new(charge)),
                counted,
            }),
        }
    }

    fn settle(&self, held: FallbackHeld<St::Held>, actual: Units) -> Settled {
        let mirrored = held.mirror.map(|mirror| mirror.settle(actual));
        let primary = held.primary.map(|held| self.primary.settle(held, actual));
        primary.or(mirrored).unwrap_or(Settled::Done)
    }

    fn since_loss(&self) -> Option<Duration> {
        self.primary.since_loss()
    }
}

/// An open reservation in a [`Fallback`].
#[derive(Debug)]
pub struct FallbackHeld<H> {
    primary: Option<H>,
    mirror: Option<Reservation<MemoryStore>>,
}

/// What the local store has to say.
struct Counted {
    opinion: Opinion,
    mirror: Reservation<MemoryStore>,
}

enum Opinion {
    /// The share has room, and stands like this.
    Fits(Standings),
    /// The share has no room now.
    Full(Denial),
    /// The cost is larger than this share of a limit, but not than the limit.
    Exceeds(Denial),
    /// The cost is larger than a limit.
    Never(Denial),
}

pin_project! {
    /// Waits for the primary's decision, and for nothing else.
    ///
    /// # Cancel safety
    ///
    /// That of the primary's; what was counted locally is given back.
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackReserve<St: Store> {
        #[pin]
        primary: St::Reserve,
        waiting: Option<Waiting<St>>,
    }
}

struct Waiting<St> {
    fallback: Fallback<St>,
    charge: Option<OwnedCharge>,
    counted: Option<Counted>,
}

impl<St: Store> Future for FallbackReserve<St> {
    type Output = Result<Decision<FallbackHeld<St::Held>>, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let decision = ready!(this.primary.poll(cx));
        let waiting = this.waiting.take().expect("future polled after completion");
        Poll::Ready(match decision {
            Ok(decision) => Ok(waiting.agree(decision)),
            Err(error) => waiting.stand_in(error),
        })
    }
}

impl<St: Store> Waiting<St> {
    /// The primary has decided; as long as it is in doubt, the share has to agree.
    fn agree(self, decision: Decision<St::Held>) -> Decision<FallbackHeld<St::Held>> {
        let Self {
            fallback, counted, ..
        } = self;
        fallback.recovered();
        let (held, standings) = match decision {
            Decision::Granted { held, standings } => (held, standings),
            Decision::Denied(denial) => return Decision::Denied(denial),
        };
        let mut mirror = None;
        if let Some(Counted { opinion, mirror: m }) = counted {
            if let Some(doubt) = fallback.doubt() {
                if let Some(denial) = opinion.denial() {
                    fallback.primary.settle(held, Units::ZERO);
                    let wait = denial.retry.map_or(doubt, |wait| wait.min(doubt));
                    return Decision::Denied(denial.retry_after(wait, denial.spread));
                }
            }
            mirror = Some(m);
        }
        let held = FallbackHeld {
            primary: Some(held),
            mirror,
        };
        Decision::Granted { held, standings }
    }

    /// The primary cannot decide.
    fn stand_in(self, error: StoreError) -> Result<Decision<FallbackHeld<St::Held>>, StoreError> {
        let Self {
            fallback,
            charge,
            counted,
        } = self;
        fallback.failed(&error);
        let Some(charge) = charge else {
            return Err(error);
        };
        let (mirror, standings) = match counted.map(|counted| (counted.opinion, counted.mirror)) {
            Some((Opinion::Fits(standings), mirror)) => (Some(mirror), standings),
            Some((Opinion::Full(denial) | Opinion::Never(denial), _)) => {
                fallback.state.decided.fetch_add(1, Ordering::Relaxed);
                return Ok(Decision::Denied(denial));
            }
            None if fallback.rule == OnFailure::Open => (None, Standings::default()),
            Some((Opinion::Exceeds(_), _)) | None => return Err(error),
        };
        fallback.state.decided.fetch_add(1, Ordering::Relaxed);
        let primary = fallback.record(&charge);
        let held = FallbackHeld { primary, mirror };
        Ok(Decision::Granted { held, standings })
    }
}

/// A charge that outlives what it was made of.
struct OwnedCharge {
    workspace: Box<str>,
    windows: Box<[(&'static str, Box<str>, Span)]>,
    cost: Units,
}

impl OwnedCharge {
    fn new(charge: &Charge<'_>) -> Self {
        let windows = charge.windows.iter();
        Self {
            workspace: charge.workspace.into(),
            windows: windows.map(|w| (w.scope, w.name.into(), w.span)).collect(),
            cost: charge.cost,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&Charge<'_>) -> T) -> T {
        let windows = self.windows.iter();
        let windows: Vec<_> = windows
            .map(|(scope, name, span)| WindowSpec::new(scope, name, *span, Limit::NONE))
            .collect();
        f(&Charge::new(&self.workspace, &windows, self.cost))
    }
}

impl Opinion {
    fn denial(self) -> Option<Denial> {
        match self {
            Self::Fits(_) => None,
            Self::Full(denial) | Self::Exceeds(denial) | Self::Never(denial) => Some(denial),
        }
    }
}

/// Whether no share will ever have room for a cost.
fn too_large(charge: &Charge<'_>, instances: NonZeroU32) -> Option<Opinion> {
    let mut exceeds = None;
    for (at, window) in charge.windows.iter().enumerate() {
        for dimension in Dimension::ALL {
            let cost = charge.cost.of(dimension);
            let Some(limit) = window.limit.of(dimension).filter(|_| cost > 0) else {
                continue;
            };
            if cost > limit {
                return Some(Opinion::Never(Denial::new(at, dimension, 0, limit)));
            }
            let share = limit / u64::from(instances.get());
            if cost > share {
                exceeds = Some(Opinion::Exceeds(Denial::new(at, dimension, 0, share)));
            }
        }
    }
    exceeds
}

/// An even share. That of a dimension in which nothing may be used is not asked for.
fn share(limit: Limit, instances: NonZeroU32) -> Limit {
    let share = |limit: NonZeroU64| {
        let share = limit.get() / u64::from(instances.get());
        NonZeroU64::new(share).unwrap_or(NonZeroU64::MIN)
    };
    Limit {
        requests: limit.requests.map(share),
        tokens: limit.tokens.map(share),
    }
}

impl<St: fmt::Debug> fmt::Debug for Fallback<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("primary", &self.primary)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

impl<St: Store> fmt::Debug for FallbackReserve<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackReserve").finish_non_exhaustive()
    }
}
