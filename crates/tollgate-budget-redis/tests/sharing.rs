//! Stores that share one server share one budget, exactly.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{collections::HashSet, sync::Arc, time::Duration};

use support::{Instance, ask, ask_for, command, limit, settings, used, used_of};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tollgate_budget::{Charge, Decision, Dimension, Settled, Span, Store, Units, WindowSpec};
use tollgate_testing::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_600_calls_at_once_500_are_admitted() {
    let server = RedisServer::start();
    let instances = [Instance::at(&server.url()), Instance::at(&server.url())];
    let mut calls = JoinSet::new();
    for call in 0..600 {
        let store = instances[call % 2].store.clone();
        calls.spawn(async move {
            let answer = ask(&store, limit(500, 60_000), Units::new(1, 100))
                .await
                .unwrap();
            answer.map(|(held, _)| store.settle(held, Units::new(1, 100)))
        });
    }
    let outcomes = calls.join_all().await;
    let admitted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(admitted, 500);
    for denial in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(denial.limit, 500);
        let retry = denial.retry.unwrap();
        assert!(retry > Duration::from_secs(50) && retry <= Duration::from_secs(61));
    }
    let one = &instances[0];
    assert_eq!(used(&one.store).await, Units::new(500, 50_000));
}

#[tokio::test]
async fn the_last_token_is_the_last() {
    let server = RedisServer::start();
    let [one, other] = [Instance::at(&server.url()), Instance::at(&server.url())];
    let limit = limit(500, 60_000);
    let (held, _) = ask(&one.store, limit, Units::new(1, 59_999))
        .await
        .unwrap()
        .unwrap();
    let denial = ask(&other.store, limit, Units::new(1, 2))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!((denial.dimension, denial.used), (Dimension::Tokens, 59_999));
    let (last, standings) = ask(&other.store, limit, Units::new(1, 1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(standings.tokens.unwrap().remaining, 0);
    assert_eq!(standings.requests.unwrap().remaining, 498);
    assert!(
        ask(&one.store, limit, Units::new(1, 1))
            .await
            .unwrap()
            .is_err()
    );
    // What one gives back the other may use.
    assert_eq!(
        one.store.settle(held, Units::new(1, 59_900)),
        Settled::Queued
    );
    one.settled(1).await;
    assert!(
        ask(&other.store, limit, Units::new(1, 100))
            .await
            .unwrap()
            .is_err()
    );
    assert!(
        ask(&other.store, limit, Units::new(1, 99))
            .await
            .unwrap()
            .is_ok()
    );
    // Debt counts for all.
    assert_eq!(
        other.store.settle(last, Units::new(1, 1_000)),
        Settled::Queued
    );
    other.settled(2).await;
    // What was asked for just now and dropped was given back.
    assert_eq!(used(&one.store).await, Units::new(2, 60_900));
}

#[tokio::test]
async fn all_windows_or_none() {
    let server = RedisServer::start();
    let [one, other] = [Instance::at(&server.url()), Instance::at(&server.url())];
    let windows = |wide| {
        [
            WindowSpec::new("", "gpt-4o", Span::Minute, limit(wide, 0)),
            WindowSpec::new("", "gpt-4o", Span::Second, limit(wide, 0)),
            WindowSpec::new("user", "joe", Span::Minute, limit(3, 0)),
        ]
    };
    let mut held = Vec::new();
    for call in 0..5 {
        let store = [&one, &other][call % 2].store.clone();
        let windows = windows(100);
        match store
            .reserve(&Charge::new("acme", &windows, Units::new(1, 10)))
            .await
            .unwrap()
        {
            Decision::Granted { held: new, .. } => held.push((store, new)),
            Decision::Denied(denial) => {
                assert_eq!((call > 2, denial.window, denial.used), (true, 2, 3));
            }
        }
    }
    assert_eq!(used(&one.store).await, Units::new(3, 30));
    // Given back in all of them.
    for (store, held) in held {
        store.settle(held, Units::ZERO);
    }
    one.settled(3).await;
    other.settled(1).await;
    assert_eq!(used(&one.store).await, Units::ZERO);
    let windows = windows(3);
    let all = Charge::new("acme", &windows, Units::new(3, 0));
    assert!(matches!(
        other.store.reserve(&all).await,
        Ok(Decision::Granted { .. })
    ));
}

/// I1, by the clocks of callers: a call was admitted at some time between its begin and its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_minute_holds_more_than_the_limit() {
    let server = RedisServer::start();
    let slot = Duration::from_millis(10);
    let minute = slot * 60;
    let instances: Arc<[_]> = (0..2)
        .map(|_| Instance::with(settings(&server.url()).slot(slot)))
        .collect();
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let instances = Arc::clone(&instances);
        callers.spawn(async move {
            let store = &instances[caller % 2].store;
            let mut admitted = Vec::new();
            while start.elapsed() < 4 * minute {
                let begin = start.elapsed();
                let answer = ask(store, limit(40, 0), Units::new(1, 0)).await.unwrap();
                if let Ok((held, _)) = answer {
                    admitted.push((begin, start.elapsed()));
                    store.settle(held, Units::new(1, 0));
                }
            }
            admitted
        });
    }
    let admitted = callers.join_all().await.concat();
    for (begin, _) in &admitted {
        let is_in = |call: &&(Duration, Duration)| call.0 >= *begin && call.1 <= *begin + minute;
        assert!(admitted.iter().filter(is_in).count() <= 40);
    }
    // As much as that was admitted again and again.
    assert!(admitted.len() >= 120, "{}", admitted.len());
}

#[tokio::test]
async fn everything_leaves_by_itself() {
    let server = RedisServer::start();
    let slot = Duration::from_millis(5);
    let instance = Instance::with(settings(&server.url()).slot(slot));
    let windows = [
        WindowSpec::new("", "m", Span::Minute, limit(10, 0)),
        WindowSpec::new("", "m", Span::Second, limit(10, 0)),
    ];
    let mut open = Vec::new();
    for _ in 0..3 {
        let charge = Charge::new("acme", &windows, Units::new(1, 1));
        match instance.store.reserve(&charge).await.unwrap() {
            Decision::Granted { held, .. } => open.push(held),
            Decision::Denied(denial) => panic!("{denial:?}"),
        }
    }
    sleep(62 * slot).await;
    // All but the number by which the server is known.
    let url = server.url();
    support::eventually_async(async || command(&url, &["DBSIZE"]).await == redis::Value::Int(1))
        .await;
    // Too late to give back, but debt is charged.
    let [first, second, third] = <[_; 3]>::try_from(open).unwrap();
    instance.store.settle(first, Units::ZERO);
    instance.store.settle(second, Units::new(1, 1));
    instance.settled(2).await;
    assert_eq!(used_of(&instance.store, "acme", "m").await, Units::ZERO);
    instance.store.settle(third, Units::new(2, 5));
    instance.settled(4).await;
    assert_eq!(
        used_of(&instance.store, "acme", "m").await,
        Units::new(1, 4)
    );
}

#[tokio::test]
async fn names_meet_nowhere() {
    let server = RedisServer::start();
    let instance = Instance::at(&server.url());
    let long = "x".repeat(1 << 16);
    let longer = format!("{long}x");
    let hostile = [
        "",
        "a",
        "a:b",
        "a:",
        ":a",
        "{a}",
        "}",
        "{",
        "a}:{b",
        "%",
        "%7B",
        "#",
        "\0",
        "a\0b",
        "\r\n",
        "\"",
        "'",
        "]]",
        "\u{1F600}",
        "\u{e9}",
        "e\u{301}",
        " ",
        "*",
        "?",
        "[a]",
        "r",
        "m1000000",
        "r:00000000000000000000000000000000",
        &long,
        &longer,
    ];
    let mut used = HashSet::new();
    for (at, workspace) in hostile.iter().enumerate() {
        for (then, name) in hostile.iter().enumerate() {
            let tokens = (at * hostile.len() + then + 1) as u64;
            let cost = Units::new(1, tokens);
            let answer = ask_for(&instance.store, workspace, name, limit(1, 10_000), cost).await;
            let (held, standings) = answer.unwrap().unwrap();
            assert_eq!(standings.tokens.unwrap().remaining, 10_000 - tokens);
            instance.store.settle(held, cost);
        }
    }
    for workspace in hostile {
        for name in hostile {
            assert!(used.insert(used_of(&instance.store, workspace, name).await));
        }
    }
    // Scopes are names as well, and seconds are no minutes.
    let windows = [
        WindowSpec::new("user", "", Span::Minute, limit(1, 0)),
        WindowSpec::new("", "user", Span::Minute, limit(1, 0)),
        WindowSpec::new("", "user", Span::Second, limit(1, 0)),
        WindowSpec::new(":", "", Span::Minute, limit(1, 0)),
        WindowSpec::new("", "::", Span::Minute, limit(1, 0)),
    ];
    let charge = Charge::new("other", &windows, Units::new(1, 0));
    assert!(matches!(
        instance.store.reserve(&charge).await,
        Ok(Decision::Granted { .. })
    ));
}

#[tokio::test]
async fn strangers_with_another_prefix_or_slot_share_nothing() {
    let server = RedisServer::start();
    let url = server.url();
    let [one, other, short] = [
        Instance::at(&url),
        Instance::with(settings(&url).prefix("{other}")),
        Instance::with(settings(&url).slot(Duration::from_millis(500))),
    ];
    for instance in [&one, &other, &short] {
        let answer = ask(&instance.store, limit(1, 0), Units::new(1, 0))
            .await
            .unwrap();
        let (held, _) = answer.unwrap();
        instance.store.settle(held, Units::new(1, 0));
        assert!(
            ask(&instance.store, limit(1, 0), Units::new(1, 0))
                .await
                .unwrap()
                .is_err()
        );
    }
}

#[tokio::test]
async fn what_is_open_when_a_store_goes_is_settled_before_its_driver_ends() {
    let server = RedisServer::start();
    let [one, other] = [Instance::at(&server.url()), Instance::at(&server.url())];
    for _ in 0..1_000 {
        let (held, _) = ask(&one.store, limit(0, 0), Units::new(1, 10))
            .await
            .unwrap()
            .unwrap();
        one.store.settle(held, Units::new(1, 3));
    }
    one.stop().await;
    assert_eq!(used(&other.store).await, Units::new(1_000, 3_000));
}
