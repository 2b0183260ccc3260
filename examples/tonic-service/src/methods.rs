//! The methods: messages in, facts and a call of the stack out.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyDataStream, BodyExt, Full, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tollgate::{ChatRequest, Fact, InputKind, Region, Rejection, Workspace};
use tonic::{Code, Status};
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};

use crate::generated::{CompleteRequest, Completion, Delta, chat_server::Chat};

/// Layers around a client.
pub(crate) type Stack = BoxCloneSyncService<Request<Full<Bytes>>, Response<Answer>, BoxError>;
/// What it answers with.
type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// The service of `chat.proto`.
pub(crate) struct ChatMethods {
    stack: Stack,
}

impl ChatMethods {
    pub(crate) fn new(stack: Stack) -> Self {
        Self { stack }
    }

    async fn ask(
        &self,
        request: tonic::Request<CompleteRequest>,
        stream: bool,
    ) -> Result<Answer, Status> {
        let (_, extensions, message) = request.into_parts();
        let mut call = Request::new(Full::from(json(&message, stream).to_string()));
        let content_type = http::HeaderValue::from_static("application/json");
        call.headers_mut().insert(CONTENT_TYPE, content_type);

        let facts = call.extensions_mut();
        facts.insert(describe(&message, stream));
        // What the layers around the server have learnt.
        facts.insert(
            Workspace::require(&extensions)
                .map_err(|r| status(&r))?
                .clone(),
        );
        facts.insert(
            Region::require(&extensions)
                .map_err(|r| status(&r))?
                .clone(),
        );

        let response = self
            .stack
            .clone()
            .oneshot(call)
            .await
            .map_err(Status::from_error)?;
        match response.extensions().get() {
            Some(rejection) => Err(status(rejection)),
            None => Ok(response.into_body()),
        }
    }
}

#[tonic::async_trait]
impl Chat for ChatMethods {
    async fn complete(
        &self,
        request: tonic::Request<CompleteRequest>,
    ) -> Result<tonic::Response<Completion>, Status> {
        let body = self.ask(request, false).await?;
        let body = body.collect().await.map_err(Status::from_error)?.to_bytes();
        let answer: Value = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let content = answer["choices"][0]["message"]["content"].as_str();
        let content = content.unwrap_or_default().to_owned();
        Ok(tonic::Response::new(Completion { content }))
    }

    type StreamStream = Pin<Box<dyn Stream<Item = Result<Delta, Status>> + Send>>;

    async fn stream(
        &self,
        request: tonic::Request<CompleteRequest>,
    ) -> Result<tonic::Response<Self::StreamStream>, Status> {
        let body = self.ask(request, true).await?;
        // SseLayer hands on whole events: each frame is one or several, and none is cut.
        let deltas = BodyDataStream::new(body)
            .map_err(Status::from_error)
            .map_ok(|frame| stream::iter(deltas(&frame)))
            .try_flatten();
        Ok(tonic::Response::new(deltas.boxed()))
    }
}

/// The request in the upstream's terms.
fn json(message: &CompleteRequest, stream: bool) -> Value {
    let messages = message.messages.iter();
    let messages = messages.map(|m| json!({"role": m.role, "content": m.content}));
    let mut body = json!({
        "messages": messages.collect::<Vec<_>>(),
        "max_tokens": message.max_tokens,
        "stream": stream,
    });
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

/// The request in the layers' terms: what `ValidateLayer` would learn from JSON.
fn describe(message: &CompleteRequest, stream: bool) -> ChatRequest {
    let mut facts = ChatRequest::builder(message.model.as_str()).stream(stream);
    if let Some(tokens) = message.max_tokens {
        facts = facts.output_cap("max_tokens", tokens.into());
    }
    for message in &message.messages {
        facts = facts
            .message()
            .text(InputKind::Role, message.role.clone(), false)
            .text(InputKind::Content, message.content.clone(), false);
    }
    facts.build()
}

/// A refusal, wherever it comes from, is a status.
fn status(rejection: &Rejection) -> Status {
    Status::new(
        Code::from(rejection.grpc_code() as i32),
        rejection.message(),
    )
}

/// The events of one frame.
fn deltas(frame: &[u8]) -> Vec<Result<Delta, Status>> {
    let text = std::str::from_utf8(frame).unwrap_or_default();
    let events = text.split_terminator("\n\n");
    let data = events.filter_map(|event| event.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(delta).collect()
}

fn delta(data: &str) -> Result<Delta, Status> {
    let event: Value = serde_json::from_str(data).map_err(|_| unreadable())?;
    if let Some(message) = event["error"]["message"].as_str() {
        return Err(Status::unavailable(message));
    }
    let content = event["choices"][0]["delta"]["content"].as_str();
    let content = content.unwrap_or_default().to_owned();
    Ok(Delta { content })
}

fn unreadable() -> Status {
    Status::unavailable("the upstream's answer cannot be read")
}
