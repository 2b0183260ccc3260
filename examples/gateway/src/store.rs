//! Where budgets are counted: in this process, or where other gateways find them.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tollgate::{
    Fallback, MemoryStore, RedisStore,
    budget::{
        Charge, Decision, FallbackHeld, FallbackReserve, MemoryHeld, Settled, Store, StoreError,
        Units,
    },
    budget_redis::{RedisDriver, RedisHeld},
};

use crate::config::BudgetConfig;

/// The store that is configured.
#[derive(Clone, Debug)]
pub(crate) enum BudgetStore {
    Memory(MemoryStore),
    Redis(Fallback<RedisStore>),
}

impl BudgetStore {
    /// The store, and what has to run beside it. Nothing is connected before that runs.
    pub(crate) fn new(
        config: &BudgetConfig,
    ) -> Result<(Self, Option<RedisDriver>), Box<dyn Error + Send + Sync>> {
        let local = MemoryStore::new().slot(config.slot);
        if !config.is_shared() {
            return Ok((Self::Memory(local), None));
        }
        if config.is_alone() {
            tracing::warn!(
                "while the store of budgets fails, this gateway grants whole limits: state \
                 `instances` if others share it"
            );
        }
        let settings = config.redis().map_err(|(_, problem)| problem)?;
        let (store, driver) = settings.build();
        let store = Fallback::new(store, config.on_failure())
            .local(local)
            .observe(|failure| match failure {
                Some(error) => tracing::error!("the store of budgets cannot decide: {error}"),
                None => tracing::warn!("the store of budgets decides again"),
            });
        Ok((Self::Redis(store), Some(driver)))
    }

    /// The store that other gateways share, if they do.
    pub(crate) fn shared(&self) -> Option<&Fallback<RedisStore>> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(store) => Some(store),
        }
    }
}

impl Store for BudgetStore {
    type Held = Held;
    type Reserve = Reserve;

    fn reserve(&self, charge: &Charge<'_>) -> Reserve {
        match self {
            Self::Memory(store) => Reserve::Memory {
                decision: store.reserve(charge),
            },
            Self::Redis(store) => Reserve::Redis {
                decision: store.reserve(charge),
            },
        }
    }

    fn settle(&self, held: Held, actual: Units) -> Settled {
        match (self, held) {
            (Self::Memory(store), Held::Memory(held)) => store.settle(held, actual),
            (Self::Redis(store), Held::Redis(held)) => store.settle(held, actual),
            // It is not ours: a process has one store.
            _ => Settled::Lost,
        }
    }
}

/// An open reservation in a [`BudgetStore`].
#[derive(Debug)]
pub(crate) enum Held {
    Memory(MemoryHeld),
    Redis(FallbackHeld<RedisHeld>),
}

pin_project! {
    /// The decision of a [`BudgetStore`].
    #[project = ReserveProj]
    pub(crate) enum Reserve {
        Memory { decision: <MemoryStore as Store>::Reserve },
        Redis { #[pin] decision: FallbackReserve<RedisStore> },
    }
}

impl Future for Reserve {
    type Output = Result<Decision<Held>, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project() {
            ReserveProj::Memory { decision } => {
                ready!(Pin::new(decision).poll(cx)).map(|decision| with(decision, Held::Memory))
            }
            ReserveProj::Redis { decision } => {
                ready!(decision.poll(cx)).map(|decision| with(decision, Held::Redis))
            }
        })
    }
}

fn with<H>(decision: Decision<H>, kind: fn(H) -> Held) -> Decision<Held> {
    match decision {
        Decision::Granted { held, standings } => Decision::Granted {
            held: kind(held),
            standings,
        },
        Decision::Denied(denial) => Decision::Denied(denial),
    }
}
