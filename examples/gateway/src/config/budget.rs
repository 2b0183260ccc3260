use std::{
    collections::BTreeMap,
    fs,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use tollgate::{Limits, OnFailure, Quota, RedisSettings};

use super::{Config, Secret, WorkspaceConfig, duration};

/// What each workspace may use of each model, unless an override says otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// Requests in any minute. Default: 500.
    pub requests_per_minute: NonZeroU64,
    /// Tokens of prompts and answers in any minute. Default: 60,000.
    pub tokens_per_minute: NonZeroU64,
    /// The length of a sixtieth of the window, so that tests can shorten the minute. Default: 1 s.
    #[serde(rename = "slot_ms", with = "duration::millis")]
    pub slot: Duration,
    /// Where counters are kept: `memory`, each gateway for itself, or the URL of a Redis or Valkey
    /// that gateways share, which may hold credentials. Default: `memory`.
    pub store: Secret,
    /// The environment variable that holds the store's URL.
    pub store_env: Option<String>,
    /// A file of certificates in PEM, of which one has to vouch for a store at `rediss://…`.
    /// Default: those that browsers trust.
    pub store_root_certificates: Option<PathBuf>,
    /// How long a call waits for the store's decision. Default: 50 ms.
    #[serde(rename = "store_wait_ms", with = "duration::millis")]
    pub store_wait: Duration,
    /// What happens to calls while the store cannot decide. Memory always can. Default:
    /// `local-share`.
    pub on_store_failure: StoreFailure,
    /// How many gateways share the store, of which each grants an even part of the limits while it
    /// cannot decide. Default: one, and a warning.
    pub instances: Option<NonZeroU32>,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            requests_per_minute: NonZeroU64::MIN.saturating_add(499),
            tokens_per_minute: NonZeroU64::MIN.saturating_add(59_999),
            slot: Duration::from_secs(1),
            store: Secret::new(MEMORY),
            store_env: None,
            store_root_certificates: None,
            store_wait: Duration::from_millis(50),
            on_store_failure: StoreFailure::LocalShare,
            instances: None,
        }
    }
}

impl BudgetConfig {
    /// Whether gateways share the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.expose() != MEMORY
    }

    /// Whether nobody has said how many gateways share the store, although it matters.
    pub(crate) fn is_alone(&self) -> bool {
        let shares = self.on_store_failure == StoreFailure::LocalShare;
        self.is_shared() && shares && self.instances.is_none()
    }

    /// How the store is reached that gateways share; or the key that is wrong, and why. Nothing of a
    /// URL is repeated, which may hold a password.
    pub(crate) fn redis(&self) -> Result<RedisSettings, (&'static str, String)> {
        // It fails where the process has one, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut settings = RedisSettings::new(self.store.expose()).map_err(|error| {
            (
                "store",
                format!("expected \"memory\" or redis://…: {error}"),
            )
        })?;
        if let Some(path) = &self.store_root_certificates {
            const KEY: &str = "store_root_certificates";
            let pem = fs::read(path)
                .map_err(|error| (KEY, format!("cannot read {}: {error}", path.display())))?;
            settings = settings
                .root_certificates(pem)
                .map_err(|error| (KEY, error.to_string()))?;
        }
        Ok(settings.slot(self.slot).patience(self.store_wait))
    }

    /// What happens to calls while the store cannot decide.
    pub(crate) fn on_failure(&self) -> OnFailure {
        match (self.on_store_failure, self.instances) {
            (StoreFailure::Open, _) => OnFailure::Open,
            (StoreFailure::LocalShare, instances) => OnFailure::LocalShare {
                instances: instances.unwrap_or(NonZeroU32::MIN),
            },
            (StoreFailure::Closed, _) => OnFailure::Closed,
        }
    }
}

/// What happens to requests while the store of budgets fails.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StoreFailure {
    /// They are refused.
    Closed,
    /// Each gateway grants its share of the limits, by its own count.
    LocalShare,
    /// They pass.
    Open,
}

/// Limits that differ from the common ones. What is absent does not differ.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetOverride {
    /// Requests in any minute.
    pub requests_per_minute: Option<NonZeroU64>,
    /// Tokens in any minute.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// In a workspace: what differs for single models.
    #[serde(default)]
    pub models: BTreeMap<String, BudgetOverride>,
}

impl Config {
    /// The limits of all workspaces and models.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::new(self.quota(None, ""));
        for (name, model) in &self.models {
            if model.budget.differs() {
                limits = limits.model(name.as_str(), self.quota(None, name));
            }
        }
        let differing = self.workspaces.iter().filter(|w| w.budget.differs());
        for workspace in differing {
            for model in self.models.keys() {
                let quota = self.quota(Some(workspace), model);
                limits = limits.pair(workspace.name.as_str(), model.as_str(), quota);
            }
        }
        limits
    }

    /// What is stated most closely counts, for requests and for tokens: the workspace's for this
    /// model, the workspace's, the model's, the common ones.
    fn quota(&self, workspace: Option<&WorkspaceConfig>, model: &str) -> Quota {
        let overrides = [
            workspace.and_then(|w| w.budget.models.get(model)),
            workspace.map(|w| &w.budget),
            self.models.get(model).map(|m| &m.budget),
        ];
        let stated = |limit: fn(&BudgetOverride) -> Option<NonZeroU64>| {
            overrides.iter().flatten().find_map(|budget| limit(budget))
        };
        Quota::per_minute(
            stated(|b| b.requests_per_minute).unwrap_or(self.budget.requests_per_minute),
            stated(|b| b.tokens_per_minute).unwrap_or(self.budget.tokens_per_minute),
        )
    }
}

const MEMORY: &str = "memory";

impl BudgetOverride {
    fn differs(&self) -> bool {
        self.requests_per_minute.is_some()
            || self.tokens_per_minute.is_some()
            || !self.models.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tollgate::budget::Key;

    use super::*;

    #[test]
    fn what_is_stated_most_closely_counts() {
        let text = r#"
            [budget]
            requests_per_minute = 1
            tokens_per_minute = 10
            [[workspaces]]
            name = "a"
            api_keys = ["k"]
            budget = { tokens_per_minute = 20, models = { m = { tokens_per_minute = 30 } } }
            [models.m]
            budget = { requests_per_minute = 2, tokens_per_minute = 40 }
            [models.n]
            [[regions.eu.upstreams]]
            name = "u"
            kind = "simulated"
        "#;
        let config = Config::parse("test", text, &|_| None).unwrap();
        let quota = |requests, tokens| {
            let number = |n| NonZeroU64::new(n).unwrap();
            Quota::per_minute(number(requests), number(tokens))
        };
        let limits = config.limits();
        let of = |workspace, model| limits.quota(&Key::new(workspace, model));
        assert_eq!(of("a", "m"), quota(2, 30));
        assert_eq!(of("a", "n"), quota(1, 20));
        assert_eq!(of("b", "m"), quota(2, 40));
        assert_eq!(of("b", "n"), quota(1, 10));
    }
}
