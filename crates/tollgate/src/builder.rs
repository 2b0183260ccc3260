#[cfg(feature = "auth")]
use tollgate_auth::{ApiKeyLayer, KeyRing};
#[cfg(feature = "budget")]
use tollgate_budget::{BudgetLayer, Limits, Store};
use tollgate_core::{Gate, GateLayer};
#[cfg(feature = "models")]
use tollgate_models::{Models, ModelsLayer};
#[cfg(feature = "region")]
use tollgate_region::{Region, RegionLayer, UpstreamLayer, Upstreams};
#[cfg(feature = "sse")]
use tollgate_sse::SseLayer;
#[cfg(feature = "validate")]
use tollgate_validate::{Policy, ValidateLayer};
use tower::{ServiceBuilder, layer::util::Stack};

/// Adds Tollgate's layers to a [`ServiceBuilder`] by name.
///
/// Each method takes what the layer's constructor takes, and is there with the layer's feature.
/// Whatever else a layer can be told is told to itself: `.layer(SseLayer::new().tap(tap))`. Where
/// tower-http's trait of the same name is in use too, import one of them `as _`.
///
/// It is the only place where `tower` itself, a crate before 1.0, is part of this crate's API,
/// and so a feature of its own: the layers know `tower-layer` and `tower-service` alone.
///
/// ```
/// # use std::num::NonZeroU64;
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::Full;
/// use tollgate::{
///     ApiKeys, Limits, MemoryStore, Model, Models, Policy, Quota, RequestBody,
///     ServiceBuilderExt as _, Workspace,
/// };
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// const MINUTE: Quota = Quota::requests_per_minute(NonZeroU64::new(60).unwrap());
///
/// let keys = ApiKeys::new().key("sk-acme-0123456789abcdef", Workspace::new("acme"))?;
/// let service = ServiceBuilder::new()
///     .api_keys(keys)
///     .validate(Policy::default())
///     .models(Models::builder().model(Model::new("house-7b")).build()?)
///     .budget(MemoryStore::new(), Limits::new(MINUTE))
///     .service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
///         // Your model.
///         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("{}")))
///     });
///
/// let body = r#"{"model":"house-7b","messages":[{"role":"user","content":"Hi!"}]}"#;
/// let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
/// let unknown = request.body(Full::from(body))?;
/// let mut known = unknown.clone();
/// known.headers_mut().insert("authorization", "Bearer sk-acme-0123456789abcdef".parse()?);
///
/// assert_eq!(service.clone().oneshot(known).await?.status(), 200);
/// assert_eq!(service.oneshot(unknown).await?.status(), 401);
/// # Ok(())
/// # }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub trait ServiceBuilderExt<L>: sealed::Add<L> {
    /// Asks a [`Gate`] of yours about each request. See [`GateLayer`].
    fn gate<G: Gate>(self, gate: G) -> ServiceBuilder<Stack<GateLayer<G>, L>> {
        self.add(GateLayer::new(gate))
    }

    /// Finds the region in the path. See [`RegionLayer`].
    #[cfg(feature = "region")]
    #[cfg_attr(docsrs, doc(cfg(feature = "region")))]
    fn regions(
        self,
        regions: impl IntoIterator<Item = Region>,
    ) -> ServiceBuilder<Stack<RegionLayer, L>> {
        self.add(RegionLayer::new(regions))
    }

    /// Finds out by its key who is calling. See [`ApiKeyLayer`].
    #[cfg(feature = "auth")]
    #[cfg_attr(docsrs, doc(cfg(feature = "auth")))]
    fn api_keys<K: KeyRing>(self, keys: K) -> ServiceBuilder<Stack<ApiKeyLayer<K>, L>> {
        self.add(ApiKeyLayer::new(keys))
    }

    /// Reads, checks and describes chat completions. See [`ValidateLayer`].
    #[cfg(feature = "validate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "validate")))]
    fn validate(self, policy: Policy) -> ServiceBuilder<Stack<ValidateLayer, L>> {
        self.add(ValidateLayer::new(policy))
    }

    /// Admits calls of these models alone. See [`ModelsLayer`].
    #[cfg(feature = "models")]
    #[cfg_attr(docsrs, doc(cfg(feature = "models")))]
    fn models(self, models: Models) -> ServiceBuilder<Stack<ModelsLayer, L>> {
        self.add(ModelsLayer::new(models))
    }

    /// Admits calls while their budgets have room. See [`BudgetLayer`].
    #[cfg(feature = "budget")]
    #[cfg_attr(docsrs, doc(cfg(feature = "budget")))]
    fn budget<St: Store>(
        self,
        store: St,
        limits: Limits,
    ) -> ServiceBuilder<Stack<BudgetLayer<St>, L>> {
        self.add(BudgetLayer::new(store, limits))
    }

    /// Sends each call to an upstream of its region. See [`UpstreamLayer`], which wants to be told
    /// besides how to [`classify`](UpstreamLayer::classify) the errors of your client, or else
    /// tries nothing again after one.
    #[cfg(feature = "region")]
    #[cfg_attr(docsrs, doc(cfg(feature = "region")))]
    fn upstreams(self, upstreams: Upstreams) -> ServiceBuilder<Stack<UpstreamLayer, L>> {
        self.add(UpstreamLayer::new(upstreams))
    }

    /// Puts streams into order and learns what they cost. See [`SseLayer`].
    #[cfg(feature = "sse")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sse")))]
    fn sse(self) -> ServiceBuilder<Stack<SseLayer, L>> {
        self.add(SseLayer::new())
    }
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {}

mod sealed {
    use super::{ServiceBuilder, Stack};

    #[allow(unnameable_types, reason = "that is what seals it")]
    pub trait Add<L>: Sized {
        fn add<T>(self, layer: T) -> ServiceBuilder<Stack<T, L>>;
    }

    impl<L> Add<L> for ServiceBuilder<L> {
        fn add<T>(self, layer: T) -> ServiceBuilder<Stack<T, L>> {
            self.layer(layer)
        }
    }
}
