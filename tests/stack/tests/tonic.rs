//! The layers under tonic: those that read heads around the server, the others inside a method.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    num::NonZeroU64,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream;
use http::{Request, Response, header::CONTENT_TYPE, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tollgate::{
    BudgetLayer, ChatRequest, Cost, Fact, GateLayer, HyperUtil, InputKind, Limits, MemoryStore,
    Model, Quota, Region, RegionLayer, Rejection, Workspace,
};
use tollgate_stack_tests::{
    HttpClient, KEY, Layers, ScriptedUpstream, good_upstream, http_client, soon,
};
use tonic::{
    Code, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
    transport::{Channel, Server, server::TcpIncoming},
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

/// A gRPC service with one method, which takes a question and gives an answer.
#[derive(Clone)]
struct Chat<S> {
    stack: S,
}

const ASK: &str = "/test.Chat/Ask";

impl<S> NamedService for Chat<S> {
    const NAME: &'static str = "test.Chat";
}

impl<S> Service<Request<Body>> for Chat<S>
where
    Ask<S>: UnaryService<String, Response = String, Future: Send>,
    S: Clone + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = Ask(self.stack.clone());
        Box::pin(async move { Ok(Grpc::new(Text).unary(method, request).await) })
    }
}

struct Ask<S>(S);

impl<S, B> UnaryService<String> for Ask<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<String>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        Box::pin(ask(self.0.clone(), request))
    }
}

/// The method: what the message means is said in facts, and the inner stack does the rest.
async fn ask<S, B>(
    stack: S,
    request: tonic::Request<String>,
) -> Result<tonic::Response<String>, Status>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (_, extensions, question) = request.into_parts();
    let (model, question) = question.split_once(": ").unwrap();
    let facts = ChatRequest::builder(model)
        .output_cap("max_tokens", 1_000)
        .message()
        .text(InputKind::Role, "user", false)
        .text(InputKind::Content, question.to_owned(), false)
        .build();
    let message = serde_json::json!({"role": "user", "content": question});
    let body = serde_json::json!({"messages": [message], "max_tokens": 1_000});

    let mut call = Request::post("/")
        .body(Full::from(body.to_string()))
        .unwrap();
    call.headers_mut()
        .insert(CONTENT_TYPE, "application/json".parse().unwrap());
    call.extensions_mut().insert(facts);
    call.extensions_mut()
        .insert(Workspace::of(&extensions).unwrap().clone());
    call.extensions_mut()
        .insert(Region::of(&extensions).unwrap().clone());

    let response = stack
        .oneshot(call)
        .await
        .map_err(|e| Status::from_error(e.into()))?;
    if let Some(rejection) = response.extensions().get::<Rejection>() {
        let code = Code::from(rejection.grpc_code() as i32);
        return Err(Status::new(code, rejection.message()));
    }
    let body = response.into_body().collect().await;
    let body = body.map_err(|e| Status::from_error(e.into()))?.to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    Ok(tonic::Response::new(text.to_owned()))
}

/// A codec for messages that are text.
#[derive(Clone, Copy)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let text = String::from_utf8(bytes.to_vec());
        text.map(Some)
            .map_err(|_| Status::invalid_argument("not UTF-8"))
    }
}

fn serve(upstream: &ScriptedUpstream) -> SocketAddr {
    let layers = Layers::to(upstream);
    let stack = ServiceBuilder::new()
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.upstream.classify(HyperUtil::default()))
        .layer(layers.sse)
        .service(http_client());
    // A gRPC path names no region: here the credential does.
    let region =
        RegionLayer::with(
            |head: &Parts| match Workspace::of(&head.extensions)?.as_str() {
                "acme" => Region::new("eu"),
                _ => None,
            },
        );
    let mut server = Server::builder().layer(layers.keys).layer(region);
    listen(|incoming| {
        server
            .add_service(Chat { stack })
            .serve_with_incoming(incoming)
    })
}

/// Runs a server on a loopback socket.
fn listen<F>(serve: impl FnOnce(TcpIncoming) -> F) -> SocketAddr
where
    F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
{
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(serve(incoming));
    address
}

async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

/// Calls the method as tonic's clients do.
async fn call<S, B>(client: S, key: &str, question: &str) -> Result<String, Status>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut client = tonic::client::Grpc::new(client);
    client
        .ready()
        .await
        .map_err(|e| Status::from_error(e.into()))?;
    let mut request = tonic::Request::new(question.to_owned());
    let value = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let answer = client.unary(request, ASK.parse().unwrap(), Text);
    soon(answer).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_unary_call_goes_through_the_inner_stack() {
    let upstream = good_upstream().await;
    let address = serve(&upstream);
    let answer = call(connect(address).await, KEY, "best: Hi?")
        .await
        .unwrap();
    assert_eq!(answer, "Hello world");
    let request = upstream.received_one();
    assert!(request.uri().path().contains("/gpt-4o-deployment/"));
    assert_eq!(request.headers()["api-key"], "upstream-secret");
    assert!(!request.headers().contains_key("authorization"));
}

#[tokio::test]
async fn refusals_are_statuses() {
    let upstream = good_upstream().await;
    let channel = connect(serve(&upstream)).await;
    let call = |key, question| call(channel.clone(), key, question);
    let status = call("sk-guess", "gpt-4o: Hi?").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = call(KEY, "gpt-9: Hi?").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("`gpt-9`"), "{status:?}");
    assert!(upstream.received().is_empty());

    let status = call(KEY, "gpt-4o: break").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for _ in 0..5 {
        call(KEY, "gpt-4o: Hi?").await.unwrap();
    }
    let status = call(KEY, "gpt-4o: Hi?").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_refusal_of_the_head_is_trailers_only() {
    let address = serve(&good_upstream().await);
    let client: HttpClient<Full<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = Request::post(format!("http://{address}{ASK}"))
        .header(CONTENT_TYPE, "application/grpc")
        .body(Full::default())
        .unwrap();
    let response = soon(client.request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "16");
    assert!(response.headers().contains_key("grpc-message"));
    // The head is all there is: it carried the end of the stream.
    assert!(response.body().is_end_stream());
}

/// What a call of a method costs, where its head says so.
fn know_the_cost(head: &mut Parts) -> Result<(), Rejection> {
    head.extensions.insert(Model::new("some-model"));
    head.extensions.insert(Cost::tokens(10));
    Ok(())
}

fn two_requests() -> BudgetLayer<MemoryStore> {
    let two = NonZeroU64::new(2).unwrap();
    BudgetLayer::new(
        MemoryStore::new(),
        Limits::new(Quota::requests_per_minute(two)),
    )
}

#[tokio::test]
async fn a_budget_around_a_server() {
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let mut server = Server::builder()
        .layer(layers.keys)
        .layer(RegionLayer::with(|_: &Parts| Region::new("eu")))
        .layer(GateLayer::new(know_the_cost))
        .layer(two_requests());
    let stack = service_fn(|_: Request<Full<Bytes>>| async {
        let answer = r#"{"choices":[{"message":{"content":"Hello world"}}]}"#;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer)))
    });
    let address = listen(|incoming| {
        server
            .add_service(Chat { stack })
            .serve_with_incoming(incoming)
    });
    let channel = connect(address).await;
    for _ in 0..2 {
        let answer = call(channel.clone(), KEY, "any-model: Hi?").await;
        assert_eq!(answer.unwrap(), "Hello world");
    }
    let status = call(channel, KEY, "any-model: Hi?").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_budget_around_a_channel() {
    let upstream = good_upstream().await;
    let channel = connect(serve(&upstream)).await;
    let client = ServiceBuilder::new()
        .map_request(|mut request: Request<Body>| {
            request
                .extensions_mut()
                .insert(Workspace::new("search-team"));
            request
        })
        .layer(GateLayer::new(know_the_cost))
        .layer(two_requests())
        .service(channel);
    for _ in 0..2 {
        let answer = call(client.clone(), KEY, "gpt-4o: Hi?").await;
        assert_eq!(answer.unwrap(), "Hello world");
    }
    let status = call(client, KEY, "gpt-4o: Hi?").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(upstream.received().len(), 2);
}

/// A gRPC service whose method streams the words that it is sent, and then fails with the code
/// that comes last.
#[derive(Clone)]
struct Recite;

impl NamedService for Recite {
    const NAME: &'static str = "test.Chat";
}

impl Service<Request<Body>> for Recite {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(Text).server_streaming(Words, request).await) })
    }
}

struct Words;

impl ServerStreamingService<String> for Words {
    type Response = String;
    type ResponseStream = stream::Iter<std::vec::IntoIter<Result<String, Status>>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let question = request.into_inner();
        let words = question.split(' ').map(|word| match word.parse() {
            Ok(code) => Err(Status::new(Code::from_i32(code), "as asked")),
            Err(_) => Ok(word.to_owned()),
        });
        let words: Vec<_> = words.collect();
        ready(Ok(tonic::Response::new(stream::iter(words))))
    }
}

/// The words that came, and how it ended.
async fn recite<S, B>(client: S, question: &str) -> (Vec<String>, Code)
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut client = tonic::client::Grpc::new(client);
    let is_ready = client.ready().await;
    assert!(is_ready.is_ok());
    let mut request = tonic::Request::new(question.to_owned());
    let value = format!("Bearer {KEY}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let answer = client.server_streaming(request, ASK.parse().unwrap(), Text);
    let mut answer = match soon(answer).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (Vec::new(), status.code()),
    };
    let mut words = Vec::new();
    loop {
        match soon(answer.message()).await {
            Ok(Some(word)) => words.push(word),
            Ok(None) => return (words, Code::Ok),
            Err(status) => return (words, status.code()),
        }
    }
}

/// Makes calls that end in their trailers, of which a budget of two requests pays for two.
async fn assert_trailers_are_settled<S, B>(client: S)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    // Nobody got anything: UNAVAILABLE and RESOURCE_EXHAUSTED.
    for code in [14, 8, 14, 8] {
        let (words, seen) = recite(client.clone(), &code.to_string()).await;
        assert_eq!((words.len(), seen), (0, Code::from_i32(code)));
    }
    // Who got something pays for it, and so does who asked for what there is not: NOT_FOUND.
    let (words, code) = recite(client.clone(), "one two 14").await;
    assert_eq!((words.len(), code), (2, Code::Unavailable));
    let (words, code) = recite(client.clone(), "5").await;
    assert_eq!((words.len(), code), (0, Code::NotFound));
    let (_, code) = recite(client, "one").await;
    assert_eq!(code, Code::ResourceExhausted);
}

#[tokio::test]
async fn a_budget_around_a_server_reads_trailers() {
    let layers = Layers::to(&good_upstream().await);
    let mut server = Server::builder()
        .layer(layers.keys)
        .layer(RegionLayer::with(|_: &Parts| Region::new("eu")))
        .layer(GateLayer::new(know_the_cost))
        .layer(two_requests());
    let address = listen(|incoming| server.add_service(Recite).serve_with_incoming(incoming));
    assert_trailers_are_settled(connect(address).await).await;
}

#[tokio::test]
async fn a_budget_around_a_channel_reads_trailers() {
    let address = listen(|incoming| {
        Server::builder()
            .add_service(Recite)
            .serve_with_incoming(incoming)
    });
    let client = ServiceBuilder::new()
        .map_request(|mut request: Request<Body>| {
            request
                .extensions_mut()
                .insert(Workspace::new("search-team"));
            request
        })
        .layer(GateLayer::new(know_the_cost))
        .layer(two_requests())
        .service(connect(address).await);
    assert_trailers_are_settled(client).await;
}
