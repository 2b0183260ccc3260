use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use redis::{Client, IntoConnectionInfo};
#[cfg(feature = "tls")]
use redis::{ConnectionAddr, TlsCertificates};
#[cfg(feature = "tls")]
use rustls::pki_types::{CertificateDer, pem::PemObject};
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
    /// With the feature `tls` also `rediss://…`, which trusts what browsers trust, unless other
    /// [root certificates](Self::root_certificates) are named. It uses the default cryptography of
    /// rustls, which the process must have
    /// [installed](https://docs.rs/rustls/0.23/rustls/crypto/struct.CryptoProvider.html#method.install_default).
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] if that is none, or cannot be used.
    pub fn new(server: impl IntoConnectionInfo) -> Result<Self, InvalidAddress> {
        let client = Client::open(server).map_err(|error| InvalidAddress {
            cause: script::describe(&error),
        })?;
        // Later it would be a panic.
        #[cfg(feature = "tls")]
        if is_tls(&client) && rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(InvalidAddress {
                cause: "TLS needs a default cryptography of rustls, and none is installed"
                    .to_owned(),
            });
        }
        Ok(Self {
            client,
            prefix: "tollgate".to_owned(),
            slot: Duration::from_secs(1),
            patience: Duration::from_millis(50),
            queue: 16_384,
        })
    }

    /// Trusts a server only if one of these certificates, in PEM, vouches for it.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] if there is none among them, or the server is not at `rediss://…`.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Result<Self, InvalidAddress> {
        let pem = pem.into();
        let has_any = CertificateDer::pem_slice_iter(&pem).next().is_some();
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(pem),
        };
        let server = self.client.get_connection_info().clone();
        let client = Client::build_with_tls(server, certificates);
        self.client = client
            .ok()
            .filter(|_| has_any)
            .ok_or_else(|| InvalidAddress {
                cause: "no root certificates, or no use for them".to_owned(),
            })?;
        Ok(self)
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

#[cfg(feature = "tls")]
fn is_tls(client: &Client) -> bool {
    matches!(
        client.get_connection_info().addr(),
        ConnectionAddr::TcpTls { .. }
    )
}

/// What was given is no address of a server that can be used. It is not repeated, because it may
/// hold credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress {
    cause: String,
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no address of a Redis server that can be used: {}",
            self.cause
        )
    }
}

impl std::error::Error for InvalidAddress {}
