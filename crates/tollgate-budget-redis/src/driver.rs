use std::{
    fmt, iter, mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    link::{Health, Link, Trouble},
    memory::Memory,
    note::{Change, Note},
    script::{self, RESERVE, SETTLE},
};

/// Connects a [`RedisStore`](crate::RedisStore) and tells the server of settlements.
///
/// It connects again by itself, tells of many settlements at once, and of each until the server has
/// heard it or a minute is over. It ends with the store; see
/// [`RedisSettings::build`](crate::RedisSettings::build).
///
/// Dropped before that, it leaves a store that decides nothing.
#[must_use = "a store decides nothing until its driver runs"]
pub struct RedisDriver(Pin<Box<dyn Future<Output = ()> + Send>>);

impl RedisDriver {
    pub(crate) fn new(driver: Driver) -> Self {
        Self(Box::pin(driver.run()))
    }
}

impl Future for RedisDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for RedisDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDriver").finish_non_exhaustive()
    }
}

pub(crate) struct Driver {
    pub(crate) client: Client,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) queue: mpsc::Receiver<Note>,
    /// What the server is being told.
    pub(crate) batch: Vec<Note>,
    pub(crate) health: Arc<Health>,
    pub(crate) memory: Memory,
    /// How long a settlement is worth a try.
    pub(crate) patience: Duration,
    pub(crate) clock: Option<Arc<AtomicU64>>,
}

impl Driver {
    pub(crate) async fn run(mut self) {
        loop {
            let cause = match self.connect().await {
                Ok(connection) => {
                    let since = Instant::now();
                    let number = self.health.renew();
                    self.link.send_replace(Link::Up(connection.clone(), number));
                    match self.serve(connection).await {
                        Ok(()) => return,
                        // Usually there is another at once.
                        Err(Lost::Connection) if since.elapsed() >= PAUSE => {
                            self.link.send_replace(Link::Connecting);
                            continue;
                        }
                        Err(lost) => lost.cause(),
                    }
                }
                Err(cause) => cause,
            };
            self.link.send_replace(Link::Down(cause.into()));
            if self.queue.is_closed() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn connect(&mut self) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REPLY))
            // Whoever waits has a clock of its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        // What follows the connection takes time as well.
        let mut connection = within(connecting).await.map_err(Lost::cause)?;
        self.beat(&mut connection).await.map_err(Lost::cause)?;
        self.catch_up(&mut connection).await.map_err(Lost::cause)?;
        Ok(connection)
    }

    /// Tells the server what waited until now, before it is asked anything.
    async fn catch_up(&mut self, connection: &mut MultiplexedConnection) -> Result<(), Lost> {
        let mut waiting = self.queue.len();
        loop {
            self.tell(connection).await?;
            let next = iter::from_fn(|| self.queue.try_recv().ok());
            self.batch.extend(next.take(waiting.min(BATCH)));
            waiting = waiting.saturating_sub(self.batch.len());
            if self.batch.is_empty() {
                return Ok(());
            }
        }
    }

    /// Finds out whether the server serves, before a caller does.
    async fn beat(&mut self, connection: &mut MultiplexedConnection) -> Result<(), Lost> {
        if within(self.memory.is_lost(connection)).await? {
            self.health.forgot();
        }
        Ok(())
    }

    /// Uses a connection until the store is gone.
    async fn serve(&mut self, connection: MultiplexedConnection) -> Result<(), Lost> {
        let health = Arc::clone(&self.health);
        // What is left where it is was not told yet, or will be told again.
        tokio::select! {
            biased;
            trouble = health.trouble() => Err(trouble.into()),
            end = self.tell_all(connection) => end,
        }
    }

    async fn tell_all(&mut self, mut connection: MultiplexedConnection) -> Result<(), Lost> {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                taken = self.queue.recv_many(&mut self.batch, BATCH) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    self.tell(&mut connection).await?;
                }
                _ = beats.tick() => self.beat(&mut connection).await?,
            }
        }
    }

    /// Tells the server of the batch.
    async fn tell(&mut self, connection: &mut MultiplexedConnection) -> Result<(), Lost> {
        let mut is_unknown = false;
        loop {
            let before = self.batch.len();
            self.batch.retain(|note| !note.is_late(self.patience));
            Health::count(&self.health.lost, before - self.batch.len());
            if self.batch.is_empty() {
                return Ok(());
            }
            let pipeline = self.pipeline(is_unknown);
            let answers = connection.req_packed_commands(&pipeline, 0, self.batch.len());
            let answers = within(answers).await?;
            is_unknown = false;
            let (mut told, mut lost) = (0, None);
            let mut answers = answers.into_iter().map(Value::extract_error);
            self.batch.retain(|_| match answers.next() {
                Some(Ok(_)) => {
                    told += 1;
                    false
                }
                Some(Err(error)) if script::is_unknown(&error) => {
                    is_unknown = true;
                    true
                }
                Some(Err(error)) if script::wants_another_connection(&error) => {
                    lost = Some(Lost::from(error));
                    true
                }
                Some(Err(_)) => {
                    Health::count(&self.health.lost, 1);
                    false
                }
                // It was not answered.
                None => true,
            });
            Health::count(&self.health.settled, told);
            if let Some(lost) = lost {
                return Err(lost);
            }
        }
    }

    fn pipeline(&self, is_unknown: bool) -> redis::Pipeline {
        let now = self.clock.as_ref().map(|now| now.load(Ordering::Relaxed));
        let mut pipeline = redis::pipe();
        // What comes after a script's text finds it known. Charges are rare, and must not be found
        // unknown when the settlements that follow them are not.
        let (mut charge_text, mut settle_text) = (true, is_unknown);
        for Note { target, change, .. } in &self.batch {
            pipeline.add_command(match *change {
                Change::Charge => {
                    let command = script::reserve(target, &[], now);
                    if mem::take(&mut charge_text) {
                        RESERVE.with_text(&command)
                    } else {
                        command
                    }
                }
                Change::Settle { actual, is_kept } => {
                    // Longer than anybody tries.
                    let memory = if is_kept {
                        self.patience * 2
                    } else {
                        Duration::ZERO
                    };
                    let command = script::settle(target, actual, memory, now);
                    if mem::take(&mut settle_text) {
                        SETTLE.with_text(&command)
                    } else {
                        command
                    }
                }
            });
        }
        pipeline
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.link
            .send_replace(Link::Down("the driver has ended".into()));
        let left = self.batch.len() + self.queue.len();
        Health::count(&self.health.lost, left);
    }
}

/// Why a connection is of no more use.
enum Lost {
    /// Another may be had at once.
    Connection,
    /// The server is in no state to serve.
    Server(String),
}

impl Lost {
    fn cause(self) -> String {
        match self {
            Self::Connection => "connection lost".to_owned(),
            Self::Server(cause) => cause,
        }
    }
}

impl From<Trouble> for Lost {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Broken => Self::Connection,
            Trouble::Silent => Self::Server(SILENCE.to_owned()),
        }
    }
}

impl From<redis::RedisError> for Lost {
    fn from(error: redis::RedisError) -> Self {
        if error.is_connection_dropped() && !error.is_connection_refusal() {
            Self::Connection
        } else {
            Self::Server(script::describe(&error))
        }
    }
}

/// The outcome of what the server answers in time.
async fn within<T>(asking: impl Future<Output = RedisResult<T>>) -> Result<T, Lost> {
    match timeout(REPLY, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Lost::Server(SILENCE.to_owned())),
    }
}

const SILENCE: &str = "no answer";

/// How long the server may take where nobody waits.
const REPLY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(250);
const BEAT: Duration = Duration::from_secs(1);
/// As many settlements at a time.
const BATCH: usize = 256;
/// As many calls wait to be written.
const PIPELINE: usize = 1_024;
