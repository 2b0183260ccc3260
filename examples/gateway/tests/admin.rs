//! What operators see, and nobody else.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use support::{Caller, ask, ask_streamed, raw, raw_head, start};
use tokio::{
    net::TcpStream,
    time::{Duration, Instant, sleep},
};

#[tokio::test]
async fn calls_refusals_and_streams_are_counted() {
    let gateway = start("").await;
    let admin = Caller::at(gateway.admin_address().unwrap());
    let caller = Caller::new(&gateway);
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
    caller.chat("us", &ask_streamed("Hello")).await;
    caller.chat("us", &ask_streamed("Hello !cut")).await;
    let mut left = caller
        .open(caller.chat_request("us", &ask_streamed("Hello !slow")))
        .await;
    left.body_mut().frame().await.unwrap().unwrap();
    drop(left);
    let mut wrong = caller.clone();
    wrong.key = "sk-wrong";
    wrong.chat("eu", &ask("Hello")).await;
    caller.post("/nowhere", "").await;
    let expected = [
        r#"tollgate_requests_total{region="eu",status="200"} 1"#,
        r#"tollgate_requests_total{region="eu",status="401"} 1"#,
        r#"tollgate_requests_total{region="none",status="404"} 1"#,
        r#"tollgate_requests_total{region="us",status="200"} 3"#,
        r#"tollgate_refusals_total{kind="unauthenticated"} 1"#,
        r#"tollgate_refusals_total{kind="not_found"} 1"#,
        r#"tollgate_streams_total{ending="complete"} 1"#,
        r#"tollgate_streams_total{ending="failed"} 1"#,
        r#"tollgate_streams_total{ending="left"} 1"#,
        "tollgate_calls_in_flight 0",
        r#"tollgate_budget_open{workspace="acme",model="gpt-4o"} 0"#,
        r#"tollgate_upstream_attempts_total{region="eu",upstream="sweden",model="gpt-4o"} 1"#,
        r#"tollgate_upstream_attempts_total{region="us",upstream="virginia",model="gpt-4o"} 3"#,
        r#"tollgate_region_cross_dispatches_total{region="eu"} 0"#,
    ];
    // The gateway notices a moment later that a caller has left.
    let started = Instant::now();
    loop {
        let metrics = admin.get("/metrics").await;
        assert_eq!(metrics.status, 200);
        let missing = expected
            .iter()
            .find(|line| !metrics.text().lines().any(|l| l == **line));
        let Some(missing) = missing else { break };
        let waited = started.elapsed();
        assert!(
            waited < Duration::from_secs(5),
            "{missing} is not in\n{}",
            metrics.text()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn it_is_told_on_a_listener_of_its_own() {
    let gateway = start("").await;
    let admin = Caller::at(gateway.admin_address().unwrap());
    let caller = Caller::new(&gateway);
    for path in ["/readyz", "/metrics", "/admin/upstreams"] {
        caller.get(path).await.assert_refusal(404, None);
        assert_eq!(admin.get(path).await.status, 200, "{path}");
    }
    assert_eq!(caller.get("/healthz").await.text(), "ok\n");
    assert_eq!(admin.get("/healthz").await.text(), "ok\n");
    assert_eq!(admin.get("/openai/eu/v1/models").await.status, 404);
    let posted = admin.post("/metrics", "").await;
    assert_eq!(posted.status, 405);
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
    // Before anything has happened, too.
    let metrics = admin.get("/metrics").await;
    for line in [
        "tollgate_panics_total 0",
        r#"tollgate_streams_total{ending="left"} 0"#,
    ] {
        assert!(metrics.text().lines().any(|l| l == line), "{line}");
    }
    let report = admin.get("/admin/upstreams").await;
    assert_eq!(report.header("content-type"), Some("application/json"));
    let deployments = report.json()["deployments"].as_array().unwrap().len();
    assert_eq!(deployments, 6, "three models in two regions");
}

#[tokio::test]
async fn a_gateway_that_stops_is_not_ready() {
    let gateway = start("").await;
    let admin = gateway.admin_address().unwrap();
    let caller = Caller::new(&gateway);
    let stream = caller
        .open(caller.chat_request("eu", &ask_streamed("one !slow")))
        .await;
    let stopping = tokio::spawn(gateway.stop());
    let mut connection = TcpStream::connect(admin).await.unwrap();
    let ready = raw_head(&Method::GET, "/readyz", "");
    while raw(&mut connection, ready.as_bytes()).await.status == 200 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    stopping.await.unwrap();
    assert!(TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn who_is_ready_stays_ready_when_there_is_more_to_load() {
    let config = |model: &str| {
        format!(
            r#"
listen = "127.0.0.1:0"
[[workspaces]]
name = "acme"
api_keys = ["sk-acme-1"]
[models.{model}]
[[regions.eu.upstreams]]
name = "sweden"
kind = "simulated"
"#
        )
    };
    let gateway = support::start_config(&config("gpt-4")).await;
    let admin = Caller::at(gateway.admin_address().unwrap());
    // This model has a vocabulary of its own.
    gateway
        .reload(support::parse(&config("gpt-4o")))
        .await
        .unwrap();
    assert_eq!(admin.get("/readyz").await.text(), "ready\n");
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing() {
    let gateway = start("").await;
    let caller = Caller::new(&gateway);
    // Two upstreams that cannot be: the file's check would have found it, the stack's does too.
    let mut wrong = support::parse(&support::CONFIG.replacen("{}", "", 1));
    let eu = wrong.regions.get_mut("eu").unwrap();
    eu.upstreams.push(eu.upstreams[0].clone());
    assert!(gateway.reload(wrong).await.is_err());
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);

    let other = support::CONFIG
        .replacen("{}", "", 1)
        .replace("sk-acme-1", "sk-acme-2");
    gateway.reload(support::parse(&other)).await.unwrap();
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 401);
    let request = Request::get("/v1/models").header("authorization", "Bearer sk-acme-2");
    assert_eq!(
        caller
            .send(request.body(Full::default()).unwrap())
            .await
            .status,
        200
    );
}
