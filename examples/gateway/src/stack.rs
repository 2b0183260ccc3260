//! The stack of layers: what this example is about.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::Error as ClientError;
use tollgate::{
    ApiKeyLayer, ApiKeys, BudgetLayer, DrainBody, ExactCounter, GateLayer, HyperUtil, Limits,
    ModelList, Models, ModelsLayer, Policy, Region, RegionLayer, RequestBody, SseLayer,
    UpstreamLayer, Upstreams, ValidateLayer, Workspace, budget_redis::RedisDriver,
};
use tower::{BoxError, Service, ServiceBuilder};

use crate::{
    config::{Config, PolicyName, TokenCounts},
    metrics::{Budgets, Metrics},
    routes::{Leaves, Route},
    store::BudgetStore,
    upstream_client::UpstreamClients,
    upstreams::{self, SimulatedUpstreams},
};

/// What outlives a stack: a new configuration builds the next one on it.
#[derive(Debug)]
pub(crate) struct Foundation {
    budget: BudgetLayer<BudgetStore>,
    store: BudgetStore,
    driver: Option<RedisDriver>,
    limits: Limits,
    simulated: SimulatedUpstreams,
    clients: Option<UpstreamClients<AttemptBody>>,
}

/// The body of what is sent to an upstream.
type AttemptBody = RequestBody<RequestBody<DrainBody<Incoming>>>;

/// A stack, and what operators may see of it.
#[derive(Debug)]
pub(crate) struct Stack<S> {
    pub(crate) service: S,
    pub(crate) insight: Insight,
}

/// What is known about a running stack.
#[derive(Clone, Debug)]
pub(crate) struct Insight {
    pub(crate) upstreams: Upstreams,
    pub(crate) counter: ExactCounter,
    pub(crate) store: BudgetStore,
}

impl Foundation {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Result<Self, BoxError> {
        let (store, driver) = BudgetStore::new(&config.budget)?;
        let limits = config.limits();
        let budget = BudgetLayer::new(store.clone(), limits.clone());
        Ok(Self {
            budget: budget.observe(Budgets::new(metrics)),
            store,
            driver,
            limits,
            simulated: SimulatedUpstreams::default(),
            clients: None,
        })
    }

    /// What has to run so that budgets are counted, the first time that this is asked.
    pub(crate) fn driver(&mut self) -> Option<RedisDriver> {
        self.driver.take()
    }

    /// Starts the simulated upstreams that the configuration asks for.
    pub(crate) async fn prepare(&mut self, config: &Config) -> io::Result<()> {
        self.simulated.start(config).await
    }

    /// Builds the stack that is configured, outermost layer first, and has it keep its limits. If it
    /// takes the place of another, it goes on with what that has learnt of its upstreams.
    #[allow(
        clippy::type_complexity,
        reason = "all that a listener needs to know of a stack"
    )]
    pub(crate) fn build(
        &mut self,
        config: &Config,
        before: Option<&Insight>,
    ) -> Result<
        Stack<
            impl Service<
                Request<DrainBody<Incoming>>,
                Response = Response<
                    impl Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static + use<>,
                >,
                Error = ClientError,
                Future: Send,
            >
            + Clone
            + Send
            + Sync
            + 'static
            + use<>,
        >,
        BoxError,
    > {
        let models = models(config)?;
        let counter = counter(config)?;
        let upstreams = upstreams::build(
            config,
            &self.simulated,
            before.map(|before| &before.upstreams),
        )?;
        for (region, model) in upstreams.unserved(config.models.keys().map(String::as_str)) {
            tracing::warn!(
                region,
                model,
                "no upstream serves this model in this region"
            );
        }

        let clients = UpstreamClients::new(config, self.clients.as_ref())?;
        let chat = ServiceBuilder::new()
            .layer(validate(config))
            .layer(ModelsLayer::new(models.clone()).counter(counter.clone()))
            .layer(self.budget.clone().counter(counter.clone()))
            .layer(
                UpstreamLayer::new(upstreams.clone())
                    .classify(HyperUtil::default())
                    .head_timeout(head_timeout(config)),
            )
            .layer(SseLayer::new())
            .service(clients.clone());
        let models = ServiceBuilder::new()
            .map_err(|never: Infallible| -> ClientError { match never {} })
            .service(ModelList::new(models));
        let service = ServiceBuilder::new()
            .layer(region(config))
            .layer(GateLayer::new(Route::check))
            .layer(ApiKeyLayer::new(keys(config)?))
            .service(Leaves { chat, models });

        self.clients = Some(clients);
        self.limits.replace(config.limits());
        let insight = Insight {
            upstreams,
            counter,
            store: self.store.clone(),
        };
        Ok(Stack { service, insight })
    }
}

fn region(config: &Config) -> RegionLayer {
    let regions = config.regions.keys().filter_map(|name| Region::new(name));
    let layer = RegionLayer::new(regions);
    match config.default_region.as_deref().and_then(Region::new) {
        Some(region) => layer.default_region(region),
        None => layer,
    }
}

fn keys(config: &Config) -> Result<ApiKeys, BoxError> {
    let mut keys = ApiKeys::new();
    for workspace in &config.workspaces {
        let owner = Workspace::new(workspace.name.as_str());
        for key in &workspace.api_keys {
            keys = keys.key(key.expose(), owner.clone())?;
        }
        for digest in &workspace.api_key_sha256 {
            keys = keys.key_sha256(digest, owner.clone())?;
        }
    }
    Ok(keys)
}

fn validate(config: &Config) -> ValidateLayer {
    let policy = match config.policy {
        PolicyName::Compatible => Policy::compatible(),
        PolicyName::Strict => Policy::strict(),
    };
    ValidateLayer::new(policy)
        .max_body_bytes(config.max_body_bytes)
        .body_timeout(config.limits.body)
}

fn models(config: &Config) -> Result<Models, BoxError> {
    let mut models = Models::builder();
    for (name, model) in &config.models {
        models = models.model(model.resolve(name));
        for alias in &model.aliases {
            models = models.alias(alias.as_str(), name.as_str());
        }
    }
    for workspace in &config.workspaces {
        if let Some(allowed) = &workspace.models {
            let owner = Workspace::new(workspace.name.as_str());
            models = models.allow(owner, allowed.iter().map(String::as_str));
        }
    }
    Ok(models.build()?)
}

/// Counts roughly until its vocabularies are loaded, if it may load any.
fn counter(config: &Config) -> io::Result<ExactCounter> {
    let models: Vec<_> = config
        .models
        .iter()
        .map(|(name, model)| model.resolve(name))
        .collect();
    let counter = match config.token_counts {
        TokenCounts::Exact => ExactCounter::for_models(&models),
        TokenCounts::Estimate => ExactCounter::new([]),
    };
    counter.load_in_background()?;
    Ok(counter)
}

/// The clock over all attempts of a call must not strike before that of a single one.
fn head_timeout(config: &Config) -> Duration {
    let upstreams = config.regions.values().flat_map(|region| &region.upstreams);
    let longest = upstreams.map(|upstream| upstream.timeouts.head).max();
    longest.unwrap_or_default().max(Duration::from_secs(120))
}
