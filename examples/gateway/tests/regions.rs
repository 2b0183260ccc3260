//! A call stays in its region, whatever happens there.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gateway::Gateway;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use support::{
    ACME, Caller, KEY, ask, ask_streamed, start_config,
    upstream::{Sent, completion, short_stream, stream},
};
use tollgate_stack_tests::{Latch, Reply, ScriptedUpstream, chunk};

/// Two upstreams in eu, of which the second takes over, and one in us.
async fn gateway(
    first: &ScriptedUpstream,
    second: &ScriptedUpstream,
    us: &ScriptedUpstream,
) -> Gateway {
    start_config(&config(&first.url(), second, us)).await
}

fn config(first: &str, second: &ScriptedUpstream, us: &ScriptedUpstream) -> String {
    let [second, us] = [second, us].map(ScriptedUpstream::url);
    format!(
        r#"{ACME}
[[regions.eu.upstreams]]
name = "first"
url = "{first}"
api_key = "key-of-first"
deployments = {{ gpt-4o = "deployment-1" }}
timeouts = {{ head_ms = 300 }}
[[regions.eu.upstreams]]
name = "second"
kind = "azure-v1"
url = "{second}/prefix"
api_key = "key-of-second"
deployments = {{ gpt-4o = "deployment-2" }}
priority = 1
[[regions.us.upstreams]]
name = "third"
kind = "openai"
url = "{us}/v1"
api_key = "key-of-third"
deployments = {{ gpt-4o = "gpt-4o-2024-11-20" }}
"#
    )
}

async fn healthy() -> ScriptedUpstream {
    ScriptedUpstream::in_turn([completion(8, 1)]).await
}

async fn failing(status: u16) -> ScriptedUpstream {
    let error = json!({"error": {"message": "Sorry", "code": "x"}});
    ScriptedUpstream::in_turn([Reply::json(error).status(status)]).await
}

#[tokio::test]
async fn what_an_upstream_is_sent_is_its_own() {
    let (first, us) = (healthy().await, healthy().await);
    let gateway = gateway(&first, &ScriptedUpstream::refusing(), &us).await;
    let caller = Caller::new(&gateway);
    let request = |region: &str| {
        Request::post(format!("/openai/{region}/v1/chat/completions"))
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .header("api-key", "sk-callers")
            .header("cookie", "session=1")
            .header("x-forwarded-for", "192.0.2.1")
            .header("openai-organization", "org")
            .header("x-stainless-lang", "js")
            .header("user-agent", "a-client/1")
            .body(Full::new(Bytes::from(ask("Hello").to_string())))
            .unwrap()
    };
    let answer = caller.send(request("eu")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let [seen] = &first.take_received()[..] else {
        panic!("not one request")
    };
    assert_eq!(
        seen.uri().to_string(),
        "/openai/deployments/deployment-1/chat/completions?api-version=2024-10-21"
    );
    assert_eq!(seen.headers()["api-key"], "key-of-first");
    assert_eq!(seen.headers()["accept-encoding"], "identity");
    assert_eq!(seen.headers()["user-agent"], "a-client/1");
    assert_eq!(
        seen.headers()["x-ms-client-request-id"],
        answer.header("x-request-id").unwrap()
    );
    assert_eq!(seen.body(), &ask("Hello").to_string());
    for name in [
        "authorization",
        "cookie",
        "x-forwarded-for",
        "openai-organization",
    ] {
        assert!(!seen.headers().contains_key(name), "{name}");
    }
    assert!(
        seen.headers()
            .keys()
            .all(|name| !name.as_str().starts_with("x-stainless"))
    );

    let answer = caller.send(request("us")).await;
    assert_eq!(answer.header("x-tollgate-upstream"), Some("third"));
    let [seen] = &us.take_received()[..] else {
        panic!("not one request")
    };
    assert_eq!(seen.uri().to_string(), "/v1/chat/completions");
    assert_eq!(seen.headers()["authorization"], "Bearer key-of-third");
    assert!(!seen.headers().contains_key("api-key"));
    assert_eq!(seen.json()["model"], "gpt-4o-2024-11-20");
}

#[tokio::test]
async fn what_fails_before_its_answer_moves_within_the_region() {
    for fault in [404, 408, 429, 500, 502, 503] {
        let first = failing(fault).await;
        assert_moves(&first, healthy().await, &fault.to_string(), false).await;
    }
    let refusing = ScriptedUpstream::refusing();
    assert_moves(&refusing, healthy().await, "no connection", false).await;
    for (what, fault) in [
        (
            "an error as first event",
            Reply::sse([json!({"error": {"message": "no"}})]),
        ),
        ("silence", Reply::sse([""; 0]).stall()),
        ("no head", Reply::silence()),
        ("an end before the head", Reply::hang_up()),
        ("a reset before the head", Reply::abort()),
    ] {
        let first = ScriptedUpstream::in_turn([fault]).await;
        let second = ScriptedUpstream::in_turn([short_stream()]).await;
        assert_moves(&first, second, what, true).await;
    }
}

async fn assert_moves(
    first: &ScriptedUpstream,
    second: ScriptedUpstream,
    what: &str,
    stream: bool,
) {
    let us = healthy().await;
    let gateway = gateway(first, &second, &us).await;
    let request = if stream {
        ask_streamed("Hello")
    } else {
        ask("Hello")
    };
    let answer = Caller::new(&gateway).chat("eu", &request).await;
    assert_eq!(answer.status, 200, "{what}: {answer:?}");
    assert_eq!(
        answer.header("x-tollgate-upstream"),
        Some("second"),
        "{what}"
    );
    let [seen] = &second.take_received()[..] else {
        panic!("{what}: not one request")
    };
    assert_eq!(seen.uri().to_string(), "/prefix/openai/v1/chat/completions");
    assert_eq!(seen.headers()["api-key"], "key-of-second");
    assert_eq!(seen.json()["model"], "deployment-2");
    assert_eq!(
        answer.header("x-ratelimit-remaining-requests"),
        Some("499"),
        "{what}"
    );
    assert!(us.received().is_empty(), "{what}");
    assert_eq!(us.accepted(), 0, "{what}");
}

#[tokio::test]
async fn a_region_that_is_down_is_down() {
    let us = healthy().await;
    let refusing = ScriptedUpstream::refusing;
    for (first, second, status) in [
        (refusing(), refusing(), 502),
        (failing(500).await, failing(500).await, 500),
    ] {
        let gateway = gateway(&first, &second, &us).await;
        let caller = Caller::new(&gateway);
        for attempt in 0..30 {
            let answer = caller.chat("eu", &ask("Hello")).await;
            assert!(
                [500, 502, 503].contains(&answer.status.as_u16()),
                "{answer:?}"
            );
            answer.assert_envelope();
            assert_eq!(answer.header("x-tollgate-region"), Some("eu"));
            assert!(us.received().is_empty(), "attempt {attempt} reached us");
            assert_eq!(us.connections(), 0);
        }
        // Breakers are open by now. Where all are, the best upstream is tried all the same: it
        // may be back.
        let answer = caller.chat("eu", &ask("Hello")).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("x-tollgate-upstream"), Some("first"));
        // The other region has not noticed.
        assert_eq!(caller.chat("us", &ask("Hello")).await.status, 200);
        drop(us.take_received());

        let admin = Caller::at(gateway.admin_address().unwrap());
        let report = admin.get("/admin/upstreams").await.json();
        let state = |name: &str| -> Value {
            let deployments = report["deployments"].as_array().unwrap();
            deployments
                .iter()
                .find(|of| of["upstream"] == name)
                .unwrap()
                .clone()
        };
        assert_eq!(state("first")["breaker"], "open", "{report}");
        assert_eq!(state("third")["failures"], 0, "{report}");
        let text = admin.get("/metrics").await;
        for line in [
            "tollgate_region_cross_dispatches_total{region=\"eu\"} 0",
            "tollgate_upstream_breaker_open{region=\"eu\",upstream=\"first\",model=\"gpt-4o\"} 1",
        ] {
            assert!(text.text().contains(line), "{line}");
        }
        for secret in ["key-of", "127.0.0.1", "deployment-2"] {
            assert!(!text.text().contains(secret) && !report.to_string().contains(secret));
        }
        drop(caller);
        gateway.stop().await;
        us.disconnected().await;
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_shakes_no_hands_is_not_waited_for() {
    // The system accepts, and nobody ever answers the hello.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", mute.local_addr().unwrap());
    let (second, us) = (healthy().await, healthy().await);
    let text = config(&url, &second, &us);
    // Long enough for the test to be over first.
    let clocks = "connect_ms = 200, head_ms = 60_000";
    let gateway = start_config(&text.replace("head_ms = 300", clocks)).await;
    let answer = Caller::new(&gateway).chat("eu", &ask("Hello")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-tollgate-upstream"), Some("second"));
    let admin = Caller::at(gateway.admin_address().unwrap());
    let report = admin.get("/admin/upstreams").await.json();
    assert_eq!(report["deployments"][0]["failures"], 1, "{report}");
}

#[tokio::test]
async fn a_reload_forgets_nothing_of_upstreams() {
    let (broken, second) = (failing(500).await, healthy().await);
    let us = healthy().await;
    let gateway = gateway(&broken, &second, &us).await;
    let caller = Caller::new(&gateway);
    for _ in 0..5 {
        assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
    }
    assert_eq!(broken.take_received().len(), 5, "its breaker is open now");

    let changed = config(&broken.url(), &second, &us).replace("= 300", "= 301");
    gateway.reload(support::parse(&changed)).await.unwrap();
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
    assert!(broken.received().is_empty(), "its breaker is still open");

    let admin = Caller::at(gateway.admin_address().unwrap());
    let metrics = admin.get("/metrics").await;
    for line in [
        "tollgate_upstream_attempts_total{region=\"eu\",upstream=\"first\",model=\"gpt-4o\"} 5",
        "tollgate_upstream_failures_total{region=\"eu\",upstream=\"first\",model=\"gpt-4o\"} 5",
        "tollgate_upstream_attempts_total{region=\"eu\",upstream=\"second\",model=\"gpt-4o\"} 6",
        "tollgate_upstream_breaker_open{region=\"eu\",upstream=\"first\",model=\"gpt-4o\"} 1",
        "tollgate_region_retries_total{region=\"eu\"} 5",
    ] {
        assert!(metrics.text().contains(line), "{line} {}", metrics.text());
    }
}

#[tokio::test]
async fn a_reload_under_load_drops_nothing_and_keeps_connections() {
    const CALLERS: usize = 8;
    let (first, second, us) = (healthy().await, healthy().await, healthy().await);
    let gateway = gateway(&first, &second, &us).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (caller, stopped) = (Caller::new(&gateway), stopped.clone());
        callers.spawn(async move {
            let mut calls = 0;
            while !*stopped.borrow() {
                let answer = caller.chat("eu", &ask("Hello")).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                calls += 1;
            }
            calls
        });
    }
    let mut called = 0;
    for head_ms in 301..321 {
        let changed = config(&first.url(), &second, &us);
        let changed = changed.replace("= 300", &format!("= {head_ms}"));
        gateway.reload(support::parse(&changed)).await.unwrap();
        // As many calls come after it as there are callers.
        called += first.take_received().len();
        first.called(called + CALLERS).await;
    }
    stop.send_replace(true);
    for calls in callers.join_all().await {
        assert!(calls > 0);
    }
    // A call may begin to connect and find a free connection meanwhile.
    assert!(first.accepted() <= 2 * CALLERS, "{}", first.accepted());
}

#[tokio::test]
async fn a_stream_whose_end_comes_late_costs_no_connection() {
    let end = Arc::new(Mutex::new(Latch::new()));
    let latch = Arc::clone(&end);
    let first = ScriptedUpstream::start(move |_| {
        let events = format!("data: {}\n\ndata: [DONE]\n\n", chunk("Hello", Some("stop")));
        let end = Latch::new();
        *latch.lock().unwrap() = end.clone();
        let length = events.len();
        stream([Bytes::from(events)]).hold_at(length, &end)
    })
    .await;
    let (second, us) = (healthy().await, healthy().await);
    let gateway = gateway(&first, &second, &us).await;
    let caller = Caller::new(&gateway);
    // When the gateway has read the end is nobody's business, so that it may come too late for one
    // call or the other.
    for _ in 0..100 {
        let before = first.accepted();
        let answer = caller.chat("eu", &ask_streamed("Hello")).await;
        assert!(answer.events().1, "it has come to its end: {answer:?}");
        if first.accepted() == before {
            return;
        }
        end.lock().unwrap().open();
        first.idle().await;
    }
    panic!("each call had a connection of its own");
}

#[tokio::test]
async fn nothing_but_the_path_chooses_a_region() {
    let (first, us) = (healthy().await, healthy().await);
    let gateway = gateway(&first, &ScriptedUpstream::refusing(), &us).await;
    let caller = Caller::new(&gateway);
    let body = ask("Hello").to_string();
    for (name, value) in [
        ("x-tollgate-region", "us"),
        ("x-tollgate-upstream", "third"),
        ("x-region", "us"),
        ("host", "us.example.com"),
        ("forwarded", "host=us"),
        ("x-forwarded-host", "us"),
        ("x-forwarded-prefix", "/openai/us"),
        ("x-original-url", "/openai/us/v1/chat/completions"),
        ("x-http-method-override", "GET"),
    ] {
        let request = Request::post("/openai/eu/v1/chat/completions?region=us&api-version=us")
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .header(name, value)
            .body(Full::new(Bytes::from(body.clone())))
            .unwrap();
        let answer = caller.send(request).await;
        assert_eq!(
            answer.header("x-tollgate-upstream"),
            Some("first"),
            "{name}"
        );
    }
    for member in ["region", "base_url", "api_base", "upstream", "deployment"] {
        let mut request = ask("Hello");
        request[member] = json!("us");
        let answer = caller.chat("eu", &request).await;
        answer.assert_refusal(400, Some("unknown_parameter"));
    }
    for path in [
        "/openai/us/../eu/v1/chat/completions",
        "/openai/eu/%2e%2e/us/v1/chat/completions",
    ] {
        caller
            .post(path, body.clone())
            .await
            .assert_refusal(404, None);
    }
    assert!(us.received().is_empty());
    assert_eq!(us.accepted(), 0);
}
