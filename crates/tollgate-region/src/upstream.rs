use std::{collections::BTreeMap, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use http::HeaderValue;
use tollgate_core::{AttemptSettings, Region};

use crate::{
    ConfigError, Credentials, DeploymentType,
    address::{BaseUrl, Kind, is_deployment},
    residency::plain,
    target::Target,
};

/// A service that answers chat completions: where it is, whose it is, what it serves.
///
/// Plain data until [`UpstreamsBuilder::build`](crate::UpstreamsBuilder::build) checks it.
///
/// ```
/// use tollgate_region::{DeploymentType, Region, Secret, Upstream};
///
/// let sweden = Upstream::azure(
///     "sweden",
///     Region::new("eu").unwrap(),
///     "https://example-sweden.openai.azure.com",
///     Secret::new("0123456789abcdef"),
/// )
/// .deployment("gpt-4o", "gpt-4o-eu")
/// .deployment_type(DeploymentType::DataZoneStandard);
/// assert_eq!((sweden.name(), sweden.region().as_str()), ("sweden", "eu"));
/// ```
#[derive(Clone)]
#[must_use = "an upstream is used by putting it into `Upstreams`"]
pub struct Upstream {
    name: String,
    region: Region,
    kind: Kind,
    base_url: String,
    credentials: Credentials,
    deployments: BTreeMap<String, String>,
    deployment_type: Option<DeploymentType>,
    locations: Vec<String>,
    priority: u32,
    weight: NonZeroU32,
    head_timeout: Duration,
    ask_usage: Option<bool>,
    settings: AttemptSettings,
}

impl Upstream {
    /// Azure OpenAI as it has always been addressed: the deployment in the path, the version in
    /// the query, the key in `api-key`.
    ///
    /// `base_url` is the resource's endpoint, `https://{resource}.openai.azure.com`; a path prefix,
    /// such as API Management puts in front, stays. The API version is `2024-10-21` unless
    /// [`api_version`](Self::api_version) says otherwise.
    pub fn azure(
        name: impl Into<String>,
        region: Region,
        base_url: impl Into<String>,
        credentials: impl Into<Credentials>,
    ) -> Self {
        let api_version = DEFAULT_API_VERSION.to_owned();
        Self::new(
            name,
            region,
            Kind::Azure { api_version },
            base_url,
            credentials,
        )
    }

    /// Azure OpenAI's v1 API: `{base_url}/openai/v1/chat/completions`, the deployment as `model` in
    /// the body, the key in `api-key`.
    pub fn azure_v1(
        name: impl Into<String>,
        region: Region,
        base_url: impl Into<String>,
        credentials: impl Into<Credentials>,
    ) -> Self {
        Self::new(name, region, Kind::AzureV1, base_url, credentials)
    }

    /// OpenAI, or what speaks its protocol: `{base_url}/chat/completions`, the deployment as
    /// `model` in the body, the key as a bearer token.
    ///
    /// `base_url` is what OpenAI's SDKs take, for instance `https://eu.api.openai.com/v1`.
    pub fn openai(
        name: impl Into<String>,
        region: Region,
        base_url: impl Into<String>,
        credentials: impl Into<Credentials>,
    ) -> Self {
        Self::new(name, region, Kind::OpenAi, base_url, credentials)
    }

    fn new(
        name: impl Into<String>,
        region: Region,
        kind: Kind,
        base_url: impl Into<String>,
        credentials: impl Into<Credentials>,
    ) -> Self {
        Self {
            name: name.into(),
            region,
            kind,
            base_url: base_url.into(),
            credentials: credentials.into(),
            deployments: BTreeMap::new(),
            deployment_type: None,
            locations: Vec::new(),
            priority: 0,
            weight: NonZeroU32::MIN,
            head_timeout: DEFAULT_HEAD_TIMEOUT,
            ask_usage: None,
            settings: AttemptSettings::new(),
        }
    }

    /// Serves `model` from this deployment; for OpenAI, the model's name there. Models without a
    /// deployment are not served by this upstream.
    pub fn deployment(mut self, model: impl Into<String>, deployment: impl Into<String>) -> Self {
        self.deployments.insert(model.into(), deployment.into());
        self
    }

    /// Replaces the version of Azure's classic API. Other kinds have none and ignore it.
    ///
    /// Versions before 2024-09-01 do not know `max_completion_tokens`: what a caller states by that
    /// name reaches them as `max_tokens`.
    pub fn api_version(mut self, version: impl Into<String>) -> Self {
        if let Kind::Azure { api_version } = &mut self.kind {
            *api_version = version.into();
        }
        self
    }

    /// Declares how Azure deploys the models, so that a type that leaves the region is refused.
    /// Undeclared types are not checked.
    pub fn deployment_type(mut self, deployment_type: DeploymentType) -> Self {
        self.deployment_type = Some(deployment_type);
        self
    }

    /// Expects answers from this place, as Azure's `x-ms-region` prints it, for instance
    /// `Sweden Central`. May be repeated. An answer from elsewhere is counted as
    /// [`misplaced`](crate::DeploymentStatus::misplaced).
    ///
    /// Without any place, answers are expected from a member state of the EU if the region is
    /// named `eu`, from the US if it is named `us`, and from anywhere otherwise.
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.locations.push(location.into());
        self
    }

    /// Sets the rank in the region: lower numbers come first, others only when these cannot.
    /// Default: 0.
    pub const fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the share among the upstreams of one priority. Default: 1.
    pub const fn weight(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets how long one attempt waits for the head of an answer. Default: 120 s, because
    /// reasoning models are silent for long. The layer's clock over all attempts applies too.
    pub const fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// Sets how long an answer may be silent between two pieces. Default: whatever the layer inside
    /// that keeps this clock is set to.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings = self.settings.idle_timeout(timeout);
        self
    }

    /// Sets whether streams are asked for their usage, which servers that do not know
    /// `stream_options` refuse. Default: yes, but for versions of Azure's classic API before
    /// 2024-09-01.
    pub const fn ask_usage(mut self, ask: bool) -> Self {
        self.ask_usage = Some(ask);
        self
    }

    /// The name that operators know it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The region whose calls it may serve.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// Checks everything that concerns this upstream alone, and makes one target of each
    /// deployment.
    pub(crate) fn targets(&self) -> Result<Vec<(String, Target)>, ConfigError> {
        let upstream = || self.name.clone();
        let name = HeaderValue::from_str(&self.name).ok();
        let name = name
            .filter(|_| !self.name.is_empty() && self.name.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| ConfigError::IllegalName {
                upstream: upstream(),
            })?;
        let leaves = |kind: &DeploymentType| !kind.stays_in(&self.region);
        if let Some(deployment_type) = self.deployment_type.filter(leaves) {
            return Err(ConfigError::LeavesRegion {
                upstream: upstream(),
                region: self.region.clone(),
                deployment_type,
            });
        }
        if self.head_timeout.is_zero() || self.settings.idle_timeout.is_some_and(|t| t.is_zero()) {
            return Err(ConfigError::ZeroTimeout {
                upstream: upstream(),
            });
        }
        let base = BaseUrl::parse(&self.base_url).ok_or_else(|| ConfigError::IllegalUrl {
            upstream: upstream(),
        })?;
        let is_azure = self.kind.is_azure();
        // A source that has nothing yet may have something later.
        let secret = self.credentials.current();
        if secret.is_some_and(|secret| secret.header(is_azure).is_none()) {
            return Err(ConfigError::IllegalKey {
                upstream: upstream(),
            });
        }
        if self.deployments.is_empty() {
            return Err(ConfigError::NoDeployments {
                upstream: upstream(),
            });
        }
        let mut targets = Vec::with_capacity(self.deployments.len());
        for (model, deployment) in &self.deployments {
            let illegal = || ConfigError::IllegalDeployment {
                upstream: upstream(),
                model: model.clone(),
            };
            if !is_deployment(deployment) || model.is_empty() {
                return Err(illegal());
            }
            let path = self.kind.path(deployment);
            let path = path.ok_or_else(|| ConfigError::IllegalApiVersion {
                upstream: upstream(),
            })?;
            let target = Target {
                upstream: self.name.as_str().into(),
                upstream_header: name.clone(),
                region: self.region.clone(),
                model: model.as_str().into(),
                deployment: deployment.as_str().into(),
                host: base.host().into(),
                uri: base.join(&path).ok_or_else(illegal)?,
                credentials: self.credentials.clone(),
                is_azure,
                model_json: self.kind.model_json(deployment),
                wants_max_tokens: self.kind.is_old(),
                locations: self.locations.iter().map(|place| plain(place)).collect(),
                priority: self.priority,
                weight: self.weight,
                head_timeout: self.head_timeout,
                settings: self
                    .settings
                    .ask_usage(self.ask_usage.unwrap_or(!self.kind.is_old())),
                health: Arc::default(),
            };
            targets.push((model.clone(), target));
        }
        Ok(targets)
    }

    /// What no other region's upstream may share: the place that calls are sent to.
    pub(crate) fn place(&self) -> Option<String> {
        BaseUrl::parse(&self.base_url).map(|base| base.place())
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL that has not been checked yet may hold credentials.
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("region", &self.region)
            .field("kind", &self.kind)
            .field("deployments", &self.deployments)
            .finish_non_exhaustive()
    }
}

const DEFAULT_API_VERSION: &str = "2024-10-21";
const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_secs(120);
