//! One call may take several attempts: it is charged once, and never leaves its region.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use http::StatusCode;
use tollgate::{Region, Upstream, UpstreamLayer, Upstreams};
use tollgate_stack_tests::{
    Caller, Layers, ScriptedUpstream, ask_streamed, completion, error, failed_stream, gateway,
    good_upstream, serve,
};

fn upstream(name: &str, region: &Region, at: &ScriptedUpstream) -> Upstream {
    Upstream::azure(name, region.clone(), at.url(), format!("key-of-{name}"))
        .deployment("gpt-4o", format!("{name}-deployment"))
}

/// A gateway with two upstreams for `eu`, of which the second stands in, and one for `us`.
async fn start(
    first: &ScriptedUpstream,
    second: &ScriptedUpstream,
    far: &ScriptedUpstream,
) -> Caller {
    let [eu, us] = ["eu", "us"].map(|name| Region::new(name).unwrap());
    let upstreams = Upstreams::builder()
        .pool(
            eu.clone(),
            [
                upstream("sweden", &eu, first),
                upstream("france", &eu, second).priority(1),
            ],
        )
        .pool(us.clone(), [upstream("virginia", &us, far)])
        .build()
        .unwrap();
    let layers = Layers {
        upstream: UpstreamLayer::new(upstreams),
        ..Layers::to(first)
    };
    Caller::at(serve(gateway(&layers)).await)
}

#[tokio::test]
async fn the_next_attempt_is_the_same_call() {
    for failure in [
        || error(StatusCode::INTERNAL_SERVER_ERROR, "500"),
        || error(StatusCode::NOT_FOUND, "DeploymentNotFound"),
        failed_stream,
    ] {
        let first = ScriptedUpstream::start(move |_| failure()).await;
        let second = good_upstream().await;
        let far = good_upstream().await;
        let caller = start(&first, &second, &far).await;
        let mut body = ask_streamed("Hi?");
        body["model"] = "best".into();
        let answer = caller.chat(&body).await;
        assert_eq!(answer.streamed_text(), "Hello world");
        assert_eq!(answer.headers["x-tollgate-upstream"], "france");
        // One charge for both.
        assert_eq!(answer.number("x-ratelimit-remaining-requests"), 4);

        // The second got what the first got, with its own address and key.
        let [one, two] = [first.received_one(), second.received_one()];
        assert_eq!(one.body(), two.body());
        let sent = std::str::from_utf8(two.body()).unwrap();
        assert!(sent.contains(r#""model":"gpt-4o""#), "{sent}");
        assert!(sent.contains(r#""include_usage":true"#), "{sent}");
        assert!(two.uri().path().contains("/france-deployment/"));
        assert_eq!(two.headers()["api-key"], "key-of-france");
        assert!(far.received().is_empty());
    }
}

#[tokio::test]
async fn a_region_that_fails_is_not_left() {
    let first = ScriptedUpstream::start(|_| error(StatusCode::BAD_GATEWAY, "502")).await;
    let second = ScriptedUpstream::start(|_| error(StatusCode::TOO_MANY_REQUESTS, "429")).await;
    let far = ScriptedUpstream::start(|_| completion("from far away")).await;
    let caller = start(&first, &second, &far).await;
    for _ in 0..4 {
        let answer = caller.chat(&ask_streamed("Hi?")).await;
        assert!(
            answer.status == 429 || answer.status.is_server_error(),
            "{answer:?}"
        );
        assert_eq!(answer.headers["x-tollgate-region"], "eu");
    }
    assert!(!first.received().is_empty() && !second.received().is_empty());
    assert!(far.received().is_empty());
    // None of it was charged.
    let answer = caller.post(
        "/openai/us/v1/chat/completions",
        ask_streamed("Hi?").to_string(),
    );
    assert_eq!(answer.await.number("x-ratelimit-remaining-requests"), 4);
}
