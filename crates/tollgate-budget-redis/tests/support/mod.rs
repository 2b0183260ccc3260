//! Stores that share a real server, and a look into it.
#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod proxy;

use std::{num::NonZeroU64, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tollgate_budget::{
    Charge, Decision, Denial, Limit, Span, Standing, Standings, Store, StoreError, Units,
    WindowSpec,
};
use tollgate_budget_redis::{RedisHeld, RedisSettings, RedisStore};

/// A store that runs, as another process would have one.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) store: RedisStore,
    driver: JoinHandle<()>,
}

impl Instance {
    pub(crate) fn at(url: &str) -> Self {
        Self::with(settings(url))
    }

    pub(crate) fn with(settings: RedisSettings) -> Self {
        let (store, driver) = settings.build();
        Self {
            store,
            driver: tokio::spawn(driver),
        }
    }

    /// Waits until all that was left is settled.
    pub(crate) async fn stop(self) {
        drop(self.store);
        self.driver.await.unwrap();
    }

    /// Waits until the server was told of so many settlements.
    pub(crate) async fn settled(&self, settlements: u64) {
        eventually(|| self.store.settled() >= settlements).await;
    }

    pub(crate) async fn connected(&self) {
        eventually(|| self.store.is_connected()).await;
    }
}

/// More patient than a busy machine is slow.
pub(crate) fn settings(url: &str) -> RedisSettings {
    let settings = RedisSettings::new(url).unwrap();
    settings.patience(Duration::from_secs(10))
}

pub(crate) async fn eventually(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it does not happen"
        );
        sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn limit(requests: u64, tokens: u64) -> Limit {
    Limit {
        requests: NonZeroU64::new(requests),
        tokens: NonZeroU64::new(tokens),
    }
}

/// What is granted, or why not, or why nobody knows.
pub(crate) type Answer = Result<Result<(RedisHeld, Standings), Box<Denial>>, StoreError>;

/// Asks for a charge to one window.
pub(crate) async fn ask(store: &RedisStore, limit: Limit, cost: Units) -> Answer {
    ask_for(store, "acme", "gpt-4o", limit, cost).await
}

pub(crate) async fn ask_for(
    store: &RedisStore,
    workspace: &str,
    name: &str,
    limit: Limit,
    cost: Units,
) -> Answer {
    let windows = [WindowSpec::new("", name, Span::Minute, limit)];
    let decision = store.reserve(&Charge::new(workspace, &windows, cost)).await;
    decision.map(|decision| match decision {
        Decision::Granted { held, standings } => Ok((held, standings)),
        Decision::Denied(denial) => Err(Box::new(denial)),
    })
}

/// What is used of a window.
pub(crate) async fn used(store: &RedisStore) -> Units {
    used_of(store, "acme", "gpt-4o").await
}

pub(crate) async fn used_of(store: &RedisStore, workspace: &str, name: &str) -> Units {
    let all = limit(u64::MAX, u64::MAX);
    let answer = ask_for(store, workspace, name, all, Units::ZERO).await;
    let (held, standings) = answer.unwrap().unwrap();
    store.settle(held, Units::ZERO);
    let used = |standing: Option<Standing>| u64::MAX - standing.unwrap().remaining;
    Units::new(used(standings.requests), used(standings.tokens))
}

/// Runs a command on the server.
pub(crate) async fn command(url: &str, words: &[&str]) -> redis::Value {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(word);
    }
    command.query_async(&mut connection).await.unwrap()
}

pub(crate) async fn eventually_async(mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it does not happen"
        );
        sleep(Duration::from_millis(5)).await;
    }
}
