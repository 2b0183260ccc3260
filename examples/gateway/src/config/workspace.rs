use serde::Deserialize;

use super::{BudgetOverride, Secret};

/// A tenant: who may call, for what, and how much.
///
/// Its keys are those of `api_keys`, `api_key_sha256` and `api_keys_env` together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkspaceConfig {
    /// The name, for metrics and the store of budgets.
    pub name: String,
    /// The keys as they are.
    #[serde(default)]
    pub api_keys: Vec<Secret>,
    /// SHA-256 digests of keys, in hexadecimal.
    #[serde(default)]
    pub api_key_sha256: Vec<String>,
    /// An environment variable that holds keys, separated by commas. Checking the configuration
    /// moves them to [`api_keys`](Self::api_keys).
    pub api_keys_env: Option<String>,
    /// The models that this workspace may use. Default: all.
    pub models: Option<Vec<String>>,
    /// What differs from the common budget.
    #[serde(default)]
    pub budget: BudgetOverride,
}
