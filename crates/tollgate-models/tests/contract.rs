//! What is resolved, what the others see, and the layer contract.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use http::{Request, Response, StatusCode, request::Parts};
use tollgate_core::{
    ChatRequest, Fact, Feature, Member, Model, Rejection, RejectionKind, RequestBody, SharedBody,
    Workspace,
};
use tollgate_models::{ModelList, Models, ModelsLayer, known};
use tollgate_testing::{ReadyProbe, ScriptedBody, assert_future, assert_layered, check_body};
use tower::{Layer, Service, ServiceExt};

fn models() -> Models {
    Models::builder()
        .model(known("gpt-4o").unwrap())
        .model(known("gpt-4").unwrap())
        .alias("fast \"and\" cheap", "gpt-4")
        .allow(Workspace::new("acme"), ["gpt-4"])
        .build()
        .unwrap()
}

fn open_models() -> Models {
    Models::builder()
        .model(known("gpt-4o").unwrap())
        .alias("best", "gpt-4o")
        .build()
        .unwrap()
}

fn request(model: &str, workspace: Option<&str>) -> Request<&'static str> {
    let mut request = Request::new("untouched");
    let extensions = request.extensions_mut();
    extensions.insert(ChatRequest::builder(model).build());
    if let Some(name) = workspace {
        extensions.insert(Workspace::new(name));
    }
    request
}

async fn refusal(models: Models, request: Request<&'static str>) -> (Response<()>, String) {
    let probe = ReadyProbe::new(|_: Request<&'static str>| -> Response<ScriptedBody> {
        panic!("a refused request reached the service")
    });
    let service = ModelsLayer::new(models).layer(probe);
    let response = service.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = check_body(body).await;
    let text = String::from_utf8(body.data.to_vec()).unwrap();
    (Response::from_parts(head, ()), text)
}

#[tokio::test]
async fn a_model_is_published_under_its_own_name() {
    let probe = ReadyProbe::new(|request: Request<&'static str>| {
        assert_eq!(*request.body(), "untouched");
        let model = Model::of(request.extensions()).unwrap();
        assert_eq!(model.context_window(), Some(128_000));
        Response::new(ScriptedBody::new().data(model.name().to_string()))
    });
    let mut service = ModelsLayer::new(open_models()).layer(probe);
    assert_layered(&service);
    let future = service.ready().await.unwrap().call(request("best", None));
    assert_future(&future);
    let response = future.await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(check_body(response.into_body()).await.data, "gpt-4o");
}

#[tokio::test]
async fn unknown_and_forbidden_look_alike() {
    let (head, unknown) = refusal(models(), request("gpt-9", Some("acme"))).await;
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
    let kind = head.extensions().get::<Rejection>().unwrap().kind();
    assert_eq!(kind, RejectionKind::ModelNotFound);
    assert_eq!(
        unknown,
        r#"{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#
    );
    let (head, forbidden) = refusal(models(), request("gpt-4o", Some("acme"))).await;
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
    assert_eq!(forbidden.replace("gpt-4o", "gpt-9"), unknown);
}

#[tokio::test]
async fn a_missing_fact_is_our_mistake_and_not_the_callers() {
    for (models, request) in [
        (open_models(), Request::new("")),
        (models(), request("gpt-4", None)),
    ] {
        let (head, body) = refusal(models, request).await;
        assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.contains("Layer"), "{body}");
        let rejection = head.extensions().get::<Rejection>().unwrap();
        assert!(rejection.detail().unwrap().contains("Layer"));
    }
}

#[tokio::test]
async fn what_a_model_cannot_do_is_refused() {
    let mut request = request("gpt-4", Some("acme"));
    let chat = ChatRequest::builder("gpt-4").needs(Feature::JsonObject, "response_format");
    request.extensions_mut().insert(chat.build());
    let (head, body) = refusal(models(), request).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
    assert!(body.contains(r#""param":"response_format","code":null"#));
}

fn shared(model: &str) -> SharedBody {
    let json = format!(r#"{{ "model" : {model} , "x": 1.0}}"#);
    let value = 12..12 + model.len();
    let x = value.end + 3;
    let members = vec![
        Member::new("model", 2, value),
        Member::new("x", x, x + 5..x + 8),
    ];
    SharedBody::new(json.into(), members)
}

#[tokio::test]
async fn a_body_is_changed_only_where_the_name_is_another() {
    for (spelled, json, sent) in [
        (
            "gpt-4o",
            r#""gpt-4o""#,
            r#"{ "model" : "gpt-4o" , "x": 1.0}"#,
        ),
        // The same name in other bytes is left alone.
        (
            "gpt-4o",
            r#""gpt-4\u006f""#,
            r#"{ "model" : "gpt-4\u006f" , "x": 1.0}"#,
        ),
        ("best", r#""best""#, r#"{ "model" : "gpt-4o" , "x": 1.0}"#),
    ] {
        let body = shared(json);
        let mut request = request(spelled, None).map(|_| body.body::<ScriptedBody>());
        request.extensions_mut().insert(body);
        let probe = ReadyProbe::new(|request: Request<RequestBody<ScriptedBody>>| {
            Response::new(request.into_body())
        });
        let service = ModelsLayer::new(open_models()).layer(probe);
        let response = service.oneshot(request).await.unwrap();
        let received = check_body(response.into_body()).await;
        assert_eq!(received.data, sent);
    }
}

#[tokio::test]
async fn an_alias_behind_a_closed_body_is_refused() {
    let body = shared(r#""best""#);
    let _measured = http_body::Body::size_hint(&body.body::<ScriptedBody>());
    let mut request = request("best", None);
    request.extensions_mut().insert(body);
    let (head, _) = refusal(open_models(), request).await;
    assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn requests_that_do_not_match_pass_without_a_model() {
    let probe = ReadyProbe::new(|request: Request<&'static str>| {
        assert!(Model::of(request.extensions()).is_none());
        Response::new(ScriptedBody::new())
    });
    let service = ModelsLayer::new(models())
        .when(|head: &Parts| head.uri.path() != "/")
        .layer(probe);
    let response = service.oneshot(Request::new("")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn under_grpc_a_refusal_is_a_status() {
    let mut request = request("gpt-9", Some("acme"));
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let (head, body) = refusal(models(), request).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["grpc-status"], "5");
    assert_eq!(body, "");
}

async fn list(method: &str, path: &str, workspace: Option<&str>) -> (Response<()>, String) {
    let mut request = request("", workspace);
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = path.parse().unwrap();
    let list = ModelList::new(models()).created(1_715_367_049);
    assert_layered(&list);
    let future = list.oneshot(request);
    assert_future(&future);
    let (head, body) = future.await.unwrap().into_parts();
    let body = check_body(body).await;
    assert!(head.headers.contains_key("x-request-id"));
    let text = String::from_utf8(body.data.to_vec()).unwrap();
    (Response::from_parts(head, ()), text)
}

#[tokio::test]
async fn everyone_sees_a_list_of_their_own() {
    let (head, acme) = list("GET", "/openai/eu/v1/models", Some("acme")).await;
    assert_eq!(head.headers()["content-type"], "application/json");
    let json: serde_json::Value = serde_json::from_str(&acme).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"object": "list", "data": [
            {"id": "gpt-4", "object": "model", "created": 1_715_367_049, "owned_by": "tollgate"},
            {"id": "fast \"and\" cheap", "object": "model", "created": 1_715_367_049, "owned_by": "tollgate"},
        ]})
    );
    let (_, other) = list("GET", "/openai/eu/v1/models", Some("other")).await;
    assert_eq!(other.matches("\"id\"").count(), 3);
    let (head, nobody) = list("GET", "/openai/eu/v1/models", None).await;
    assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!nobody.contains("gpt"));
}

#[tokio::test]
async fn one_model_can_be_looked_up() {
    let (head, body) = list("GET", "/v1/models/gpt-4", Some("acme")).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(
        body,
        r#"{"id":"gpt-4","object":"model","created":1715367049,"owned_by":"tollgate"}"#
    );
    let (head, unknown) = list("GET", "/v1/models/gpt-9", Some("acme")).await;
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
    let (_, forbidden) = list("GET", "/v1/models/gpt-4o", Some("acme")).await;
    assert_eq!(forbidden.replace("gpt-4o", "gpt-9"), unknown);
}

#[tokio::test]
async fn a_list_can_only_be_read() {
    for method in ["POST", "DELETE", "PUT", "PATCH", "OPTIONS"] {
        let (head, body) = list(method, "/v1/models", Some("acme")).await;
        assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(head.headers()["allow"], "GET, HEAD");
        assert!(body.contains("invalid_request_error"));
    }
    assert_eq!(
        list("HEAD", "/v1/models", Some("acme")).await.0.status(),
        StatusCode::OK
    );
}
