use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};
use tollgate::DeploymentType;

use super::{Secret, duration};

/// A region and the upstreams that may answer its calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RegionConfig {
    /// At least one.
    #[serde(default)]
    pub upstreams: Vec<UpstreamConfig>,
}

/// A service that answers chat completions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// The name by which answers and metrics call it; unique.
    pub name: String,
    /// How it is addressed. Default: `azure`.
    #[serde(default)]
    pub kind: UpstreamKind,
    /// The resource's endpoint. A path prefix stays.
    pub url: Option<String>,
    /// The version of Azure's API. Default: `2024-10-21`.
    #[serde(default = "default_api_version")]
    pub api_version: String,
    /// The key as it is. Checking the configuration puts it here from the environment as well.
    pub api_key: Option<Secret>,
    /// An environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// From public model to deployment. A model that is not here is not served by this upstream;
    /// a simulated one serves all models unless told otherwise.
    #[serde(default)]
    pub deployments: BTreeMap<String, String>,
    /// How Azure deploys the models. A type that may answer from outside the region is an error.
    #[serde(default, deserialize_with = "deployment_type")]
    pub deployment_type: Option<DeploymentType>,
    /// The places, as Azure's `x-ms-region` prints them, that answers may come from; others are
    /// counted as misplaced. Default: nothing is compared.
    #[serde(default)]
    pub locations: Vec<String>,
    /// Whether streams are asked for their usage. Default: yes, but for an `api_version` before
    /// 2024-09-01.
    pub ask_usage: Option<bool>,
    /// Lower numbers come first; others only when these cannot. Default: 0.
    #[serde(default)]
    pub priority: u32,
    /// The share among those of the same priority. Default: 1.
    #[serde(default = "default_weight")]
    pub weight: NonZeroU32,
    /// How long it may be silent.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// How an upstream is addressed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UpstreamKind {
    /// Azure OpenAI: the deployment in the path, the key in `api-key`.
    #[default]
    Azure,
    /// Azure OpenAI's v1 API: the deployment as the body's model, the key in `api-key`.
    AzureV1,
    /// OpenAI and what speaks its protocol: the model in the body, the key as a bearer token.
    Openai,
    /// An Azure-like upstream inside this process, for demos and tests. It has its own URL and key.
    Simulated,
}

/// How long an upstream may be silent.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Timeouts {
    /// Until a connection stands, its TLS included. Default: 5 s.
    #[serde(rename = "connect_ms", with = "duration::millis")]
    pub connect: Duration,
    /// Until it answers. Default: 120 s, because reasoning models are silent for long.
    #[serde(rename = "head_ms", with = "duration::millis")]
    pub head: Duration,
    /// Between two pieces of an answer. Default: 300 s.
    #[serde(rename = "idle_ms", with = "duration::millis")]
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(120),
            idle: Duration::from_secs(300),
        }
    }
}

fn default_api_version() -> String {
    "2024-10-21".to_owned()
}

const fn default_weight() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn deployment_type<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DeploymentType>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = DeploymentType::from_name(&name);
    let unknown = || {
        D::Error::custom(format!(
            "unknown deployment type `{name}`, expected one of Azure's, such as Standard or \
             DataZoneStandard"
        ))
    };
    known.map(Some).ok_or_else(unknown)
}
