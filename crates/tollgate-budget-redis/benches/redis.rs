//! What an admission costs on Redis, beside the commands that cost least, in one run.
//!
//! `cargo bench -p tollgate-budget-redis`, on Unix. It starts a server of its own. Rounds of all
//! candidates alternate, and the best of each is printed: whatever else the machine does only adds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark")]

#[cfg(unix)]
fn main() {
    // `cargo test` runs benchmarks too, and only wants to know that they build.
    if std::env::args().any(|arg| arg == "--bench") {
        on_unix::main();
    }
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod on_unix {
    use std::{num::NonZeroU64, sync::Arc, time::Duration};

    use redis::{Cmd, aio::MultiplexedConnection};
    use tokio::{task::JoinSet, time::Instant};
    use tollgate_budget::{Charge, Decision, Limit, Span, Store, Units, WindowSpec};
    use tollgate_budget_redis::{RedisSettings, RedisStore};
    use tollgate_testing::RedisServer;

    const ROUNDS: usize = 10;
    const CALLS: usize = 2_000;

    #[tokio::main]
    pub(crate) async fn main() {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let settings = RedisSettings::new(server.url()).unwrap();
        let settings = settings.patience(Duration::from_secs(20)).queue(1 << 20);
        let (store, driver) = settings.build();
        tokio::spawn(driver);
        // Every slot of the minute is in use.
        println!("a minute goes by first");
        for _ in 0..61 {
            admit(&store, u64::MAX).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        println!("\n| calls a second | 1 caller | 16 callers |\n|---|---|---|");
        let mut best = [[Duration::MAX; 2]; 4];
        for _ in 0..ROUNDS {
            for (column, callers) in [1, 16].into_iter().enumerate() {
                let ping = redis::cmd("PING");
                let mut increment = redis::cmd("INCR");
                increment.arg("a counter");
                let took = [
                    command(&connection, ping, callers).await,
                    command(&connection, increment, callers).await,
                    admissions(&store, u64::MAX, callers).await,
                    admissions(&store, 1, callers).await,
                ];
                for (best, took) in best.iter_mut().zip(took) {
                    best[column] = best[column].min(took);
                }
            }
        }
        let names = [
            "`PING`",
            "`INCR`",
            "admitted, and settled behind it",
            "denied",
        ];
        for (name, [one, many]) in names.into_iter().zip(best) {
            let rate = |time: Duration| (CALLS as f64 / time.as_secs_f64()) as u64;
            println!("| {name} | {} | {} |", rate(one), rate(many));
        }
        trips(&connection, &store).await;
    }

    async fn admit(store: &RedisStore, requests: u64) -> bool {
        let limit = Limit {
            requests: NonZeroU64::new(requests),
            tokens: NonZeroU64::new(u64::MAX),
        };
        let windows = [WindowSpec::new("", "gpt-4o", Span::Minute, limit)];
        let charge = Charge::new("acme", &windows, Units::new(1, 500));
        match store.reserve(&charge).await.unwrap() {
            Decision::Granted { held, .. } => {
                store.settle(held, Units::new(1, 100));
                true
            }
            Decision::Denied(_) => false,
        }
    }

    async fn admissions(store: &RedisStore, requests: u64, callers: usize) -> Duration {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let store = store.clone();
            tasks.spawn(async move {
                for _ in 0..CALLS / callers {
                    assert_eq!(admit(&store, requests).await, requests > 1);
                }
            });
        }
        tasks.join_all().await;
        start.elapsed()
    }

    async fn command(connection: &MultiplexedConnection, command: Cmd, callers: usize) -> Duration {
        let start = Instant::now();
        let command = Arc::new(command);
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (mut connection, command) = (connection.clone(), Arc::clone(&command));
            tasks.spawn(async move {
                for _ in 0..CALLS / callers {
                    let _: redis::Value = command.query_async(&mut connection).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        start.elapsed()
    }

    /// What the server counts: calls of scripts, and how long they took it.
    async fn trips(connection: &MultiplexedConnection, store: &RedisStore) {
        let mut connection = connection.clone();
        while store.queued() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut reset = redis::cmd("CONFIG");
        reset.arg("RESETSTAT");
        let _: redis::Value = reset.query_async(&mut connection).await.unwrap();
        let before = store.settled();
        for _ in 0..CALLS {
            admit(store, 1).await;
        }
        let denied = statistics(&mut connection).await;
        let _: redis::Value = reset.query_async(&mut connection).await.unwrap();
        for _ in 0..CALLS {
            admit(store, u64::MAX).await;
        }
        while store.settled() < before + CALLS as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("\nof scripts, {CALLS} denials:   {denied}");
        let admitted = statistics(&mut connection).await;
        println!("of scripts, {CALLS} admissions and their settlements: {admitted}");
    }

    async fn statistics(connection: &mut MultiplexedConnection) -> String {
        let mut info = redis::cmd("INFO");
        info.arg("commandstats");
        let text: String = info.query_async(connection).await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha"));
        line.unwrap().to_owned()
    }
}
