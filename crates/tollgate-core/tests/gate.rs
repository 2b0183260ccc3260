//! The layer contract, on the service that all gates share.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, request::Parts};
use tollgate_core::{
    Dialect, Fact, Gate, GateLayer, Matcher, Region, Rejection, RejectionKind, Render, RequestId,
    Workspace,
};
use tollgate_testing::{ReadyProbe, ScriptedBody, assert_future, assert_layered, check_body};
use tower::{Layer, Service, ServiceExt};

fn refuse(_: &mut Parts) -> Result<(), Rejection> {
    Err(Rejection::new(RejectionKind::MethodNotAllowed).with_header(
        HeaderName::from_static("allow"),
        HeaderValue::from_static("POST"),
    ))
}

fn admit(head: &mut Parts) -> Result<(), Rejection> {
    head.extensions.insert(Workspace::new("acme"));
    head.extensions.insert(Region::new("eu").unwrap());
    Ok(())
}

#[tokio::test]
async fn an_admitted_request_goes_to_the_ready_service_with_its_facts() {
    let probe = ReadyProbe::new(|request: Request<&'static str>| {
        assert_eq!(*request.body(), "untouched");
        assert_eq!(
            Workspace::of(request.extensions()).unwrap().as_str(),
            "acme"
        );
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("1"));
        Response::new(ScriptedBody::new().data("a").pending().trailers(trailers))
    });
    let service = GateLayer::new(admit).layer(probe);
    assert_layered(&service);
    // Twice through the same handle, as a keep-alive connection does.
    let mut service = service;
    for _ in 0..2 {
        let future = service
            .ready()
            .await
            .unwrap()
            .call(Request::new("untouched"));
        assert_future(&future);
        let response = future.await.unwrap();
        assert_eq!(response.headers()["x-tollgate-region"], "eu");
        assert!(
            response.headers()["x-request-id"]
                .to_str()
                .unwrap()
                .starts_with("req_")
        );
        let received = check_body(response.into_body()).await;
        assert_eq!(received.data, "a");
        assert_eq!(received.trailers.unwrap()["x-checksum"], "1");
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_no_question_of_keys() {
    let blocked = |_: &mut Parts| -> Result<(), Rejection> {
        Err(Rejection::new(RejectionKind::PermissionDenied).with_code("ip_not_authorized"))
    };
    let layer = GateLayer::new(blocked);
    let printed = format!("{layer:?}");
    assert!(printed.contains("what_is_not_allowed"), "{printed}");
    let probe = ReadyProbe::new(|_: Request<()>| Response::new(ScriptedBody::new()));
    let service = layer.layer(probe);
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 403);
    let body = check_body(response.into_body()).await.data;
    let expected = r#"{"error":{"message":"You are not allowed to make this request.","type":"invalid_request_error","param":null,"code":"ip_not_authorized"}}"#;
    assert_eq!(body, expected);

    let request = Request::builder().header("content-type", "application/grpc");
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "7");
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_leaves_the_service_alone() {
    let probe = ReadyProbe::new(|_: Request<ScriptedBody>| Response::new(ScriptedBody::new()));
    let body = ScriptedBody::new().data("secret");
    let watch = body.watch();
    let service = GateLayer::new(refuse).layer(probe.clone());
    let response = service.oneshot(Request::new(body)).await.unwrap();

    assert_eq!(probe.calls(), 0);
    assert_eq!(watch.polls(), 0, "a gate never reads a body");
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(response.headers()["content-type"], "application/json");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::MethodNotAllowed);
    let received = check_body(response.into_body()).await;
    assert!(received.data.starts_with(br#"{"error":{"message":"#));
}

#[tokio::test]
async fn what_does_not_match_passes_untouched() {
    let probe = ReadyProbe::new(|request: Request<()>| {
        assert!(RequestId::of(request.extensions()).is_none());
        Response::new(ScriptedBody::new())
    });
    let layer = GateLayer::new(refuse).when(|head: &Parts| head.method == Method::PUT);
    let response = layer
        .layer(probe.clone())
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().is_empty());
    assert_eq!(probe.calls(), 1);
}

#[tokio::test]
async fn one_call_has_one_id_whoever_answers() {
    let host_id = HeaderValue::from_static("host-1");
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", host_id.clone());

    for inner_refuses in [false, true] {
        let probe = ReadyProbe::new(|_: Request<()>| Response::new(ScriptedBody::new()));
        let inner = GateLayer::new(if inner_refuses { refuse } else { admit }).layer(probe);
        let service = GateLayer::new(admit).layer(inner);

        let mut request = Request::new(());
        request
            .extensions_mut()
            .insert(RequestId::from_header(&headers).unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        // The host that chose the id prints it itself, unless the answer is ours.
        let printed = response.headers().get("x-request-id");
        assert_eq!(printed, inner_refuses.then_some(&host_id));

        let response = service.oneshot(Request::new(())).await.unwrap();
        let ids: Vec<_> = response.headers().get_all("x-request-id").iter().collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(response.headers()["x-tollgate-region"], "eu");
    }
}

#[tokio::test]
async fn the_look_of_a_refusal_is_the_users() {
    let render = |rejection: &Rejection, _: Dialect| {
        let mut response = Response::new(Bytes::from("no"));
        *response.status_mut() = rejection.status();
        response
    };
    let probe = ReadyProbe::new(|_: Request<()>| Response::new(ScriptedBody::new()));
    let service = GateLayer::new(refuse).render(render).layer(probe);
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(check_body(response.into_body()).await.data, "no");
}

#[tokio::test]
async fn a_missing_fact_is_a_plain_500_whose_detail_names_the_layer() {
    let gate = |head: &mut Parts| Workspace::require(&head.extensions).map(drop);
    let probe = ReadyProbe::new(|_: Request<()>| Response::new(ScriptedBody::new()));
    let response = GateLayer::new(gate)
        .layer(probe)
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
    let detail = response
        .extensions()
        .get::<Rejection>()
        .unwrap()
        .detail()
        .unwrap()
        .to_owned();
    assert!(
        detail.contains("`Workspace`") && detail.contains("ApiKeyLayer"),
        "{detail}"
    );
    let body = check_body(response.into_body()).await.data;
    assert!(!String::from_utf8_lossy(&body).contains("Workspace"));
}

#[tokio::test]
async fn a_wait_is_printed_in_both_units_and_below_a_minute() {
    use std::time::Duration;
    for (wait, seconds, millis) in [
        (Duration::ZERO, "1", "0"),
        (Duration::from_millis(1_001), "2", "1001"),
        (Duration::from_secs(61), "59", "59900"),
        (Duration::MAX, "59", "59900"),
    ] {
        let gate = move |_: &mut Parts| {
            Err(Rejection::new(RejectionKind::BudgetExceeded).with_retry_after(wait))
        };
        let probe = ReadyProbe::new(|_: Request<()>| Response::new(ScriptedBody::new()));
        let response = GateLayer::new(gate)
            .layer(probe)
            .oneshot(Request::new(()))
            .await
            .unwrap();
        assert_eq!(response.headers()["retry-after"], seconds);
        assert_eq!(response.headers()["retry-after-ms"], millis);
    }
}

#[tokio::test]
async fn rules_that_are_shared_are_rules() {
    // Types that a struct can name, whatever the rules are.
    let gate: Arc<dyn Gate + Send + Sync> = Arc::new(refuse);
    let matcher: Arc<dyn Matcher + Send + Sync> =
        Arc::new(|head: &Parts| head.method == Method::POST);
    let render: Arc<dyn Render + Send + Sync> =
        Arc::new(|_: &Rejection, _: Dialect| Response::new(Bytes::from_static(b"no")));
    let service = GateLayer::new(gate)
        .when(matcher)
        .render(render)
        .layer(ReadyProbe::new(|_: Request<()>| {
            Response::new(ScriptedBody::new().data("yes"))
        }));
    assert_layered(&service);
    for (method, body) in [(Method::GET, "yes"), (Method::POST, "no")] {
        let request = Request::builder().method(method).body(()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(check_body(response.into_body()).await.data, body);
    }
}
