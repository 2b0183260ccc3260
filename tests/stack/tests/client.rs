//! The layers on the caller's side: around hyper-util's client, and inside async-openai.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use async_openai::{
    config::OpenAIConfig, error::OpenAIError, middleware::HttpRequestFactory,
    types::chat::CreateChatCompletionRequest,
};
use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::{Empty, Full};
use tollgate::{Fact, RequestBody, SharedBody, Workspace};
use tollgate_stack_tests::{
    Answer, Layers, ScriptedUpstream, ask, ask_streamed, good_upstream, http_client,
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// Says who spends: the part of the program that makes the call.
fn as_team<B>(mut request: Request<B>) -> Request<B> {
    request
        .extensions_mut()
        .insert(Workspace::new("search-team"));
    request
}

fn to_upstream(upstream: &ScriptedUpstream, body: String) -> Request<Full<Bytes>> {
    Request::post(format!("{}/v1/chat/completions", upstream.url()))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn around_hyper_utils_client() {
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let mut client = ServiceBuilder::new()
        .map_request(as_team)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.sse)
        .service(http_client());

    let plain = to_upstream(&upstream, ask("Hi?").to_string());
    let plain = Answer::read(client.ready().await.unwrap().call(plain).await.unwrap()).await;
    assert_eq!(plain.json()["usage"]["total_tokens"], 15);

    let streamed = to_upstream(&upstream, ask_streamed("Hi?").to_string());
    let streamed = Answer::read(client.ready().await.unwrap().call(streamed).await.unwrap()).await;
    assert_eq!(streamed.streamed_text(), "Hello world");

    // What the upstream would refuse does not leave the house.
    let wrong = to_upstream(&upstream, r#"{"model":"gpt-4o"}"#.to_owned());
    let wrong = Answer::read(client.ready().await.unwrap().call(wrong).await.unwrap()).await;
    wrong.assert_refused(400, Some("missing_required_parameter"));
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn from_axum_through_reqwest() {
    let upstream = good_upstream().await;
    let url = format!("{}/v1/chat/completions", upstream.url());
    let layers = Layers::to(&upstream);
    let http = reqwest::Client::new();
    let service = ServiceBuilder::new().layer(layers.validate).service_fn(
        move |request: Request<RequestBody<axum::body::Body>>| {
            let (http, url) = (http.clone(), url.clone());
            async move {
                // axum's body is not `Sync`, as reqwest's must be; what was read of it is.
                let body = SharedBody::of(request.extensions()).unwrap();
                let body = reqwest::Body::wrap(body.body::<Empty<Bytes>>());
                let answer = http.post(url).body(body).send().await?;
                Ok::<_, reqwest::Error>(http::Response::from(answer))
            }
        },
    );

    // What is absorbed changes the length.
    let mut question = ask("Hi?");
    question["n"] = 1.into();
    let request = Request::post("/v1/chat/completions")
        .header(CONTENT_TYPE, "application/json")
        .body(axum::body::Body::from(question.to_string()));
    let answer = service.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let received = upstream.received_one();
    let length = received.body().len().to_string();
    assert_eq!(received.headers()["content-length"], *length);
    assert!(!received.headers().contains_key("transfer-encoding"));
    assert!(received.body().len() < question.to_string().len());
}

#[tokio::test]
async fn inside_async_openai() {
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let http = reqwest::Client::new();
    let stack = ServiceBuilder::new()
        .map_request(as_team)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.sse)
        .service(service_fn(move |request: Request<_>| {
            let http = http.clone();
            async move {
                let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap))?;
                http.execute(request).await.map(http::Response::from)
            }
        }));
    // async-openai makes and takes the requests and responses of reqwest.
    let service = service_fn(move |factory: HttpRequestFactory| {
        let stack = stack.clone();
        async move {
            let request: Request<reqwest::Body> = factory.build().await?.try_into()?;
            let response = stack.oneshot(request).await?;
            Ok::<_, OpenAIError>(response.map(reqwest::Body::wrap).into())
        }
    });
    let config = OpenAIConfig::new()
        .with_api_base(format!("{}/v1", upstream.url()))
        .with_api_key("sk-of-the-upstream");
    let client = async_openai::Client::with_config(config).with_http_service(service);

    let request: CreateChatCompletionRequest = serde_json::from_value(ask("Hi?")).unwrap();
    for _ in 0..5 {
        let answer = client.chat().create(request.clone()).await.unwrap();
        assert_eq!(
            answer.choices[0].message.content.as_deref(),
            Some("Hello world")
        );
    }
    let spent = client.chat().create(request).await.unwrap_err();
    let OpenAIError::ApiError(spent) = spent else {
        panic!("not an answer: {spent}");
    };
    assert_eq!(spent.api_error.code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(upstream.received().len(), 5);
    assert_eq!(
        upstream.received()[0].headers()["authorization"],
        "Bearer sk-of-the-upstream"
    );
}
