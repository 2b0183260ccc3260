//! Whole stacks in one call.
//!
//! A preset is a tuple of layers with their defaults, outermost first, and nothing else: a tuple
//! of layers is itself a layer, for `Router::layer` as well as for `ServiceBuilder::layer`. Take
//! it apart if one of its layers should be told more, or if something belongs between two of them:
//!
//! ```
//! # use tollgate::{ApiKeys, Limits, Models, presets};
//! # fn stack(keys: ApiKeys, models: Models, limits: Limits) {
//! let (keys, validate, models, budget) = presets::model_server(keys, models, limits);
//! let layers = (keys, validate.max_body_bytes(1 << 20), models, budget);
//! # drop(layers);
//! # }
//! ```
//!
//! Presets of single layers are with these: [`Policy::compatible`](crate::Policy::compatible) and
//! [`Policy::strict`](crate::Policy::strict), and [`known`](crate::known) for the figures of
//! OpenAI's models.

use std::num::NonZeroU64;

use crate::{
    ApiKeyLayer, ApiKeys, BudgetLayer, Limits, MemoryStore, Models, ModelsLayer, Quota,
    ValidateLayer,
};
#[cfg(all(feature = "hyper-util", feature = "sse"))]
use crate::{HyperUtil, RegionLayer, SseLayer, UpstreamLayer, Upstreams};

/// 500 requests and 60,000 tokens a minute: a fair start for each workspace and model.
pub const QUOTA: Quota = Quota::per_minute(
    NonZeroU64::new(500).unwrap(),
    NonZeroU64::new(60_000).unwrap(),
);

/// The layers of [`model_server`].
pub type ModelServer = (
    ApiKeyLayer,
    ValidateLayer,
    ModelsLayer,
    BudgetLayer<MemoryStore>,
);

/// What belongs in front of a model that you run yourself: keys, validation, an allow-list and
/// budgets. The handler inside says what a call took, through the [`UsageSlot`](crate::UsageSlot).
///
/// ```
/// use axum::{Extension, Router, routing::post};
/// use tollgate::{ApiKeys, ChatRequest, Limits, Model, Models, Workspace, presets};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn chat(Extension(request): Extension<ChatRequest>) -> String {
///     format!("{} has nothing to say", request.model())
/// }
///
/// let keys = ApiKeys::new().key("sk-acme-0123456789abcdef", Workspace::new("acme"))?;
/// let models = Models::builder().model(Model::new("house-7b")).build()?;
/// let app: Router = Router::new()
///     .route("/v1/chat/completions", post(chat))
///     .layer(presets::model_server(keys, models, Limits::new(presets::QUOTA)));
/// # drop(app);
/// # Ok(())
/// # }
/// ```
pub fn model_server(keys: ApiKeys, models: Models, limits: Limits) -> ModelServer {
    (
        ApiKeyLayer::new(keys),
        ValidateLayer::default(),
        ModelsLayer::new(models),
        BudgetLayer::new(MemoryStore::new(), limits),
    )
}

/// The layers of [`gateway`].
#[cfg(all(feature = "hyper-util", feature = "sse"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "hyper-util", feature = "sse"))))]
pub type Gateway = (
    RegionLayer,
    ApiKeyLayer,
    ValidateLayer,
    ModelsLayer,
    BudgetLayer<MemoryStore>,
    UpstreamLayer<HyperUtil>,
    SseLayer,
);

/// A gateway around hyper-util's client: `/openai/{region}/v1/chat/completions` for each region
/// that has upstreams.
///
/// ```
/// # use bytes::Bytes;
/// # use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tollgate::{
///     ApiKeys, Limits, Models, Region, RequestBody, Upstream, Upstreams, Workspace, known, presets,
/// };
/// use tower::Layer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let eu = Region::new("eu").unwrap();
/// let sweden = Upstream::azure("sweden", eu.clone(), "https://sweden.example", "upstream-key")
///     .deployment("gpt-4o", "gpt-4o-eu");
/// let upstreams = Upstreams::builder().pool(eu, [sweden]).build()?;
/// let keys = ApiKeys::new().key("sk-acme-0123456789abcdef", Workspace::new("acme"))?;
/// let models = Models::builder().model(known("gpt-4o").unwrap()).build()?;
///
/// let client = Client::builder(TokioExecutor::new()).build_http();
/// let limits = Limits::new(presets::QUOTA);
/// let service = presets::gateway(keys, models, limits, upstreams).layer(client);
///
/// # use http::Request;
/// # use tower::ServiceExt;
/// let request = Request::post("/openai/us/v1/chat/completions").body(Full::<Bytes>::default())?;
/// assert_eq!(service.oneshot(request).await?.status(), 404);
/// # Ok(())
/// # }
/// ```
#[cfg(all(feature = "hyper-util", feature = "sse"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "hyper-util", feature = "sse"))))]
pub fn gateway(keys: ApiKeys, models: Models, limits: Limits, upstreams: Upstreams) -> Gateway {
    let (keys, validate, models, budget) = model_server(keys, models, limits);
    (
        RegionLayer::new(upstreams.regions().cloned()),
        keys,
        validate,
        models,
        budget,
        UpstreamLayer::new(upstreams).classify(HyperUtil::default()),
        SseLayer::new(),
    )
}
