//! Gateways that share a store share budgets, and what they do when it fails.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use gateway::{Gateway, config::Config};
use support::{
    Caller, ask, ask_streamed,
    process::{File, Running},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tollgate_testing::RedisServer;

/// A gateway with this budget, which is ready.
async fn start(server: &RedisServer, budget: &str) -> Gateway {
    let url = server.url();
    support::start(&format!("[budget]\nstore = \"{url}\"\n{budget}\n")).await
}

async fn statuses(gateway: &Gateway, calls: usize) -> [usize; 3] {
    let caller = Caller::new(gateway);
    let mut tasks = JoinSet::new();
    for _ in 0..calls {
        let caller = caller.clone();
        tasks.spawn(async move { caller.chat("eu", &ask("Hello")).await.status.as_u16() });
    }
    let statuses = tasks.join_all().await;
    [200, 429, 503].map(|wanted| statuses.iter().filter(|status| **status == wanted).count())
}

async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let admin = Caller::at(gateway.admin_address().unwrap());
    let metrics = admin.get("/metrics").await;
    let mut lines = metrics.text().lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{}", metrics.text()))
        .parse()
        .unwrap()
}

async fn until(gateway: &Gateway, name: &str, value: u64) {
    let start = Instant::now();
    while metric(gateway, name).await != value {
        assert!(start.elapsed() < Duration::from_secs(20), "{name}");
        sleep(Duration::from_millis(20)).await;
    }
}

const CONNECTED: &str = "tollgate_budget_store_connected";
const BYPASSED: &str = "tollgate_budget_store_bypassed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_admit_what_one_would() {
    let server = RedisServer::start();
    let budget = "store_wait_ms = 20_000\ninstances = 2\nrequests_per_minute = 50\ntokens_per_minute = 1_000_000";
    let gateways = [start(&server, budget).await, start(&server, budget).await];
    for gateway in &gateways {
        until(gateway, CONNECTED, 1).await;
    }
    let (one, other) = tokio::join!(statuses(&gateways[0], 40), statuses(&gateways[1], 40));
    assert_eq!(one[0] + other[0], 50, "{one:?} {other:?}");
    assert_eq!(one[1] + other[1], 30);
    assert_eq!(metric(&gateways[0], BYPASSED).await, 0);

    // A reload changes limits, and forgets nothing.
    let (url, wider) = (server.url(), budget.replace("= 50", "= 52"));
    let wider = format!("[budget]\nstore = \"{url}\"\n{wider}\n");
    let wider = support::parse(&support::CONFIG.replacen("{}", &wider, 1));
    for gateway in &gateways {
        gateway.reload(wider.clone()).await.unwrap();
    }
    assert_eq!(statuses(&gateways[0], 2).await[0], 2);
    assert_eq!(statuses(&gateways[1], 2).await[0], 0);

    // What they leave is settled when they stop: another finds what answers took.
    let [first, second] = gateways;
    first.stop().await;
    second.stop().await;
    let gateway = start(&server, budget).await;
    let refused = Caller::new(&gateway).chat("eu", &ask("Hello")).await;
    refused.assert_refusal(429, Some("rate_limit_exceeded"));
    let left: u64 = refused
        .header("x-ratelimit-remaining-tokens")
        .unwrap()
        .parse()
        .unwrap();
    // 52 calls of far less than what they reserved.
    assert!((1_000_000 - 52 * 100..1_000_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_silent_each_grants_its_share() {
    let mut server = RedisServer::start();
    let budget = "instances = 5\nrequests_per_minute = 50\ntokens_per_minute = 1_000_000";
    let gateway = start(&server, budget).await;
    until(&gateway, CONNECTED, 1).await;
    server.pause();
    let start = Instant::now();
    assert_eq!(statuses(&gateway, 30).await, [10, 20, 0]);
    // Nobody waited for it for long.
    assert!(start.elapsed() < Duration::from_secs(5));
    until(&gateway, CONNECTED, 0).await;
    assert_eq!(metric(&gateway, BYPASSED).await, 1);
    assert_eq!(
        metric(&gateway, "tollgate_budget_store_failed_total").await,
        30
    );
    assert_eq!(
        metric(&gateway, "tollgate_budget_store_replaced_total").await,
        30
    );
    let admin = Caller::at(gateway.admin_address().unwrap());
    let ready = admin.get("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), ready.text()),
        (200, "ready without the store of budgets\n")
    );
    let caller = Caller::new(&gateway);
    let refused = caller.chat("eu", &ask("Hello")).await;
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("10"));

    // It comes back without what was granted meanwhile: the share still holds.
    server.kill();
    server.start_again();
    until(&gateway, CONNECTED, 1).await;
    assert_eq!(statuses(&gateway, 5).await, [0, 5, 0]);
    assert_eq!(metric(&gateway, BYPASSED).await, 1);
    assert_eq!(admin.get("/readyz").await.text(), "ready\n");
}

#[tokio::test]
async fn a_gateway_may_be_closed_or_open() {
    let mut server = RedisServer::start();
    let closed = start(&server, "on_store_failure = \"closed\"").await;
    let open = start(
        &server,
        "on_store_failure = \"open\"\nrequests_per_minute = 3",
    )
    .await;
    for gateway in [&closed, &open] {
        until(gateway, CONNECTED, 1).await;
    }
    server.kill();
    assert_eq!(statuses(&open, 9).await, [9, 0, 0]);
    let caller = Caller::new(&closed);
    let refused = caller.chat("eu", &ask_streamed("Hello")).await;
    let error = refused.assert_refusal(503, None);
    assert!(!error.to_string().contains("Redis"), "{error}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    until(&closed, CONNECTED, 0).await;
    let admin = Caller::at(closed.admin_address().unwrap());
    assert_eq!(admin.get("/readyz").await.status, 503);
    server.start_again();
    until(&closed, CONNECTED, 1).await;
    assert_eq!(admin.get("/readyz").await.text(), "ready\n");
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
}

/// Everything that the process says, while its store works and while it does not.
#[tokio::test]
async fn the_password_of_the_store_is_not_said() {
    let secret = "canary53cr3t";
    let mut server = RedisServer::start_with_password(secret);
    let top = "admin_listen = \"127.0.0.1:0\"\n[budget]\nstore_env = \"BUDGETS\"\ninstances = 2";
    let file = File::new("shared.toml", &support::CONFIG.replacen("{}", top, 1));
    let log = "warn,gateway=trace,redis=trace,tollgate_core=trace";
    let environment = [("BUDGETS", &*server.url()), ("RUST_LOG", log)];
    let running = Running::start_in(&environment, &["--config", file.path()]);
    let caller = Caller::at(running.address);
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
    server.kill();
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
    let said = running.stop().concat();
    assert!(
        said.contains("the store of budgets cannot decide"),
        "{said}"
    );
    assert!(!said.contains(secret), "{said}");
    // Nor by errors of the configuration.
    let config =
        support::CONFIG.replacen("{}", "[budget]\nstore = \"redis://:canary53cr3t@:x\"", 1);
    let error = Config::parse("t", &config, &|_| None).unwrap_err();
    assert!(!format!("{error}{error:?}").contains("canary"), "{error}");
    let config = config.replace("@:x", "@host/\"\non_store_failure = \"closed");
    let config = Config::parse("t", &config, &|_| None).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}
