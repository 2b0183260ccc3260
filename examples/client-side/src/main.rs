//! A program that keeps its own calls within a budget.

use std::{env, error::Error, num::NonZeroU64};

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    middleware::HttpRequestFactory,
    types::chat::{ChatCompletionRequestUserMessage, CreateChatCompletionRequestArgs},
};
use http::Request;
use tollgate::{
    BudgetLayer, Limits, MemoryStore, Models, ModelsLayer, Quota, RequestBody, SseLayer,
    ValidateLayer, Workspace, known,
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = OpenAIConfig::new();
    if let Ok(base) = env::var("OPENAI_BASE_URL") {
        config = config.with_api_base(base);
    }
    let client = Client::with_config(config).with_http_service(budgeted()?);
    for question in env::args().skip(1) {
        let request = CreateChatCompletionRequestArgs::default()
            .model("gpt-4o-mini")
            .max_completion_tokens(200_u32)
            .messages([ChatCompletionRequestUserMessage::from(question.as_str()).into()])
            .build()?;
        match client.chat().create(request).await {
            Ok(answer) => {
                let text = answer
                    .choices
                    .into_iter()
                    .next()
                    .and_then(|c| c.message.content);
                println!("{question} {}", text.unwrap_or_default());
            }
            Err(OpenAIError::ApiError(error)) => {
                println!("{question} [{}]", error.api_error.message);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

const MINUTE: Quota = Quota::tokens_per_minute(NonZeroU64::new(500).unwrap());

/// What async-openai sends its requests through, in place of reqwest's client alone.
fn budgeted() -> Result<
    impl Service<
        HttpRequestFactory,
        Response = reqwest::Response,
        Error = OpenAIError,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static,
    Box<dyn Error>,
> {
    let models = Models::builder()
        .model(known("gpt-4o-mini").ok_or("unknown")?)
        .build()?;
    let limits = Limits::new(MINUTE);

    let http = reqwest::Client::new();
    let stack = ServiceBuilder::new()
        .map_request(|mut request: Request<reqwest::Body>| {
            // Whoever spends: a team, a job, a feature.
            request
                .extensions_mut()
                .insert(Workspace::new("nightly-report"));
            request
        })
        .layer(ValidateLayer::default())
        .layer(ModelsLayer::new(models))
        .layer(BudgetLayer::new(MemoryStore::new(), limits))
        .layer(SseLayer::new())
        .service_fn(move |request: Request<RequestBody<reqwest::Body>>| {
            let http = http.clone();
            async move {
                let request = request.map(reqwest::Body::wrap).try_into()?;
                http.execute(request).await.map(http::Response::from)
            }
        });

    // async-openai and reqwest have request and response types of their own.
    Ok(service_fn(move |factory: HttpRequestFactory| {
        let stack = stack.clone();
        async move {
            let request = factory.build().await?.try_into()?;
            let response = stack.oneshot(request).await?;
            Ok(response.map(reqwest::Body::wrap).into())
        }
    }))
}
