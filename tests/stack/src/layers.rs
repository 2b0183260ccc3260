use std::{net::SocketAddr, num::NonZeroU64};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tollgate::{
    ApiKeyLayer, ApiKeys, BudgetLayer, HyperUtil, Limits, MemoryStore, Models, ModelsLayer, Quota,
    Region, RegionLayer, SseLayer, Upstream, UpstreamLayer, Upstreams, ValidateLayer, Workspace,
    known,
};
use tower::{BoxError, Service, ServiceBuilder};

use crate::ScriptedUpstream;

/// The caller's key, that of workspace `acme`.
pub const KEY: &str = "sk-acme-0123456789abcdef";

const MINUTE: Quota = Quota::per_minute(
    NonZeroU64::new(5).unwrap(),
    NonZeroU64::new(50_000).unwrap(),
);

/// One of each layer, ready to be stacked in any order and any host.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Knows `eu` and `us`.
    pub region: RegionLayer,
    /// Knows [`KEY`].
    pub keys: ApiKeyLayer,
    /// Checks bodies.
    pub validate: ValidateLayer,
    /// Knows `gpt-4o`, also as `best`.
    pub models: ModelsLayer,
    /// Grants 5 requests and 50,000 tokens a minute.
    pub budget: BudgetLayer<MemoryStore>,
    /// Sends `eu` to the upstream as `sweden`.
    pub upstream: UpstreamLayer,
    /// Frames events.
    pub sse: SseLayer,
}

impl Layers {
    /// Layers that lead to this upstream.
    #[must_use]
    pub fn to(upstream: &ScriptedUpstream) -> Self {
        Self::to_address(upstream.address())
    }

    /// Layers that lead to whatever listens there.
    #[must_use]
    pub fn to_address(address: SocketAddr) -> Self {
        let [eu, us] = ["eu", "us"].map(|name| Region::new(name).unwrap());
        let keys = ApiKeys::new().key(KEY, Workspace::new("acme")).unwrap();
        let models = Models::builder()
            .model(known("gpt-4o").unwrap())
            .alias("best", "gpt-4o")
            .build()
            .unwrap();
        let limits = Limits::new(MINUTE);
        let url = format!("http://{address}");
        let sweden = Upstream::azure("sweden", eu.clone(), url, "upstream-secret")
            .deployment("gpt-4o", "gpt-4o-deployment");
        let upstreams = Upstreams::builder()
            .pool(eu.clone(), [sweden])
            .build()
            .unwrap();
        Self {
            region: RegionLayer::new([eu, us]),
            keys: ApiKeyLayer::new(keys),
            validate: ValidateLayer::default(),
            models: ModelsLayer::new(models),
            budget: BudgetLayer::new(MemoryStore::new(), limits),
            upstream: UpstreamLayer::new(upstreams),
            sse: SseLayer::new(),
        }
    }
}

/// A pooled client.
pub type HttpClient<B> = Client<HttpConnector, B>;

/// A pooled client that sends at once.
#[must_use]
pub fn http_client<B>() -> HttpClient<B>
where
    B: Body<Data: Send> + Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// The whole stack around a client, as a gateway without a framework has it.
#[must_use]
pub fn gateway<B>(
    layers: &Layers,
) -> impl Service<
    Request<B>,
    Response = Response<impl Body<Data = Bytes, Error = hyper::Error> + Send + 'static>,
    Error = hyper_util::client::legacy::Error,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let layers = layers.clone();
    ServiceBuilder::new()
        .layer(layers.region)
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.upstream.classify(HyperUtil::default()))
        .layer(layers.sse)
        .service(http_client())
}
