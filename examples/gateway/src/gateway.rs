use std::{error::Error, fmt, future::pending, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    admin::{self, Admin},
    config::{Config, ConfigError},
    current::Current,
    metrics::Metrics,
    routes, server,
    stack::Foundation,
};

/// A gateway that is running.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    reload: mpsc::Sender<Reload>,
    server: JoinHandle<()>,
}

/// A new configuration, and where to say whether it serves.
type Reload = (Config, oneshot::Sender<Result<(), StartError>>);

impl Gateway {
    /// Starts the gateway that is configured. Once this returns it accepts connections.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound or the configuration cannot be turned into a stack.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listener = bind(config.listen).await?;
        let address = listener.local_addr().map_err(StartError::build)?;
        let admin_listener = match config.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let admin_address = admin_listener.as_ref().map(TcpListener::local_addr);
        let admin_address = admin_address.transpose().map_err(StartError::build)?;

        let metrics = Metrics::new().map_err(StartError::build)?;
        let foundation = Foundation::new(&config, Arc::clone(&metrics));
        let mut foundation = foundation.map_err(StartError::Build)?;
        let store = foundation.driver();
        foundation
            .prepare(&config)
            .await
            .map_err(StartError::build)?;
        let first = foundation.build(&config, None).map_err(StartError::Build)?;
        let (insight, insight_seen) = watch::channel(first.insight);
        let (current, service) = Current::new(first.service);
        let admin = Admin::new(Arc::clone(&metrics), insight_seen);

        let (stop, mut stop_seen) = watch::channel(false);
        let (reload, mut reloads) = mpsc::channel::<Reload>(1);
        let limits = config.server_limits();
        let store = store.map(tokio::spawn);
        let serving = async move {
            let mut helpers = JoinSet::new();
            if let Some(listener) = admin_listener {
                helpers.spawn(admin::serve(listener, Arc::clone(&admin)));
            }
            helpers.spawn(admin::tidy(Arc::clone(&metrics)));
            // A gateway that nobody holds any more stops as well.
            let stopped = async {
                let _ = stop_seen.wait_for(|stop| *stop).await;
                admin.leave();
            };
            let service = routes::front_door(service);
            let serving = server::serve(listener, service, limits, metrics, stopped);
            let reloading = async {
                while let Some((config, done)) = reloads.recv().await {
                    let prepared = foundation.prepare(&config).await.map_err(StartError::build);
                    let before = insight.borrow().clone();
                    let built = prepared.and_then(|()| {
                        let built = foundation.build(&config, Some(&before));
                        built.map_err(StartError::Build)
                    });
                    let outcome = built.map(|stack| {
                        insight.send_replace(stack.insight);
                        current.send_replace(stack.service);
                    });
                    // Nobody may be waiting for it any more.
                    let _ = done.send(outcome);
                }
                pending::<()>().await;
            };
            tokio::select! {
                () = serving => {}
                () = reloading => {}
            }
        };
        let server = tokio::spawn(async move {
            serving.await;
            // By now nothing uses the store, and what calls have left is told to it.
            if let Some(store) = store {
                let _ = timeout(TELL, store).await;
            }
        });
        Ok(Self {
            address,
            admin_address,
            stop,
            reload,
            server,
        })
    }

    /// Builds what is configured and throws it away: finds out whether [`start`](Self::start)
    /// would succeed, but for its addresses.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be turned into a stack.
    pub async fn check(config: &Config) -> Result<(), StartError> {
        let metrics = Metrics::new().map_err(StartError::build)?;
        let foundation = Foundation::new(config, metrics);
        let mut foundation = foundation.map_err(StartError::Build)?;
        foundation
            .prepare(config)
            .await
            .map_err(StartError::build)?;
        foundation
            .build(config, None)
            .map(drop)
            .map_err(StartError::Build)
    }

    /// Serves this configuration from the next call on. Calls that are open go on as they began,
    /// and what workspaces have used of their budgets stays used. An upstream that stays what it
    /// was keeps its connections, its breaker, its rest and its counts.
    ///
    /// What belongs to the process needs a restart: addresses, the listener's limits, the length
    /// and the store of the budgets' window.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be turned into a stack; the one before goes on.
    pub async fn reload(&self, config: Config) -> Result<(), StartError> {
        let (done, outcome) = oneshot::channel();
        let sent = self.reload.send((config, done)).await;
        sent.map_err(|_| StartError::Stopped)?;
        outcome.await.unwrap_or(Err(StartError::Stopped))
    }

    /// Where the gateway listens, with the port that it was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are served, if anywhere.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Accepts no further connections and waits until open calls have ended or been cut.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic in there has been reported by its hook.
        let _ = self.server.await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| StartError::Bind { address, error })
}

/// How long that may take.
const TELL: Duration = Duration::from_secs(2);

/// Why a gateway did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen there.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// The stack cannot be built.
    Build(Box<dyn Error + Send + Sync>),
    /// The configuration is wrong.
    Config(ConfigError),
    /// The gateway has stopped.
    Stopped,
}

impl StartError {
    fn build(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Build(error.into())
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: another process does; choose an address with --listen"
            ),
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Build(error) => write!(f, "cannot build the stack: {error}"),
            Self::Config(error) => write!(f, "{error}"),
            Self::Stopped => f.write_str("the gateway has stopped"),
        }
    }
}

impl Error for StartError {}
