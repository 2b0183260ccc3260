use std::{
    fmt,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use redis::{
    Cmd, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::timeout;
use tollgate_budget::{Charge, Decision, Limit, Settled, Store, StoreError, Units};

use crate::{
    inner::Inner,
    link::{Health, Link},
    script::{self, RESERVE, Verdict},
    target::Target,
    ticket::Ticket,
};

/// Budgets that all processes share which use one Redis or Valkey.
///
/// A handle: clones share a connection. [`RedisSettings`](crate::RedisSettings) makes one, and the
/// [`RedisDriver`](crate::RedisDriver) that has to run beside it. The counts are the server's: by
/// its clock, whatever those of the processes say.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

impl RedisStore {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Whether there is a connection. There is none before the first, nor while the server is down or
    /// was silent for long.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(*self.0.link.borrow(), Link::Up(..))
    }

    /// How many settlements wait to be told to the server, and charges that were granted without it.
    #[must_use]
    pub fn queued(&self) -> usize {
        let queue = &self.0.notes;
        queue.max_capacity() - queue.capacity()
    }

    /// How many of these the server was told of.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.0.health.settled.load(Ordering::Relaxed)
    }

    /// How many of these were given up: the queue was full, or the server was away for too long, or
    /// refused them. What they would have given back leaves the window by itself.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.health.lost.load(Ordering::Relaxed)
    }

    /// How many admissions were not decided.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.health.failed.load(Ordering::Relaxed)
    }
}

impl Store for RedisStore {
    type Held = RedisHeld;
    type Reserve = RedisReserve;

    const RECORDS: bool = true;

    fn reserve(&self, charge: &Charge<'_>) -> RedisReserve {
        let inner = &self.0;
        let target = inner.target(charge);
        let limits: Box<[Limit]> = charge.windows.iter().map(|window| window.limit).collect();
        let command = script::reserve(&target, &limits, inner.now());
        let ask = Ask {
            inner: Arc::clone(inner),
            command,
            target: Some(target),
            ticket: None,
            last: 0,
        };
        RedisReserve(Box::pin(ask.decide(limits)))
    }

    fn settle(&self, held: RedisHeld, actual: Units) -> Settled {
        held.0.settle(actual)
    }

    fn record(&self, charge: &Charge<'_>) -> Option<RedisHeld> {
        let target = self.0.target(charge);
        Ticket::record(target, Arc::clone(&self.0)).map(RedisHeld)
    }

    fn since_loss(&self) -> Option<Duration> {
        self.0.health.since_loss()
    }
}

/// One admission.
struct Ask {
    inner: Arc<Inner>,
    command: Cmd,
    /// Until it is sent; then it is the ticket's.
    target: Option<Arc<Target>>,
    ticket: Option<Ticket>,
    /// The connection that was tried last.
    last: u64,
}

impl Ask {
    async fn decide(mut self, limits: Box<[Limit]>) -> Result<Decision<RedisHeld>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let failed = |cause: String| {
            Health::count(&inner.health.failed, 1);
            StoreError::new(cause)
        };
        let Ok(answer) = timeout(inner.patience, self.answer()).await else {
            inner.health.was_silent(self.last);
            let patience = inner.patience;
            return Err(failed(match self.last {
                0 => format!("Redis: not connected within {patience:?}"),
                _ => format!("Redis: no answer within {patience:?}"),
            }));
        };
        let answer = answer.map_err(&failed)?;
        inner.health.answered();
        // It is there since the call was sent, which was answered.
        let ticket = self.ticket.take();
        match (script::decision(&answer, &limits, inner.slot), ticket) {
            (Some(Verdict::Decided(Decision::Granted { standings, .. })), Some(ticket)) => {
                Ok(Decision::Granted {
                    held: RedisHeld(ticket),
                    standings,
                })
            }
            (Some(Verdict::Decided(Decision::Denied(denial))), Some(ticket)) => {
                ticket.tear();
                Ok(Decision::Denied(denial))
            }
            _ => Err(failed("Redis: an answer that means nothing".to_owned())),
        }
    }

    /// Asks until the server has answered. Asking again is safe: a reservation is charged once.
    async fn answer(&mut self) -> Result<Value, String> {
        let mut failed = 0;
        loop {
            let mut connection = self.connection(failed).await?;
            if let Some(target) = self.target.take() {
                self.ticket = Some(Ticket::new(target, Arc::clone(&self.inner)));
            }
            let answer = connection.req_packed_command(&self.command).await;
            let error = match answer.and_then(Value::extract_error) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if script::is_unknown(&error) {
                self.command = RESERVE.with_text(&self.command);
            } else if script::wants_another_connection(&error) {
                failed = self.last;
                self.inner.health.broke(failed);
            } else {
                return Err(format!("Redis: {}", script::describe(&error)));
            }
        }
    }

    /// A connection later than the one that failed.
    async fn connection(&mut self, failed: u64) -> Result<MultiplexedConnection, String> {
        let now = self.inner.link.borrow().clone();
        let link = if now.is_news_after(failed) {
            now
        } else {
            let mut links = self.inner.link.clone();
            // A sender that is gone has said so before.
            let link = links.wait_for(|link| link.is_news_after(failed)).await;
            link.map_err(|_| "Redis: not connected".to_owned())?.clone()
        };
        match link {
            Link::Up(connection, number) => {
                self.last = number;
                Ok(connection)
            }
            Link::Down(cause) => Err(format!("Redis: {cause}")),
            Link::Connecting => Err("Redis: not connected".to_owned()),
        }
    }
}

/// An open reservation in a [`RedisStore`]. Dropping it gives it back.
#[derive(Debug)]
pub struct RedisHeld(Ticket);

/// Waits for the server's decision, at most for the store's
/// [patience](crate::RedisSettings::patience).
///
/// # Cancel safety
///
/// Dropped at any time, it leaves no charge: what was or will be made of it is given back.
pub struct RedisReserve(Pin<Box<Deciding>>);

type Deciding = dyn Future<Output = Result<Decision<RedisHeld>, StoreError>> + Send;

impl Future for RedisReserve {
    type Output = Result<Decision<RedisHeld>, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for RedisReserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReserve").finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
