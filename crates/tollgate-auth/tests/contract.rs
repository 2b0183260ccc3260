//! Who is admitted, what the others see, and the layer contract.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use http::{Request, Response, StatusCode, request::Parts};
use tollgate_auth::{ApiKeyLayer, ApiKeys};
use tollgate_core::{Fact, Rejection, RejectionKind, Workspace};
use tollgate_testing::{ReadyProbe, ScriptedBody, assert_future, assert_layered, check_body};
use tower::{Layer, Service, ServiceExt};

fn keys() -> ApiKeys {
    ApiKeys::new()
        .key("sk-acme-1", Workspace::new("acme"))
        .and_then(|keys| keys.key("sk-globex-1", Workspace::new("globex")))
        .unwrap()
}

fn request(authorization: &[&[u8]]) -> Request<&'static str> {
    let mut request = Request::builder();
    for value in authorization {
        request = request.header("authorization", *value);
    }
    request.body("untouched").unwrap()
}

async fn refusal(request: Request<&'static str>) -> (Response<()>, String) {
    let probe = ReadyProbe::new(|_: Request<&'static str>| -> Response<ScriptedBody> {
        panic!("a refused request reached the service")
    });
    let response = ApiKeyLayer::new(keys())
        .layer(probe)
        .oneshot(request)
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = check_body(body).await;
    let text = String::from_utf8(body.data.to_vec()).unwrap();
    (Response::from_parts(head, ()), text)
}

#[tokio::test]
async fn a_key_names_its_workspace() {
    let probe = ReadyProbe::new(|request: Request<&'static str>| {
        assert_eq!(*request.body(), "untouched");
        // Still there for those who need it, but hidden from logs.
        assert_eq!(request.headers()["authorization"], "Bearer sk-globex-1");
        assert!(!format!("{request:?}").contains("sk-globex"));
        let workspace = Workspace::of(request.extensions()).unwrap().to_string();
        Response::new(ScriptedBody::new().data(workspace))
    });
    let mut service = ApiKeyLayer::new(keys()).layer(probe);
    assert_layered(&service);
    let future = service
        .ready()
        .await
        .unwrap()
        .call(request(&[b"Bearer sk-globex-1"]));
    assert_future(&future);
    let response = future.await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(check_body(response.into_body()).await.data, "globex");
}

#[tokio::test]
async fn no_key_is_explained() {
    let cases: [&[&[u8]]; 4] = [&[], &[b"Basic YTpi"], &[b"Bearer "], &[b""]];
    for none in cases {
        let (head, body) = refusal(request(none)).await;
        assert_eq!(head.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(head.headers()["www-authenticate"], "Bearer");
        assert!(head.headers().contains_key("x-request-id"));
        assert!(body.contains("You didn't provide an API key."), "{body}");
        assert!(body.contains(r#""type":"invalid_request_error","param":null,"code":null"#));
    }
}

#[tokio::test]
async fn all_wrong_keys_look_alike() {
    let long = [b"Bearer ".as_slice(), &[b'a'; 100_000]].concat();
    let cases: [&[&[u8]]; 6] = [
        &[b"Bearer sk-guess"],
        &[b"Bearer sk-acme-"],
        &[b"Bearer sk-acme-1 sk-acme-1"],
        &[b"Bearer \xff\xfe"],
        &[&long],
        &[b"Bearer sk-acme-1", b"Bearer sk-acme-1"],
    ];
    for wrong in cases {
        let (head, body) = refusal(request(wrong)).await;
        assert_eq!(head.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            head.extensions().get::<Rejection>().unwrap().kind(),
            RejectionKind::Unauthenticated
        );
        assert_eq!(
            body,
            r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#
        );
    }
}

#[tokio::test]
async fn other_headers_are_no_credentials() {
    for name in ["api-key", "x-api-key", "proxy-authorization", "cookie"] {
        let mut request = request(&[]);
        request
            .headers_mut()
            .insert(name, "sk-acme-1".parse().unwrap());
        let (head, _) = refusal(request).await;
        assert_eq!(head.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn under_grpc_a_refusal_is_a_status() {
    let mut request = request(&[b"Bearer sk-guess"]);
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let (head, body) = refusal(request).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["grpc-status"], "16");
    assert_eq!(body, "");
}

#[tokio::test]
async fn requests_that_do_not_match_pass_without_a_workspace() {
    let probe = ReadyProbe::new(|request: Request<&'static str>| {
        assert!(Workspace::of(request.extensions()).is_none());
        Response::new(ScriptedBody::new())
    });
    let service = ApiKeyLayer::new(keys())
        .when(|head: &Parts| head.uri.path() != "/healthz")
        .layer(probe);
    let mut request = request(&[]);
    *request.uri_mut() = "/healthz".parse().unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_closure_is_a_key_ring() {
    let ring = |key: &[u8]| key.starts_with(b"sk-").then(|| Workspace::new("anyone"));
    let probe = ReadyProbe::new(|_: Request<&'static str>| Response::new(ScriptedBody::new()));
    let service = ApiKeyLayer::new(ring).layer(probe);
    let response = service.oneshot(request(&[b"Bearer sk-x"])).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
