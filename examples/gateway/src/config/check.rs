//! What keys mean together.

use std::collections::{BTreeMap, BTreeSet};

use http::Uri;
use tollgate::Region;

use super::{Config, Problem, Secret, UpstreamConfig, UpstreamKind, WorkspaceConfig};

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that is wrong; also reads the secrets that environment variables hold.
pub(super) fn check(config: &mut Config, environment: Environment<'_>) -> Vec<Problem> {
    let mut report = Report(Vec::new());
    check_limits(config, &mut report);
    check_budget(config, &mut report);
    check_models(config, &mut report);
    check_workspaces(config, environment, &mut report);
    check_regions(config, environment, &mut report);
    report.0
}

struct Report(Vec<Problem>);

impl Report {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(key, message));
    }
}

fn check_limits(config: &Config, report: &mut Report) {
    for (key, is_zero) in [
        ("max_body_bytes", config.max_body_bytes == 0),
        ("limits.connections", config.limits.connections == 0),
        ("limits.in_flight", config.limits.in_flight == 0),
    ] {
        if is_zero {
            report.add(key, "nothing would be served: must be at least 1");
        }
    }
}

fn check_budget(config: &Config, report: &mut Report) {
    match config.budget.store.as_str() {
        "memory" => {}
        store if store.starts_with("redis://") => report.add(
            "budget.store",
            "this gateway is built without the Redis store: use \"memory\"",
        ),
        _ => report.add("budget.store", "expected \"memory\""),
    }
    for (name, model) in &config.models {
        if !model.budget.models.is_empty() {
            report.add(
                format!("models.{name}.budget.models"),
                "limits for single models belong to a workspace",
            );
        }
    }
    for (at, workspace) in config.workspaces.iter().enumerate() {
        for (name, limits) in &workspace.budget.models {
            let key = format!("workspaces[{at}].budget.models.{name}");
            if !config.models.contains_key(name) {
                report.add(&*key, "there is no such model");
            }
            if !limits.models.is_empty() {
                report.add(key, "limits for single models do not nest");
            }
        }
    }
}

fn check_models(config: &Config, report: &mut Report) {
    if config.models.is_empty() {
        report.add("models", "there must be at least one model");
    }
    let mut names: BTreeSet<&str> = config.models.keys().map(String::as_str).collect();
    for (name, model) in &config.models {
        if !is_visible(name) {
            report.add(
                format!("models.{name}"),
                "a name consists of visible ASCII characters",
            );
        }
        if model.max_output_tokens == Some(0) {
            report.add(format!("models.{name}.max_output_tokens"), "must not be 0");
        }
        if model.context_window == Some(0) {
            report.add(format!("models.{name}.context_window"), "must not be 0");
        }
        for (at, alias) in model.aliases.iter().enumerate() {
            let key = format!("models.{name}.aliases[{at}]");
            if !is_visible(alias) {
                report.add(key, "a name consists of visible ASCII characters");
            } else if !names.insert(alias) {
                report.add(key, "there is a model of this name already");
            }
        }
    }
}

fn check_workspaces(config: &mut Config, environment: Environment<'_>, report: &mut Report) {
    if config.workspaces.is_empty() {
        report.add("workspaces", "there must be at least one workspace");
    }
    let mut names = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for (at, workspace) in config.workspaces.iter_mut().enumerate() {
        let here = format!("workspaces[{at}]");
        if !is_visible(&workspace.name) {
            report.add(
                format!("{here}.name"),
                "a name consists of visible ASCII characters",
            );
        }
        if !names.insert(workspace.name.clone()) {
            report.add(
                format!("{here}.name"),
                "there is a workspace of this name already",
            );
        }
        read_keys(workspace, &here, environment, report);
        for key in &workspace.api_keys {
            if !is_visible(key.expose()) {
                report.add(
                    &*here,
                    "an API key consists of visible ASCII characters without spaces",
                );
            } else if !keys.insert(key.expose().to_owned()) {
                report.add(&*here, "one of its API keys is in use already");
            }
        }
        for (at, digest) in workspace.api_key_sha256.iter().enumerate() {
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
                report.add(
                    format!("{here}.api_key_sha256[{at}]"),
                    "expected 64 hexadecimal digits",
                );
            }
        }
        let models = workspace.models.iter().flatten().enumerate();
        for (at, model) in models.filter(|(_, model)| !config.models.contains_key(*model)) {
            report.add(
                format!("{here}.models[{at}]"),
                format!("there is no model {model:?}"),
            );
        }
    }
}

fn read_keys(
    workspace: &mut WorkspaceConfig,
    here: &str,
    environment: Environment<'_>,
    report: &mut Report,
) {
    if let Some(name) = &workspace.api_keys_env {
        let value = environment(name).unwrap_or_default();
        let keys = value
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let before = workspace.api_keys.len();
        workspace.api_keys.extend(keys.map(Secret::new));
        if workspace.api_keys.len() == before {
            report.add(
                format!("{here}.api_keys_env"),
                format!("the environment variable {name} holds no key"),
            );
        }
    } else if workspace.api_keys.is_empty() && workspace.api_key_sha256.is_empty() {
        report.add(
            here,
            "needs one of `api_keys`, `api_key_sha256` and `api_keys_env`",
        );
    }
}

fn check_regions(config: &mut Config, environment: Environment<'_>, report: &mut Report) {
    if config.regions.is_empty() {
        report.add("regions", "there must be at least one region");
    }
    if let Some(default) = &config.default_region {
        if !config.regions.contains_key(default) {
            report.add("default_region", format!("there is no region {default:?}"));
        }
    }
    let mut names = BTreeSet::new();
    let mut urls = BTreeMap::new();
    let mut clocks = BTreeMap::new();
    for (region, pool) in &mut config.regions {
        if Region::new(region).is_none() {
            report.add(
                format!("regions.{region}"),
                "a name consists of up to 64 letters, digits, `-`, `_` and `.`",
            );
        }
        if pool.upstreams.is_empty() {
            report.add(
                format!("regions.{region}.upstreams"),
                "there must be at least one upstream",
            );
        }
        for (at, upstream) in pool.upstreams.iter_mut().enumerate() {
            let here = format!("regions.{region}.upstreams[{at}]");
            if !is_visible(&upstream.name) {
                report.add(
                    format!("{here}.name"),
                    "a name consists of visible ASCII characters",
                );
            }
            if !names.insert(upstream.name.clone()) {
                report.add(
                    format!("{here}.name"),
                    "there is an upstream of this name already",
                );
            }
            for (model, deployment) in &upstream.deployments {
                let key = format!("{here}.deployments.{model}");
                if !config.models.contains_key(model) {
                    report.add(&*key, "there is no such model");
                }
                if upstream.kind == UpstreamKind::Openai {
                    if !is_visible(deployment) {
                        report.add(key, "a model's name consists of visible ASCII characters");
                    }
                } else if !is_deployment(deployment) {
                    report.add(
                        key,
                        "a deployment's name consists of up to 64 letters, digits, `-`, `_` and `.`",
                    );
                }
            }
            let leaves = upstream.deployment_type.zip(Region::new(region));
            if leaves.is_some_and(|(kind, region)| !kind.stays_in(&region)) {
                report.add(
                    format!("{here}.deployment_type"),
                    format!("deployments of this type may be answered outside of {region:?}"),
                );
            }
            if upstream.kind == UpstreamKind::Simulated {
                check_simulated(upstream, &here, report);
                continue;
            }
            check_real(upstream, &here, environment, report);
            let url = upstream.url.as_deref().unwrap_or_default();
            let owner = urls.entry(place_of(url)).or_insert_with(|| region.clone());
            if owner != region {
                report.add(
                    format!("{here}.url"),
                    format!("an upstream of {owner:?} has this URL: regions share none"),
                );
            }
            let connect = upstream.timeouts.connect;
            if *clocks.entry(host_of(url)).or_insert(connect) != connect {
                report.add(
                    format!("{here}.timeouts.connect_ms"),
                    "another upstream of this host has another: they share connections",
                );
            }
        }
    }
}

fn check_simulated(upstream: &UpstreamConfig, here: &str, report: &mut Report) {
    let stated = [
        ("url", upstream.url.is_some()),
        ("api_key", upstream.api_key.is_some()),
        ("api_key_env", upstream.api_key_env.is_some()),
    ];
    for (key, _) in stated.into_iter().filter(|(_, is_stated)| *is_stated) {
        report.add(
            format!("{here}.{key}"),
            "a simulated upstream has its own: remove the key",
        );
    }
}

fn check_real(
    upstream: &mut UpstreamConfig,
    here: &str,
    environment: Environment<'_>,
    report: &mut Report,
) {
    match &upstream.url {
        None => report.add(format!("{here}.url"), "is missing"),
        Some(url) if !is_base_url(url) => report.add(
            format!("{here}.url"),
            "expected https:// or http://, a host, and no query",
        ),
        Some(_) => {}
    }
    if upstream.deployments.is_empty() {
        report.add(
            format!("{here}.deployments"),
            "there must be at least one, such as { \"gpt-4o\" = \"my-deployment\" }",
        );
    }
    let is_version = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    if upstream.api_version.is_empty() || !upstream.api_version.bytes().all(is_version) {
        report.add(
            format!("{here}.api_version"),
            "expected a version such as 2024-10-21",
        );
    }
    let (key, secret) = match (&upstream.api_key, &upstream.api_key_env) {
        (Some(_), Some(_)) => {
            return report.add(here, "has both `api_key` and `api_key_env`");
        }
        (None, None) => return report.add(here, "needs `api_key` or `api_key_env`"),
        (Some(secret), None) => ("api_key", secret.clone()),
        (None, Some(name)) => match environment(name) {
            Some(value) => ("api_key_env", Secret::new(value.trim())),
            None => {
                return report.add(
                    format!("{here}.api_key_env"),
                    format!("the environment variable {name} is not set"),
                );
            }
        },
    };
    if !is_visible(secret.expose()) {
        report.add(
            format!("{here}.{key}"),
            "an API key consists of visible ASCII characters without spaces",
        );
    }
    upstream.api_key = Some(secret);
}

fn is_visible(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic())
}

fn is_deployment(name: &str) -> bool {
    Region::new(name).is_some() && name != "." && name != ".."
}

/// What two URLs of one place have in common.
fn place_of(url: &str) -> String {
    let (_, place) = url.split_once("://").unwrap_or_default();
    place.trim_end_matches('/').to_ascii_lowercase()
}

fn host_of(url: &str) -> String {
    let place = place_of(url);
    let (host, _) = place.split_once('/').unwrap_or((&place, ""));
    host.to_owned()
}

fn is_base_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
    })
}
