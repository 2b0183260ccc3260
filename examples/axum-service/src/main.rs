//! An axum service that has gained validation, an allow-list and a budget.
//!
//! Everything but [`gate`] was there before: the routes, the state, the authentication.

use std::{collections::HashMap, env, error::Error, num::NonZeroU64, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate::{
    BudgetLayer, ChatRequest, Limits, MemoryStore, Model, Models, ModelsLayer, Quota, Usage,
    UsageSlot, ValidateLayer, Workspace,
};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app()?).await?;
    Ok(())
}

fn app() -> Result<Router, Box<dyn Error>> {
    let state = Arc::new(Service {
        tokens: HashMap::from([("token-of-alice", "alice"), ("token-of-bob", "bob")]),
    });
    let chat = Router::new().route("/v1/chat/completions", post(chat));
    let chat = gate(chat)?.layer(from_fn_with_state(Arc::clone(&state), authenticate));
    Ok(Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .merge(chat)
        .with_state(state))
}

const MINUTE: Quota = Quota::per_minute(
    NonZeroU64::new(60).unwrap(),
    NonZeroU64::new(20_000).unwrap(),
);
const MINUTE_OF_BOB: Quota = Quota::requests_per_minute(NonZeroU64::new(2).unwrap());

/// What is new: these routes see only valid requests, for models that exist, within a budget.
fn gate(routes: Router<Arc<Service>>) -> Result<Router<Arc<Service>>, Box<dyn Error>> {
    let models = Models::builder()
        .model(
            Model::new("house-7b")
                .with_context_window(8_192)
                .with_max_output_tokens(1_024),
        )
        // What people's programs ask for anyway.
        .alias("gpt-4o-mini", "house-7b")
        .build()?;
    let limits = Limits::new(MINUTE).workspace("bob", MINUTE_OF_BOB);
    Ok(routes.layer(
        ServiceBuilder::new()
            .layer(ValidateLayer::default())
            .layer(ModelsLayer::new(models))
            .layer(BudgetLayer::new(MemoryStore::new(), limits)),
    ))
}

struct Service {
    tokens: HashMap<&'static str, &'static str>,
}

/// The service's own authentication. It knew who is calling; now it also tells.
async fn authenticate(
    State(service): State<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(AUTHORIZATION);
    let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token.and_then(|token| service.tokens.get(token)) {
        Some(user) => {
            request.extensions_mut().insert(Workspace::new(*user));
            next.run(request).await
        }
        None => (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
    }
}

/// The model. What the layers have learnt it takes as extensions, like anything else in axum.
async fn chat(
    Extension(request): Extension<ChatRequest>,
    Extension(model): Extension<Model>,
    Extension(usage): Extension<UsageSlot>,
    Json(body): Json<Value>,
) -> Json<Value> {
    let last = body["messages"].as_array().and_then(|all| all.last());
    let question = last
        .and_then(|last| last["content"].as_str())
        .unwrap_or("nothing");
    let answer = format!("You said: {question}");

    // To this model a word is a token.
    let cap = request
        .output_cap()
        .map_or(usize::MAX, |cap| cap.tokens as usize);
    let words: Vec<_> = answer.split_whitespace().take(cap).collect();
    let prompt_tokens = question.split_whitespace().count() as u64;
    let took = Usage::new(prompt_tokens, words.len() as u64);
    usage.record(took);
    Json(json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model.as_str(),
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": words.join(" ")},
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": took.prompt_tokens,
            "completion_tokens": took.completion_tokens,
            "total_tokens": took.total_tokens,
        },
    }))
}
