use std::{borrow::Cow, fmt, time::Duration};

use crate::{Dimension, Limit, Units};

/// Where budgets are counted: in memory, or somewhere that several processes share.
///
/// A handle that is cheap to clone. Two duties make budgets hold: a charge is admitted in all its
/// windows or leaves no trace in any, and a reservation is settled at most once, which ownership
/// of [`Held`](Self::Held) ensures within a process.
///
/// The repository's `examples/custom-store` is a store that asks a service over a socket.
#[diagnostic::on_unimplemented(
    note = "`MemoryStore` counts in this process; a store that several processes share implements \
            `Store`"
)]
pub trait Store: Clone + Send + Sync + 'static {
    /// An open reservation. It cannot be cloned, and [`settle`](Self::settle) consumes it.
    type Held: Send + Sync + 'static;

    /// The decision. A store that waits for nothing uses [`std::future::Ready`].
    type Reserve: Future<Output = Result<Decision<Self::Held>, StoreError>> + Send + 'static;

    /// Asks for a charge.
    ///
    /// The layer polls the future at once and to its end. A future that was pending and is then
    /// dropped must see to it that the charge, if it was or will be made, is given back.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot decide; the layer then refuses with 503.
    fn reserve(&self, charge: &Charge<'_>) -> Self::Reserve;

    /// Replaces a reservation by what was really used.
    ///
    /// Called from destructors: it must not block, wait or panic. A store that needs the network
    /// queues it. Less than was reserved is given back where it was charged; more is charged now,
    /// whatever the limits say.
    fn settle(&self, held: Self::Held, actual: Units) -> Settled;

    /// Whether [`record`](Self::record) does anything.
    const RECORDS: bool = false;

    /// Charges what was granted without it, whatever the limits, as soon as it can: to the slot of
    /// then. It must not block, wait or panic. `None`: it will not, which is the default.
    ///
    /// [`Fallback`](crate::Fallback) asks, after the store could not decide.
    fn record(&self, charge: &Charge<'_>) -> Option<Self::Held> {
        let _ = charge;
        None
    }

    /// How long ago the store was found to have forgotten what it had counted. `None`: never, as far
    /// as it knows, which is the default.
    ///
    /// [`Fallback`](crate::Fallback) asks, because others may have used what the store does not know.
    fn since_loss(&self) -> Option<Duration> {
        None
    }
}

/// One admission: a cost, and every window that it must fit into.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Charge<'a> {
    /// Whose windows they are. All windows of a charge belong to one workspace, so that a store
    /// can keep them in one place.
    pub workspace: &'a str,
    /// The windows, no two the same.
    pub windows: &'a [WindowSpec<'a>],
    /// What to reserve in each of them, at most [`Units::MAX_COST`].
    pub cost: Units,
}

impl<'a> Charge<'a> {
    /// A charge of `cost`, which is [capped](Units::capped), to these windows of a workspace.
    #[must_use]
    pub fn new(workspace: &'a str, windows: &'a [WindowSpec<'a>], cost: Units) -> Self {
        Self {
            workspace,
            windows,
            cost: cost.capped(),
        }
    }
}

/// One window of a [`Charge`]: which, and how much it may hold.
///
/// Limits are arguments and not part of the window: they may change from call to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowSpec<'a> {
    /// What kind of thing is limited: empty for the layer's key, otherwise the name of a further
    /// level such as `user`.
    pub scope: &'static str,
    /// Which one of that kind.
    pub name: &'a str,
    /// How far back the window reaches.
    pub span: Span,
    /// What it may hold.
    pub limit: Limit,
}

impl<'a> WindowSpec<'a> {
    /// A window of this kind and name.
    #[must_use]
    pub const fn new(scope: &'static str, name: &'a str, span: Span, limit: Limit) -> Self {
        Self {
            scope,
            name,
            span,
            limit,
        }
    }
}

/// How far back a window reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Span {
    /// 60 slots of the store's.
    Minute,
    /// One slot of the store's, in ten parts.
    Second,
}

impl Span {
    /// `min` or `sec`, as OpenAI's messages spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "min",
            Self::Second => "sec",
        }
    }

    /// The slots of such a window, and the duration of one where a minute's have `slot`.
    #[must_use]
    pub fn slots(self, slot: Duration) -> (u16, Duration) {
        match self {
            Self::Minute => (60, slot),
            Self::Second => (10, slot / 10),
        }
    }
}

/// A store's answer to a [`Charge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Decision<H> {
    /// The cost was charged to every window.
    Granted {
        /// For the settlement.
        held: H,
        /// How the limits stand with the charge.
        standings: Standings,
    },
    /// Nothing was charged.
    Denied(Denial),
}

/// Why a charge was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// Which of the charge's windows is the reason; of several the one that lasts longest.
    pub window: usize,
    /// In which dimension it is full.
    pub dimension: Dimension,
    /// What it holds, which may be more than the limit.
    pub used: u64,
    /// What it may hold.
    pub limit: u64,
    /// When the same charge would be granted by all windows, if nothing else happens. `None`:
    /// never, because it is larger than a limit.
    pub retry: Option<Duration>,
    /// Over what time callers who were told the same `retry` had better be spread.
    pub spread: Duration,
    /// How the limits stand.
    pub standings: Standings,
}

impl Denial {
    /// A denial because of this window, which will never have room until
    /// [`retry_after`](Self::retry_after) says otherwise.
    #[must_use]
    pub const fn new(window: usize, dimension: Dimension, used: u64, limit: u64) -> Self {
        Self {
            window,
            dimension,
            used,
            limit,
            retry: None,
            spread: Duration::ZERO,
            standings: Standings {
                requests: None,
                tokens: None,
            },
        }
    }

    /// Sets when the same charge would be granted, and over what time to spread callers.
    #[must_use]
    pub const fn retry_after(mut self, wait: Duration, spread: Duration) -> Self {
        self.retry = Some(wait);
        self.spread = spread;
        self
    }

    /// Sets how the limits stand.
    #[must_use]
    pub const fn standings(mut self, standings: Standings) -> Self {
        self.standings = standings;
        self
    }
}

/// What has become of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settled {
    /// It was made.
    Done,
    /// The charge was found to have left a window before, so that there was nothing to give back
    /// to. What was used beyond the reservation is charged all the same.
    Expired,
    /// It will be made.
    Queued,
    /// It will not be made, because too many wait to be: the reservation stays charged as it is until
    /// it leaves its windows.
    Lost,
}

/// How the limits of each dimension stand: of several windows the one that is fullest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standings {
    /// Requests, if any window limits them.
    pub requests: Option<Standing>,
    /// Tokens, if any window limits them.
    pub tokens: Option<Standing>,
}

impl Standings {
    /// Takes note of one window's standing, if it is fuller than those before it.
    pub fn note(&mut self, dimension: Dimension, standing: Standing) {
        let noted = match dimension {
            Dimension::Requests => &mut self.requests,
            Dimension::Tokens => &mut self.tokens,
        };
        if noted.is_none_or(|other| standing.is_fuller_than(&other)) {
            *noted = Some(standing);
        }
    }

    /// Takes note of another window's.
    pub(crate) fn note_all(&mut self, other: Self) {
        for dimension in Dimension::ALL {
            if let Some(standing) = other.of(dimension) {
                self.note(dimension, standing);
            }
        }
    }

    /// The standing in one dimension.
    #[must_use]
    pub fn of(&self, dimension: Dimension) -> Option<Standing> {
        match dimension {
            Dimension::Requests => self.requests,
            Dimension::Tokens => self.tokens,
        }
    }
}

/// How one limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The limit.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When all of it will be left, if nothing else happens.
    pub reset: Duration,
}

impl Standing {
    /// A limit of which this much is left until it is whole again.
    #[must_use]
    pub const fn new(limit: u64, remaining: u64, reset: Duration) -> Self {
        Self {
            limit,
            remaining,
            reset,
        }
    }

    // remaining / limit < other.remaining / other.limit, without the division.
    fn is_fuller_than(&self, other: &Self) -> bool {
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        product(self.remaining, other.limit) < product(other.remaining, self.limit)
    }
}

/// A store cannot decide. The text is for the operator's log, never for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(Cow<'static, str>);

impl StoreError {
    /// An error of this cause.
    #[must_use]
    pub fn new(cause: impl Into<Cow<'static, str>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}
