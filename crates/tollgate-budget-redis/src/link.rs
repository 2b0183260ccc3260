//! The connection that admissions use, and what is known of it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::{sync::Notify, time::Instant};

/// How to reach the server.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// Soon; it is worth a wait.
    Connecting,
    /// By this connection, the how-manieth it is.
    Up(MultiplexedConnection, u64),
    /// Not at all, for this reason.
    Down(Arc<str>),
}

impl Link {
    /// Whether there is something to say to whoever had no luck with connection `last`.
    pub(crate) fn is_news_after(&self, last: u64) -> bool {
        match self {
            Self::Connecting => false,
            Self::Up(_, number) => *number > last,
            Self::Down(_) => true,
        }
    }
}

/// What admissions and the driver tell each other.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The connection that is in use.
    number: AtomicU64,
    /// How often in a row it gave no answer.
    silent: AtomicU32,
    trouble: Notify,
    loss: Mutex<Option<Instant>>,
    /// Admissions that were not decided.
    pub(crate) failed: AtomicU64,
    /// Notes that the server was told of.
    pub(crate) settled: AtomicU64,
    /// Notes that it will not be told of.
    pub(crate) lost: AtomicU64,
}

impl Health {
    /// A new connection is in use.
    pub(crate) fn renew(&self) -> u64 {
        self.silent.store(0, Ordering::Relaxed);
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A connection gave an answer.
    pub(crate) fn answered(&self) {
        self.silent.store(0, Ordering::Relaxed);
    }

    /// A connection gave no answer in time.
    pub(crate) fn was_silent(&self, number: u64) {
        if number == self.number.load(Ordering::Relaxed)
            && self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT
        {
            self.trouble.notify_one();
        }
    }

    /// A connection leads nowhere.
    pub(crate) fn broke(&self, number: u64) {
        if number == self.number.load(Ordering::Relaxed) {
            self.silent.store(BROKEN, Ordering::Relaxed);
            self.trouble.notify_one();
        }
    }

    /// Waits until the connection had better be replaced, and says whether it is lost or silent.
    pub(crate) async fn trouble(&self) -> Trouble {
        loop {
            // What was said of the one before counts no more.
            match self.silent.load(Ordering::Relaxed) {
                0..SILENT => self.trouble.notified().await,
                BROKEN.. => return Trouble::Broken,
                _ => return Trouble::Silent,
            }
        }
    }

    /// The server has forgotten what it had counted.
    pub(crate) fn forgot(&self) {
        *self.loss.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long that is ago.
    pub(crate) fn since_loss(&self) -> Option<Duration> {
        let loss = *self.loss.lock().unwrap_or_else(PoisonError::into_inner);
        Some(loss?.elapsed())
    }

    pub(crate) fn count(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }
}

/// What is wrong with a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Broken,
    Silent,
}

/// As often in a row no answer comes in time before nobody waits for one any more.
const SILENT: u32 = 5;

/// More often than that ever happens.
const BROKEN: u32 = 1 << 31;
