use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use redis::{Client, IntoConnectionInfo};
use tokio::sync::{mpsc, watch};

use crate::{
    RedisDriver, RedisStore,
    driver::Driver,
    ids::Ids,
    inner::Inner,
    link::{Health, Link},
    memory::Memory,
    names::Names,
    script,
};

/// Where the server is, and how it is used.
#[derive(Clone)]
pub struct RedisSettings {
    client: Client,
    prefix: String,
    slot: Duration,
    patience: Duration,
    queue: usize,
}

impl RedisSettings {
    /// A server, usually as a URL: `redis://[user][:password]@host[:port][/database]`, or
    /// `redis+unix:///path`. Nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] if that is none.
    pub fn new(server: impl IntoConnectionInfo) -> Result<Self, InvalidAddress> {
        let client = Client::open(server).map_err(|error| InvalidAddress {
            cause: script::describe(&error),
        })?;
        Ok(Self {
            client,
            prefix: "tollgate".to_owned(),
            slot: Duration::from_secs(1),
            patience: Duration::from_millis(50),
            queue: 16_384,
        })
    }

    /// Sets what all keys begin with, so that strangers can use one server. Default: `tollgate`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the duration of a slot, in steps of 10 µs, at most a day. 60 slots are a quota's minute,
    /// so a shorter slot makes a shorter minute: for tests and demonstrations. Default: one second.
    ///
    /// Stores share the counts of those whose slots are as long as their own.
    #[must_use]
    pub fn slot(mut self, slot: Duration) -> Self {
        let micros = slot.as_micros().clamp(10, 86_400_000_000);
        let micros = u64::try_from(micros - micros % 10).unwrap_or(u64::MAX);
        self.slot = Duration::from_micros(micros);
        self
    }

    /// Sets how long an admission waits for its decision at most. Default: 50 ms.
    ///
    /// The store cannot decide then, and whatever the server makes of it is given back. When that
    /// happened five times in a row, admissions do not wait at all until the server answers again.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how many settlements may wait for the server. Default: 16,384, of some 300 bytes each.
    ///
    /// One too many is lost: what it would have given back stays charged until it leaves the window,
    /// and what it would have charged in addition is not charged.
    #[must_use]
    pub fn queue(mut self, settlements: usize) -> Self {
        self.queue = settlements.max(1);
        self
    }

    /// The store, and the driver that connects it.
    ///
    /// Spawn the driver on a tokio runtime with I/O and time: without it nothing is decided. It ends
    /// when all handles of the store and all reservations are gone and what they left is settled, so
    /// a process that stops in good order waits for it.
    pub fn build(self) -> (RedisStore, RedisDriver) {
        let (store, driver) = self.assemble(None);
        (store, RedisDriver::new(driver))
    }

    pub(crate) fn assemble(self, clock: Option<Arc<AtomicU64>>) -> (RedisStore, Driver) {
        let (link, link_seen) = watch::channel(Link::Connecting);
        let (notes, queue) = mpsc::channel(self.queue);
        let health = Arc::new(Health::default());
        let names = Names::new(&self.prefix, self.slot);
        let driver = Driver {
            client: self.client,
            link,
            queue,
            batch: Vec::new(),
            health: Arc::clone(&health),
            memory: Memory::new(names.memory()),
            // By then what was charged has left.
            patience: self.slot.saturating_mul(61).max(Duration::from_secs(60)),
            clock: clock.clone(),
        };
        let store = RedisStore::new(Inner {
            names,
            slot: self.slot,
            patience: self.patience,
            link: link_seen,
            notes,
            health,
            ids: Ids::new(),
            clock,
        });
        (store, driver)
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not where: credentials may be part of that.
        f.debug_struct("RedisSettings")
            .field("prefix", &self.prefix)
            .field("slot", &self.slot)
            .field("patience", &self.patience)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// What was given is no address of a server. It is not repeated, because it may hold credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress {
    cause: String,
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an address of a Redis server: {}", self.cause)
    }
}

impl std::error::Error for InvalidAddress {}
