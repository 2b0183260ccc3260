//! async-openai, which is strict about what it reads, against the whole stack.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::{ApiError, OpenAIError},
    types::chat::CreateChatCompletionRequest,
};
use futures_util::StreamExt;
use serde_json::Value;
use tollgate_stack_tests::{
    KEY, Layers, ScriptedUpstream, ask, ask_streamed, broken_stream, gateway, good_upstream, serve,
};

async fn client(upstream: &ScriptedUpstream, key: &str) -> Client<OpenAIConfig> {
    let address = serve(gateway(&Layers::to(upstream))).await;
    let config = OpenAIConfig::new()
        .with_api_base(format!("http://{address}/openai/eu/v1"))
        .with_api_key(key);
    Client::with_config(config)
}

fn request(json: Value) -> CreateChatCompletionRequest {
    serde_json::from_value(json).unwrap()
}

fn api_error<T: std::fmt::Debug>(result: Result<T, OpenAIError>) -> ApiError {
    match result {
        Err(OpenAIError::ApiError(answer)) => answer.api_error,
        other => panic!("not an API error: {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_is_read() {
    let upstream = good_upstream().await;
    let client = client(&upstream, KEY).await;
    let answer = client.chat().create(request(ask("Hi?"))).await.unwrap();
    assert_eq!(
        answer.choices[0].message.content.as_deref(),
        Some("Hello world")
    );
    assert_eq!(answer.usage.unwrap().total_tokens, 15);
}

#[tokio::test]
async fn a_stream_is_read_to_its_end() {
    let upstream = good_upstream().await;
    let client = client(&upstream, KEY).await;
    let mut stream = client
        .chat()
        .create_stream(request(ask_streamed("Hi?")))
        .await
        .unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        // Indexing is what users do: a chunk without choices would end their program.
        text.push_str(
            chunk.choices[0]
                .delta
                .content
                .as_deref()
                .unwrap_or_default(),
        );
    }
    assert_eq!(text, "Hello world");
}

#[tokio::test]
async fn usage_comes_to_whoever_asks() {
    let upstream = good_upstream().await;
    let client = client(&upstream, KEY).await;
    let mut asking = ask_streamed("Hi?");
    asking["stream_options"] = serde_json::json!({"include_usage": true});
    let stream = client.chat().create_stream(request(asking)).await.unwrap();
    let chunks: Vec<_> = stream.map(Result::unwrap).collect().await;
    let last = chunks.last().unwrap();
    assert!(last.choices.is_empty());
    assert_eq!(last.usage.as_ref().unwrap().total_tokens, 15);
}

#[tokio::test]
async fn half_an_answer_is_an_error() {
    let upstream = ScriptedUpstream::start(|_| broken_stream(&["Hello"])).await;
    let client = client(&upstream, KEY).await;
    let streamed = request(ask_streamed("Hi?"));
    let mut stream = client.chat().create_stream(streamed).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first.choices[0].delta.content.as_deref(), Some("Hello"));
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("server_error"), "{error:?}");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn an_error_is_read_as_one() {
    let upstream = good_upstream().await;
    let stranger = client(&upstream, "sk-guess").await;
    let error = api_error(stranger.chat().create(request(ask("Hi?"))).await);
    assert_eq!(error.code.as_deref(), Some("invalid_api_key"));

    let client = client(&upstream, KEY).await;
    let mut hot = ask("Hi?");
    hot["temperature"] = 3.into();
    let error = api_error(client.chat().create(request(hot)).await);
    assert_eq!(error.param.as_deref(), Some("temperature"));
    assert_eq!(error.r#type.as_deref(), Some("invalid_request_error"));
    assert!(upstream.received().is_empty());
}
