//! Which failures move a call on to another upstream, how often, and for how long.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{future::Future, num::NonZeroU32, pin::pin, task::Poll, time::Duration};

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance, sleep};
use tollgate_core::{Rejection, RejectionKind, UpstreamFault};
use tollgate_region::{BreakerState, Fault, Upstream, UpstreamLayer, Upstreams};
use tollgate_testing::ScriptedBody;
use tower::{Layer, ServiceExt};

use support::*;

const SECOND: Duration = Duration::from_secs(1);

/// `first` is always asked first.
fn two() -> Upstreams {
    eu([azure("first", "eu"), azure("second", "eu").priority(1)])
}

fn fault(status: u16) -> Reaction {
    let status = StatusCode::from_u16(status).unwrap();
    let mut answer = Response::new(ScriptedBody::new().data("rendered inside"));
    let fault = UpstreamFault::new(status, "server_error", "m");
    answer.extensions_mut().insert(Rejection::from(&fault));
    answer.extensions_mut().insert(fault);
    Reaction::Answer(answer)
}

fn own_rejection() -> Reaction {
    let mut answer = Response::new(ScriptedBody::new().data("rendered inside"));
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    let rejection = Rejection::new(RejectionKind::UpstreamFailed);
    answer.extensions_mut().insert(rejection);
    Reaction::Answer(answer)
}

#[tokio::test(start_paused = true)]
async fn some_failures_move_on_and_others_never() {
    let html = || answer_with(200, &[("content-type", "text/html")], "<html>");
    let quota = r#"{"error":{"message":"m","type":"insufficient_quota","code":null}}"#;
    let busy = || answer_with(503, &[("retry-after", "1")], "");
    let moves = [
        Reaction::Break(Fault::Connect),
        Reaction::Break(Fault::BeforeHead),
        Reaction::Hang,
        answer(402, ""),
        answer(
            404,
            r#"{"error":{"code":"DeploymentNotFound","message":"m"}}"#,
        ),
        answer(408, ""),
        answer(429, ""),
        answer(429, quota),
        answer(500, ""),
        answer(501, ""),
        answer(502, "<html>"),
        answer(503, ""),
        busy(),
        answer(504, ""),
        answer(529, ""),
        answer(599, ""),
        html(),
        fault(500),
        fault(429),
        fault(408),
    ];
    let stays = [
        (Reaction::Break(Fault::Other), 502),
        (answer(201, "{}"), 502),
        (answer(204, ""), 502),
        (answer(304, ""), 502),
        (answer(307, ""), 502),
        (answer(400, ""), 400),
        (answer(401, ""), 502),
        (answer(403, ""), 502),
        (answer(409, ""), 502),
        (answer(413, ""), 413),
        (answer(422, ""), 422),
        (answer(431, ""), 502),
        (answer(999, ""), 502),
        (fault(400), 400),
        (fault(401), 502),
        (own_rejection(), 502),
        (ok(), 200),
    ];
    let moves = moves.into_iter().map(|reaction| (reaction, 200, true));
    let stays = stays
        .into_iter()
        .map(|(reaction, status)| (reaction, status, false));
    for (at, (reaction, status, moved)) in moves.chain(stays).enumerate() {
        let mut reaction = Some(reaction);
        let client = Client::new(move |_| reaction.take().unwrap_or_else(ok));
        let upstreams = eu([
            azure("first", "eu").head_timeout(SECOND),
            azure("second", "eu").priority(1),
        ]);
        let service = layer(&upstreams).layer(client.clone());
        let (head, _) = read(service.oneshot(call("eu")).await.unwrap()).await;
        assert_eq!(head.status(), status, "case {at}");
        let hosts: &[&str] = match moved {
            true => &["first.test", "second.test"],
            false => &["first.test"],
        };
        assert_eq!(client.hosts(), hosts, "case {at}");
        let last = if moved { "second" } else { "first" };
        assert_eq!(head.headers()["x-tollgate-upstream"], last, "case {at}");
        let region = &upstreams.region_status()[0];
        assert_eq!(
            (region.calls, region.retries),
            (1, u64::from(moved)),
            "case {at}"
        );
    }
}

#[tokio::test]
async fn the_last_failure_is_the_answer() {
    let client = Client::new(|seen| match seen.host() {
        "a.test" => answer(500, ""),
        "b.test" => answer_with(429, &[("retry-after", "7")], ""),
        _ => Reaction::Break(Fault::Connect),
    });
    let pool = ["a", "b", "c"].into_iter().zip(0..);
    let upstreams = eu(pool.map(|(name, priority)| azure(name, "eu").priority(priority)));
    for (attempts, status) in [(0, 500), (1, 500), (2, 429), (3, 502), (9, 502)] {
        let fresh = ["a", "b", "c"].into_iter().zip(0..);
        let fresh = eu(fresh.map(|(name, priority)| azure(name, "eu").priority(priority)));
        let service = layer(&fresh).attempts(attempts).layer(client.clone());
        let (head, _) = read(service.oneshot(call("eu")).await.unwrap()).await;
        assert_eq!(head.status(), status);
        // No deployment is tried twice.
        assert_eq!(client.forget().len(), attempts.clamp(1, 3));
    }
    drop(upstreams);
}

#[tokio::test]
async fn without_a_replayable_body_there_is_one_attempt() {
    let client = Client::new(|_| answer(503, ""));
    let upstreams = two();
    let service = layer(&upstreams).layer(client.clone());
    let (head, _) = read(service.oneshot(unread("eu")).await.unwrap()).await;
    assert_eq!(head.status(), 503);
    let seen = client.only();
    assert_eq!(seen.body, JSON, "the caller's own body is sent");
    let region = &upstreams.region_status()[0];
    assert_eq!((region.not_replayable, region.retries), (1, 0));
}

#[tokio::test]
async fn nothing_is_tried_again_once_the_head_is_handed_on() {
    for body in [
        ScriptedBody::new().error(),
        ScriptedBody::new().data("data: {}\n\n").error(),
    ] {
        let mut body = Some(body);
        let client = Client::new(move |_| {
            let body = body.take().unwrap();
            Reaction::Answer(Response::new(body))
        });
        let upstreams = two();
        let service = layer(&upstreams).layer(client.clone());
        let answer = service.oneshot(call("eu")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.into_body().collect().await.is_err());
        assert_eq!(client.hosts(), ["first.test"]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_clock_covers_all_attempts() {
    let all = |head_timeout: u64| {
        let names = ["a", "b", "c", "d"].into_iter();
        eu(names.map(|name| azure(name, "eu").head_timeout(SECOND * head_timeout as u32)))
    };
    for (own, total, attempts, seconds) in [
        // The third attempt gets what is left.
        (50, 120, 3, 120),
        // The first one uses everything up.
        (120, 120, 1, 120),
        (500, 30, 1, 30),
        // The number of attempts ends it.
        (10, 120, 3, 30),
    ] {
        let client = Client::new(|_| Reaction::Hang);
        let service = layer(&all(own))
            .head_timeout(SECOND * total)
            .layer(client.clone());
        let start = Instant::now();
        let (head, text) = read(service.oneshot(call("eu")).await.unwrap()).await;
        assert_eq!(head.status(), 504);
        assert!(text.contains("upstream_timeout"), "{text}");
        assert_eq!(start.elapsed().as_secs(), seconds, "{own} {total}");
        assert_eq!(client.hosts().len(), attempts);
    }
    // The defaults.
    let client = Client::new(|_| Reaction::Hang);
    let service = layer(&two()).layer(client);
    let start = Instant::now();
    assert_eq!(service.oneshot(call("eu")).await.unwrap().status(), 504);
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn an_errors_body_is_read_under_the_same_clock() {
    let mut reactions = vec![Reaction::Answer(
        Response::builder()
            .status(400)
            .body(ScriptedBody::new().data(r#"{"error""#).hang())
            .unwrap(),
    )];
    let client =
        Client::new(move |_| Reaction::After(SECOND * 2, Box::new(reactions.pop().unwrap())));
    let service = layer(&two()).head_timeout(SECOND * 5).layer(client);
    let start = Instant::now();
    let (head, _) = read(service.oneshot(call("eu")).await.unwrap()).await;
    assert_eq!(head.status(), 400, "the status is known, if not more");
    assert_eq!(start.elapsed(), SECOND * 5);
}

#[tokio::test(start_paused = true)]
async fn bodies_are_under_no_clock_of_this_layer() {
    let client = Client::new(|_| Reaction::Answer(Response::new(ScriptedBody::new().hang())));
    let service = layer(&two()).head_timeout(SECOND).layer(client);
    let answer = service.oneshot(call("eu")).await.unwrap();
    let body = answer.into_body().collect();
    assert!(tokio::time::timeout(SECOND * 1_000, body).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_endless_clock_is_no_overflow() {
    let client = Client::new(|_| Reaction::After(SECOND * 500, Box::new(ok())));
    let upstreams = eu([azure("a", "eu").head_timeout(Duration::MAX)]);
    let service = layer(&upstreams).head_timeout(Duration::MAX).layer(client);
    assert_eq!(service.oneshot(call("eu")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_their_budget() {
    let client = Client::new(|_| answer(503, ""));
    let builder = Upstreams::builder()
        .retries(10, 1, 3)
        .breaker(1_000, SECOND)
        .pool(region("eu"), [azure("a", "eu"), azure("b", "eu")]);
    let upstreams = builder.build().unwrap();
    let service = layer(&upstreams).layer(client.clone());
    let send = |calls: usize| {
        let service = &service;
        let client = client.clone();
        async move {
            for _ in 0..calls {
                let answer = service.clone().oneshot(call("eu")).await.unwrap();
                assert_eq!(answer.status(), 503);
            }
            client.forget().len() - calls
        }
    };
    // What is saved up, and every tenth call.
    assert_eq!(send(1).await, 1);
    assert_eq!(send(102).await, 2 + 10);
    let status = &upstreams.region_status()[0];
    assert_eq!((status.retries, status.retries_denied), (13, 90));
    // One each second in quiet times, and no more than three.
    advance(SECOND * 2).await;
    assert_eq!(send(5).await, 2);
    advance(SECOND * 1_000).await;
    assert_eq!(send(5).await, 3);
    let total: u64 = upstreams
        .status()
        .iter()
        .map(|status| status.attempts)
        .sum();
    let status = &upstreams.region_status()[0];
    assert_eq!(
        total,
        status.calls + status.retries,
        "only what is sent is an attempt"
    );
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_wait_is_a_floor_for_its_rest() {
    for (status_code, headers, rest) in [
        (429, &[][..], 5_000),
        (429, &[("retry-after", "0")], 5_000),
        (429, &[("retry-after", "-1")], 5_000),
        (429, &[("retry-after", "soon")], 5_000),
        (
            429,
            &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")],
            5_000,
        ),
        (429, &[("retry-after", "3")], 5_000),
        (429, &[("retry-after", "30")], 30_000),
        (429, &[("retry-after-ms", "7500")], 7_500),
        (
            429,
            &[("retry-after-ms", "7500"), ("retry-after", "8")],
            7_500,
        ),
        (503, &[("retry-after", "20")], 20_000),
        // A day speaks of the request, and so does whatever is longer.
        (429, &[("retry-after", "86400")], 0),
        (429, &[("retry-after", "1e9")], 0),
        (429, &[("retry-after", "Fri, 21 Oct 2089 07:28:00 GMT")], 0),
        (503, &[("retry-after", "86400")], 5_000),
        (503, &[], 0),
        (500, &[("retry-after", "20")], 0),
    ] {
        let mut first = true;
        let client = Client::new(move |_| match std::mem::take(&mut first) {
            true => answer_with(status_code, headers, ""),
            false => ok(),
        });
        let upstreams = eu([azure("first", "eu")]);
        let service = layer(&upstreams).layer(client.clone());
        let answer = service.clone().oneshot(call("eu")).await.unwrap();
        assert_eq!(answer.status(), status_code);
        let cooldown = status_of(&upstreams, "first").cooldown.unwrap_or_default();
        assert_eq!(cooldown.as_millis(), rest, "{headers:?}");
        if rest > 0 {
            let (head, _) = read(service.clone().oneshot(call("eu")).await.unwrap()).await;
            assert_eq!(head.status(), 429);
            assert!(head.headers().contains_key("retry-after"));
            let wait: u128 = head.headers()["retry-after-ms"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(wait, rest);
            assert_eq!(client.hosts().len(), 1);
        }
        sleep(cooldown).await;
        let answer = service.oneshot(call("eu")).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_lets_one_probe_through() {
    let client = Client::new(|seen| match seen.host() {
        "first.test" => Reaction::After(SECOND, Box::new(answer(500, ""))),
        _ => ok(),
    });
    let upstreams = eu([azure("first", "eu"), azure("second", "eu").priority(1)]);
    let service = layer(&upstreams).layer(client.clone());
    let breaker = || status_of(&upstreams, "first").breaker;
    let send = || {
        let service = service.clone();
        async move { assert_eq!(service.oneshot(call("eu")).await.unwrap().status(), 200) }
    };
    let calls_of_first = || {
        let calls = client.forget();
        calls
            .iter()
            .filter(|seen| seen.host() == "first.test")
            .count()
    };
    for _ in 0..5 {
        assert_eq!(breaker(), BreakerState::Closed);
        send().await;
    }
    assert_eq!(calls_of_first(), 5);

    for _ in 0..3 {
        assert_eq!(breaker(), BreakerState::Open);
        send().await;
        sleep(SECOND * 5 - Duration::from_millis(1)).await;
        send().await;
        assert_eq!(calls_of_first(), 0);

        sleep(Duration::from_millis(1)).await;
        assert_eq!(breaker(), BreakerState::HalfOpen);
        let mut probe = pin!(send());
        assert!(futures_poll(probe.as_mut()).await.is_pending());
        for _ in 0..10 {
            send().await;
        }
        probe.await;
        assert_eq!(calls_of_first(), 1);
    }

    sleep(SECOND * 5).await;
    let healthy = layer(&upstreams).layer(Client::new(|_| ok()));
    assert_eq!(healthy.oneshot(call("eu")).await.unwrap().status(), 200);
    assert_eq!(breaker(), BreakerState::Closed);
}

/// A service whose only upstream has a breaker that has just opened.
async fn broken_and_alone() -> (Upstreams, Client) {
    let upstreams = eu([azure("first", "eu")]);
    let client = Client::new(|_| answer(500, ""));
    for _ in 0..5 {
        let service = layer(&upstreams).layer(client.clone());
        assert_eq!(service.oneshot(call("eu")).await.unwrap().status(), 500);
    }
    let breaker = status_of(&upstreams, "first").breaker;
    assert_eq!(breaker, BreakerState::Open);
    (upstreams, client)
}

#[tokio::test(start_paused = true)]
async fn a_breaker_keeps_nobody_from_the_only_upstream() {
    let (upstreams, client) = broken_and_alone().await;
    client.forget();
    // Failures change nothing: neither for callers, nor for the pause.
    for _ in 0..40 {
        let service = layer(&upstreams).layer(client.clone());
        assert_eq!(service.oneshot(call("eu")).await.unwrap().status(), 500);
    }
    assert_eq!(client.forget().len(), 40);
    assert_eq!(status_of(&upstreams, "first").blocked_for, Some(SECOND * 5));
    // It is back before anybody expects it.
    let healthy = layer(&upstreams).layer(Client::new(|_| ok()));
    assert_eq!(healthy.oneshot(call("eu")).await.unwrap().status(), 200);
    let breaker = status_of(&upstreams, "first").breaker;
    assert_eq!(breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_keeps_nobody_from_the_only_upstream() {
    let (upstreams, _) = broken_and_alone().await;
    sleep(SECOND * 5).await;
    let breaker = || status_of(&upstreams, "first").breaker;
    let slow = layer(&upstreams).layer(Client::new(|_| Reaction::Hang));
    let mut probe = Box::pin(slow.oneshot(call("eu")));
    assert!(futures_poll(probe.as_mut()).await.is_pending());
    assert_eq!(breaker(), BreakerState::HalfOpen);
    let healthy = layer(&upstreams).layer(Client::new(|_| ok()));
    assert_eq!(healthy.oneshot(call("eu")).await.unwrap().status(), 200);
    assert_eq!(breaker(), BreakerState::Closed);
    // Whoever leaves now knows nothing that is newer.
    drop(probe);
    assert_eq!(breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn calls_do_not_pile_up_before_a_broken_upstream() {
    let (upstreams, _) = broken_and_alone().await;
    let client = Client::new(|_| Reaction::Hang);
    let service = layer(&upstreams).layer(client.clone());
    let mut calls: Vec<_> = (0..20)
        .map(|_| Box::pin(service.clone().oneshot(call("eu"))))
        .collect();
    let mut refused = 0;
    for call in &mut calls {
        if let Poll::Ready(answer) = futures_poll(call.as_mut()).await {
            let (head, _) = read(answer.unwrap()).await;
            assert_eq!(head.status(), 503);
            assert_eq!(head.headers()["retry-after"], "5");
            refused += 1;
        }
    }
    assert_eq!((client.forget().len(), refused), (16, 4));
    // Their places are free again when they are left, or the clock strikes.
    drop(calls.split_off(8));
    let mut next = Box::pin(service.clone().oneshot(call("eu")));
    assert!(futures_poll(next.as_mut()).await.is_pending());
    drop(calls);
    drop(next);
    let healthy = layer(&upstreams).layer(Client::new(|_| ok()));
    assert_eq!(healthy.oneshot(call("eu")).await.unwrap().status(), 200);
    assert_eq!(status_of(&upstreams, "first").outstanding, 0);
}

#[tokio::test(start_paused = true)]
async fn retries_are_not_made_in_spite_of_breakers() {
    let upstreams = eu([azure("first", "eu"), azure("second", "eu").priority(1)]);
    let client = Client::new(|_| answer(500, ""));
    let service = layer(&upstreams).layer(client.clone());
    for _ in 0..5 {
        let answer = service.clone().oneshot(call("eu")).await.unwrap();
        assert_eq!(answer.status(), 500);
    }
    assert_eq!(client.forget().len(), 10);
    for name in ["first", "second"] {
        let breaker = status_of(&upstreams, name).breaker;
        assert_eq!(breaker, BreakerState::Open);
    }
    for _ in 0..5 {
        let answer = service.clone().oneshot(call("eu")).await.unwrap();
        assert_eq!(answer.status(), 500);
    }
    assert_eq!(client.hosts(), ["first.test"; 5]);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_flaps_gets_little_more_than_the_calls() {
    for (calls, every) in [(100, 100), (2_000, 10), (6_000, 10)] {
        let start = Instant::now();
        let client = Client::new(move |_| match start.elapsed().as_secs() % 2 {
            0 => answer(503, ""),
            _ => ok(),
        });
        let upstreams = eu(["a", "b", "c"].map(|name| azure(name, "eu")));
        let service = layer(&upstreams).layer(client.clone());
        for _ in 0..calls {
            let answer = service.clone().oneshot(call("eu")).await.unwrap();
            drop(answer);
            sleep(Duration::from_millis(every)).await;
        }
        let attempts = client.hosts().len();
        assert!(
            attempts <= calls + calls / 10 + 10,
            "{attempts} for {calls}"
        );
    }
}

async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[tokio::test(start_paused = true)]
async fn callers_mistakes_open_no_breaker() {
    for status_code in [400, 401, 413, 422, 429] {
        let client = Client::new(move |_| answer(status_code, ""));
        let upstreams = Upstreams::builder()
            .breaker(2, SECOND)
            .cooldown(Duration::ZERO)
            .pool(region("eu"), [azure("first", "eu")])
            .build()
            .unwrap();
        for _ in 0..10 {
            let service = layer(&upstreams).layer(client.clone());
            let _ = service.oneshot(call("eu")).await.unwrap();
        }
        assert_eq!(client.hosts().len(), 10, "{status_code}");
        assert_eq!(status_of(&upstreams, "first").failures, 0);
    }
}

#[tokio::test]
async fn lower_priorities_wait_for_their_turn() {
    let mut upstreams: Vec<_> = (0..5).map(|n| azure(&format!("first{n}"), "eu")).collect();
    upstreams.push(azure("last", "eu").priority(9).weight(NonZeroU32::MAX));
    let upstreams = eu(upstreams);
    let client = Client::new(|seen| match seen.host() {
        "last.test" => ok(),
        _ => answer_with(429, &[("retry-after", "60")], ""),
    });
    let service = layer(&upstreams).attempts(2).layer(client.clone());
    for _ in 0..4 {
        let answer = service.clone().oneshot(call("eu")).await.unwrap();
        let _ = answer.status();
    }
    // Two by two the first ones are used up, and only then comes the last.
    let hosts = client.hosts();
    let at_last = hosts.iter().position(|host| host == "last.test");
    assert_eq!(at_last, Some(5), "{hosts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_upstream_gets_fewer_calls() {
    let upstreams = eu(["slow", "fast"].map(|name| azure(name, "eu")));
    let client = Client::new(|seen| match seen.host() {
        "slow.test" => Reaction::After(SECOND, Box::new(ok())),
        _ => Reaction::After(SECOND / 20, Box::new(ok())),
    });
    let service = layer(&upstreams).layer(client);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let answer = service.clone().oneshot(call("eu"));
        // A call is outstanding until its body is dropped.
        tasks.spawn(async { drop(answer.await) });
        sleep(SECOND / 100).await;
    }
    tasks.join_all().await;
    let slow = status_of(&upstreams, "slow").attempts;
    assert!((20..200).contains(&slow), "{slow}");
}

#[tokio::test]
async fn an_unclassified_error_is_not_tried_again() {
    let client = Client::new(|_| Reaction::Break(Fault::Connect));
    let service = UpstreamLayer::new(two()).layer(client.clone());
    let (head, text) = read(service.oneshot(call("eu")).await.unwrap()).await;
    assert_eq!(head.status(), 502);
    assert!(!text.contains("sweden") && !text.contains("http"), "{text}");
    assert_eq!(client.hosts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_follows_another_goes_on_from_it() {
    let client = Client::new(|seen| match seen.host() {
        "a.test" => answer(500, ""),
        "b.test" => answer_with(429, &[("retry-after", "60")], ""),
        _ => ok(),
    });
    let before = Upstreams::builder().breaker(1, SECOND * 60);
    let before = before.pool(region("eu"), ["a", "b"].map(|name| azure(name, "eu")));
    let before = before.build().unwrap();
    sleep(SECOND).await;
    let service = layer(&before).layer(client.clone());
    assert_ne!(service.oneshot(call("eu")).await.unwrap().status(), 200);

    let moved = Upstream::azure("b", region("eu"), "http://elsewhere.test", "k");
    let after = Upstreams::builder().following(&before);
    let after = after.pool(
        region("eu"),
        [azure("a", "eu"), moved.deployment("gpt-4o", "d")],
    );
    let after = after.build().unwrap();
    let a = status_of(&after, "a");
    assert_eq!(
        (a.breaker, a.attempts, a.failures),
        (BreakerState::Open, 1, 1)
    );
    assert_eq!(a.blocked_for, Some(SECOND * 60));
    // What moved elsewhere is another deployment.
    let b = status_of(&after, "b");
    assert_eq!(
        (b.breaker, b.attempts, b.cooldown),
        (BreakerState::Closed, 0, None)
    );
    client.forget();
    let service = layer(&after).layer(client.clone());
    assert_eq!(service.oneshot(call("eu")).await.unwrap().status(), 200);
    assert_eq!(client.hosts(), ["elsewhere.test"]);
    let regions = [&before, &after].map(|set| set.region_status()[0].calls);
    assert_eq!(regions, [2, 2]);
}

// One such call in five seconds, which costs its caller nothing, would keep everybody out.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_rests_nobody() {
    let azures = answer_with(429, &[("retry-after", "86400")], "");
    let openais = answer(
        429,
        r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40012.","type":"tokens","code":"rate_limit_exceeded"}}"#,
    );
    let mut too_large = [azures, openais].into_iter();
    let client = Client::new(move |seen| match seen.host() {
        "small.test" => too_large.next().unwrap_or_else(ok),
        _ => ok(),
    });
    let upstreams = eu([azure("small", "eu"), azure("large", "eu").priority(1)]);
    let service = layer(&upstreams).layer(client.clone());
    for _ in 0..2 {
        let answer = service.clone().oneshot(call("eu")).await.unwrap();
        assert_eq!(answer.status(), 200, "another one may have the quota");
        assert_eq!(status_of(&upstreams, "small").cooldown, None);
    }
    let answer = service.oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let hosts = [
        "small.test",
        "large.test",
        "small.test",
        "large.test",
        "small.test",
    ];
    assert_eq!(client.hosts(), hosts);
}
