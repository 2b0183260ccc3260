//! What becomes of charges when the server, or the line to it, fails.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{future::poll_fn, num::NonZeroU32, pin::pin, task::Poll, time::Duration};

use support::{
    Instance, ask, ask_for, command, eventually, eventually_async, limit, proxy::Proxy, settings,
    used,
};
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, sleep},
};
use tollgate_budget::{
    Charge, Decision, Fallback, MemoryStore, OnFailure, Settled, Span, Store, Units, WindowSpec,
};
use tollgate_budget_redis::{RedisSettings, RedisStore};
use tollgate_testing::RedisServer;

const ONE: Units = Units::new(1, 10);

/// As a gateway has it.
fn usual(url: &str) -> RedisSettings {
    RedisSettings::new(url).unwrap()
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for() {
    let server = RedisServer::start();
    let instance = Instance::with(usual(&server.url()));
    instance.connected().await;
    let (open, _) = ask(&instance.store, limit(0, 0), ONE)
        .await
        .unwrap()
        .unwrap();
    server.pause();
    let mut waits = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let error = ask(&instance.store, limit(0, 0), ONE).await.unwrap_err();
        waits.push(start.elapsed());
        let text = error.to_string();
        assert!(text.starts_with("Redis: no"), "{text}");
    }
    // 50 ms, and what a busy machine adds. After five nobody waits.
    assert!(
        waits.iter().all(|wait| *wait < Duration::from_millis(500)),
        "{waits:?}"
    );
    let long = waits
        .iter()
        .filter(|wait| **wait >= Duration::from_millis(40));
    assert!(long.count() <= 6, "{waits:?}");
    assert_eq!(instance.store.failed(), 20);
    assert!(!instance.store.is_connected());
    // Neither who settles.
    assert_eq!(
        instance.store.settle(open, Units::new(1, 7)),
        Settled::Queued
    );

    server.resume();
    instance.connected().await;
    // It has forgotten nothing.
    assert_eq!(instance.store.since_loss(), None);
    // What the server was asked while it slept it did when it woke up, and it was given back, in
    // whatever order that came; and what had waited was settled.
    instance.settled(2).await;
    eventually_async(async || used(&instance.store).await == Units::new(1, 7)).await;
    instance.stop().await;
}

#[tokio::test]
async fn a_dead_server_is_found_again_empty() {
    let mut server = RedisServer::start();
    let instance = Instance::with(settings(&server.url()));
    let (open, _) = ask(&instance.store, limit(0, 0), ONE)
        .await
        .unwrap()
        .unwrap();
    let (debtor, _) = ask(&instance.store, limit(0, 0), ONE)
        .await
        .unwrap()
        .unwrap();
    server.kill();
    let start = Instant::now();
    assert!(ask(&instance.store, limit(0, 0), ONE).await.is_err());
    // It says so at once: nobody has to be patient.
    assert!(start.elapsed() < Duration::from_secs(5));
    instance.store.settle(open, Units::ZERO);
    instance.store.settle(debtor, Units::new(1, 15));
    server.start_again();
    instance.connected().await;
    instance.settled(2).await;
    // Nothing is given back that is not there, and debt is debt.
    assert_eq!(used(&instance.store).await, Units::new(0, 5));
    assert!(instance.store.since_loss().unwrap() < Duration::from_secs(20));
    assert!(
        ask(&instance.store, limit(0, 0), ONE)
            .await
            .unwrap()
            .is_ok()
    );
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let mut server = RedisServer::start();
    server.kill();
    let instance = Instance::with(settings(&server.url()));
    let error = ask(&instance.store, limit(0, 0), ONE).await.unwrap_err();
    assert_eq!(error.to_string(), "Redis: connection refused");
    server.start_again();
    instance.connected().await;
    assert!(
        ask(&instance.store, limit(0, 0), ONE)
            .await
            .unwrap()
            .is_ok()
    );
}

#[tokio::test]
async fn without_its_driver_a_store_decides_nothing() {
    let server = RedisServer::start();
    let (store, driver) = usual(&server.url()).build();
    let error = ask(&store, limit(0, 0), ONE).await.unwrap_err();
    assert_eq!(error.to_string(), "Redis: not connected within 50ms");
    drop(driver);
    let error = ask(&store, limit(0, 0), ONE).await.unwrap_err();
    assert_eq!(error.to_string(), "Redis: the driver has ended");
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = RedisServer::start();
    let instance = Instance::at(&server.url());
    for round in 1..=10 {
        command(&server.url(), &["SCRIPT", "FLUSH"]).await;
        let (held, _) = ask(&instance.store, limit(0, 0), ONE)
            .await
            .unwrap()
            .unwrap();
        command(&server.url(), &["SCRIPT", "FLUSH"]).await;
        instance.store.settle(held, Units::new(1, 1));
        instance.settled(round).await;
    }
    assert_eq!((instance.store.failed(), instance.store.lost()), (0, 0));
    assert_eq!(used(&instance.store).await, Units::new(10, 10));
}

#[tokio::test]
async fn a_flushed_server_is_noticed() {
    let server = RedisServer::start();
    let instance = Instance::at(&server.url());
    let (held, _) = ask(&instance.store, limit(0, 0), ONE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(instance.store.since_loss(), None);
    command(&server.url(), &["FLUSHALL"]).await;
    eventually(|| instance.store.since_loss().is_some()).await;
    // What was charged before is not there to be given back.
    let (other, _) = ask(&instance.store, limit(0, 0), ONE)
        .await
        .unwrap()
        .unwrap();
    instance.store.settle(held, Units::ZERO);
    instance.settled(1).await;
    assert_eq!(used(&instance.store).await, ONE);
    instance.store.settle(other, Units::ZERO);
    // And it is noticed once.
    eventually(|| instance.store.since_loss() > Some(Duration::from_millis(1_500))).await;
}

/// The server has done it, and nobody hears of it.
#[tokio::test]
async fn an_answer_lost_with_its_connection_is_asked_for_again() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let instance = Instance::at(&proxy.url());
    let watcher = Instance::at(&server.url());
    for round in 1..=5 {
        instance.connected().await;
        // A connection that does not last is not replaced at once.
        sleep(Duration::from_millis(300)).await;
        proxy.cut_answers(1);
        let answer = ask(&instance.store, limit(round, 0), ONE).await;
        // It may have been the driver's question whose answer was lost; then the line is new.
        let (held, _) = answer.unwrap().unwrap();
        assert_eq!(proxy.left(), 0);
        assert_eq!(used(&watcher.store).await.requests, round);
        sleep(Duration::from_millis(300)).await;
        proxy.cut_answers(1);
        instance.store.settle(held, Units::new(1, 12));
        instance.settled(round).await;
        assert_eq!(used(&watcher.store).await, Units::new(round, 12 * round));
    }
}

/// What was asked first arrives last: after it was given back.
#[tokio::test]
async fn what_was_given_back_is_not_charged_after_that() {
    let server = RedisServer::start();
    let watcher = Instance::at(&server.url());
    watcher.connected().await;
    let instance = Instance::with(usual(&server.url()));
    instance.connected().await;
    for _ in 0..5 {
        server.pause();
        let mut calls = JoinSet::new();
        for _ in 0..10 {
            let store = instance.store.clone();
            calls.spawn(async move { ask(&store, limit(0, 0), ONE).await.is_ok() });
        }
        let admitted = calls.join_all().await;
        server.resume();
        assert!(admitted.iter().all(|is_admitted| !is_admitted));
        instance.connected().await;
    }
    eventually(|| instance.store.queued() == 0).await;
    eventually_async(async || used(&watcher.store).await == Units::ZERO).await;
    instance.stop().await;
    assert_eq!(used(&watcher.store).await, Units::ZERO);
}

#[tokio::test]
async fn wherever_a_call_is_left_nothing_stays_charged() {
    let server = RedisServer::start();
    let instance = Instance::at(&server.url());
    instance.connected().await;
    // From before it is sent until after it is decided, however long the server takes for that.
    let (mut turns, mut left, mut decided) = (0, 0, 0);
    while decided < 3 {
        let mut call = pin!(ask(&instance.store, limit(0, 0), ONE));
        let mut is_ready = false;
        for _ in 0..turns {
            is_ready = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
            if is_ready {
                break;
            }
            // Whatever the others do meanwhile: write, read, hand over.
            yield_now().await;
        }
        if is_ready {
            decided += 1;
        } else {
            left += 1;
        }
        turns += 1 + turns / 16;
    }
    assert!(left > 1, "{left}");
    eventually(|| instance.store.queued() == 0).await;
    eventually_async(async || used(&instance.store).await == Units::ZERO).await;
}

#[tokio::test]
async fn a_full_queue_loses_what_does_not_fit() {
    let server = RedisServer::start();
    let instance = Instance::with(settings(&server.url()).queue(3));
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(
            ask(&instance.store, limit(0, 0), ONE)
                .await
                .unwrap()
                .unwrap()
                .0,
        );
    }
    // Nobody else runs meanwhile.
    let settled = open
        .into_iter()
        .map(|held| instance.store.settle(held, Units::ZERO));
    let settled: Vec<_> = settled.collect();
    assert_eq!(settled[..3], [Settled::Queued; 3]);
    assert_eq!(settled[3..], [Settled::Lost; 7]);
    assert_eq!((instance.store.queued(), instance.store.lost()), (3, 7));
    instance.settled(3).await;
    assert_eq!(used(&instance.store).await, Units::new(7, 70));
}

#[tokio::test]
async fn nobody_is_told_a_password() {
    let secret = "canary53cr3t";
    let mut server = RedisServer::start_with_password(secret);
    let good = Instance::with(settings(&server.url()));
    assert!(ask(&good.store, limit(0, 0), ONE).await.unwrap().is_ok());
    let mut said = format!("{good:?} {:?}", settings(&server.url()));

    let wrong = server.url().replace(secret, "wrongcanary53cr3t");
    let bad = Instance::with(settings(&wrong));
    let error = ask(&bad.store, limit(0, 0), ONE).await.unwrap_err();
    assert!(error.to_string().contains("authentication"), "{error}");
    said += &format!("{error} {error:?}");
    server.kill();
    for instance in [&good, &bad] {
        let error = ask(&instance.store, limit(0, 0), ONE).await.unwrap_err();
        said += &format!("{error} {error:?}");
    }
    for url in [
        "redis://:canary53cr3t@",
        "redis://:canary53cr3t@host:canary53cr3t/",
        "canary53cr3t",
        "http://canary53cr3t@host/",
        "redis://host/canary53cr3t",
        "redis://host/0?protocol=canary53cr3t",
        "redis://:canary53cr3t@0.0.0.0/",
        // Without the feature there is no TLS; with it this process has no cryptography.
        "rediss://:canary53cr3t@host/",
    ] {
        let error = RedisSettings::new(url).unwrap_err();
        said += &format!("{error} {error:?}");
    }
    assert!(!said.contains("canary"), "{said}");
}

/// What the crate's documentation asks an operator to allow is enough.
#[tokio::test]
async fn few_rights_are_enough() {
    let server = RedisServer::start();
    let url = server.url();
    let rights =
        "ACL SETUSER budgets on >pass ~tollgate:* +@connection +eval +evalsha +get +set +del +time";
    command(&url, &rights.split(' ').collect::<Vec<_>>()).await;
    let instance = Instance::with(settings(&url.replace("//", "//budgets:pass@")));
    for actual in [Units::ZERO, Units::new(1, 10), Units::new(1, 100)] {
        let (held, _) = ask(&instance.store, limit(1, 0), ONE)
            .await
            .unwrap()
            .unwrap();
        drop(
            ask(&instance.store, limit(1, 0), ONE)
                .await
                .unwrap()
                .unwrap_err(),
        );
        instance.store.settle(held, actual);
        eventually(|| instance.store.queued() == 0).await;
        command(&url, &["FLUSHALL"]).await;
    }
    instance.settled(3).await;
    assert_eq!(instance.store.lost(), 0);
}

/// What was granted without the server is charged once, however often its answer is lost.
#[tokio::test]
async fn what_is_recorded_is_charged_once() {
    let mut server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let instance = Instance::at(&proxy.url());
    let watcher = Instance::at(&server.url());
    instance.connected().await;
    let windows = [WindowSpec::new("", "gpt-4o", Span::Minute, limit(1, 1))];
    let charge = Charge::new("acme", &windows, ONE);
    let record = || instance.store.record(&charge).unwrap();

    // With a server that serves, and scripts that it has forgotten.
    command(&server.url(), &["SCRIPT", "FLUSH"]).await;
    let (settled, open, given_back) = (record(), record(), record());
    instance.store.settle(settled, Units::new(1, 4));
    drop(given_back);
    instance.settled(5).await;
    assert_eq!(used(&watcher.store).await, Units::new(2, 14));
    instance.store.settle(open, Units::new(1, 16));
    instance.settled(6).await;
    assert_eq!(used(&watcher.store).await, Units::new(2, 20));

    // Answers are lost, and all is told again.
    for _ in 0..3 {
        sleep(Duration::from_millis(300)).await;
        proxy.cut_answers(1);
        let (settled, open) = (record(), record());
        instance.store.settle(settled, Units::new(1, 4));
        instance.store.settle(open, Units::new(1, 26));
        eventually(|| proxy.left() == 0 && instance.store.queued() == 0).await;
        instance.connected().await;
    }
    let all = Units::new(8, 110);
    eventually_async(async || used(&watcher.store).await == all).await;

    // Without a server it waits for one.
    server.kill();
    eventually(|| !instance.store.is_connected()).await;
    let (settled, open) = (record(), record());
    instance.store.settle(settled, Units::new(1, 4));
    assert_eq!(instance.store.queued(), 3);
    server.start_again();
    // It is told before it is asked.
    let (held, standings) = loop {
        if let Ok(answer) = ask(&instance.store, limit(100, 100), ONE).await {
            break answer.unwrap();
        }
        sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(standings.requests.unwrap().remaining, 97);
    assert_eq!(standings.tokens.unwrap().remaining, 76);
    drop((held, open));
    eventually_async(async || used(&watcher.store).await == Units::new(1, 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_granted_without_the_server_others_know() {
    let server = RedisServer::start();
    let instances = NonZeroU32::new(2).unwrap();
    let (store, driver) = usual(&server.url()).build();
    tokio::spawn(driver);
    let gateway = Fallback::new(store, OnFailure::LocalShare { instances });
    let other = Instance::at(&server.url());
    for store in [gateway.primary(), &other.store] {
        eventually(|| store.is_connected()).await;
    }
    server.pause();
    assert_eq!(admitted(std::slice::from_ref(&gateway), 100).await, 50);
    server.resume();
    eventually(|| gateway.primary().is_connected()).await;
    let answer = ask_for(&other.store, "acme", "m", limit(100, 0), Units::new(51, 0)).await;
    assert_eq!(answer.unwrap().unwrap_err().used, 50);
    // The rest is its own, beyond its share.
    assert_eq!(admitted(std::slice::from_ref(&gateway), 100).await, 50);
    assert!(!gateway.is_active());
}

/// Two gateways in a server's bad day: as many are admitted as the promise says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_hold_while_the_server_fails() {
    let mut server = RedisServer::start();
    // A minute of six seconds, so that none ends in between.
    let slot = Duration::from_millis(100);
    let instances = NonZeroU32::new(2).unwrap();
    let gateway = || {
        let (store, driver) = usual(&server.url()).slot(slot).build();
        tokio::spawn(driver);
        Fallback::new(store, OnFailure::LocalShare { instances })
            .local(MemoryStore::new().slot(slot))
    };
    let gateways = [gateway(), gateway()];
    for gateway in &gateways {
        eventually(|| gateway.primary().is_connected()).await;
    }
    // Evenly spread, half of the limit.
    assert_eq!(admitted(&gateways, 50).await, 50);
    server.pause();
    let start = Instant::now();
    let silent = admitted(&gateways, 100).await;
    assert!(silent <= 50, "{silent}");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert!(gateways.iter().all(Fallback::is_active));
    server.kill();
    server.start_again();
    for gateway in &gateways {
        eventually(|| gateway.primary().is_connected()).await;
    }
    // It knows nothing, and would admit a hundred.
    let after = admitted(&gateways, 100).await;
    assert!(start.elapsed() < 60 * slot, "too slow to tell");
    assert!(silent + after <= 50, "{silent} + {after}");
    // A minute later it alone decides, and one may use what the other does not.
    eventually(|| gateways.iter().all(|gateway| !gateway.is_active())).await;
    sleep(61 * slot).await;
    assert_eq!(admitted(&gateways[..1], 150).await, 100);
}

async fn admitted(gateways: &[Fallback<RedisStore>], calls: usize) -> usize {
    let mut admitted = 0;
    for call in 0..calls {
        let windows = [WindowSpec::new("", "m", Span::Minute, limit(100, 0))];
        let charge = Charge::new("acme", &windows, ONE);
        let gateway = &gateways[call % gateways.len()];
        if let Decision::Granted { held, .. } = gateway.reserve(&charge).await.unwrap() {
            admitted += 1;
            gateway.settle(held, ONE);
        }
    }
    admitted
}
