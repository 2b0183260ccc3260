//! What keys mean together.

mod regions;

use std::collections::BTreeSet;

use tollgate::{ApiKeys, KeyRing, Workspace};

use super::{Config, Problem, Secret, WorkspaceConfig};

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that is wrong; also reads the secrets that environment variables hold.
pub(super) fn check(config: &mut Config, environment: Environment<'_>) -> Vec<Problem> {
    let mut report = Report(Vec::new());
    check_addresses(config, &mut report);
    check_limits(config, &mut report);
    check_store(config, environment, &mut report);
    check_budget(config, &mut report);
    check_models(config, &mut report);
    check_workspaces(config, environment, &mut report);
    regions::check(config, environment, &mut report);
    report.0
}

struct Report(Vec<Problem>);

impl Report {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(key, message));
    }
}

fn check_addresses(config: &Config, report: &mut Report) {
    // Port 0 is another one each time.
    if config.admin_listen == Some(config.listen) && config.listen.port() != 0 {
        report.add("admin_listen", "is the address of `listen`");
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

fn check_store(config: &mut Config, environment: Environment<'_>, report: &mut Report) {
    let budget = &mut config.budget;
    if let Some(name) = &budget.store_env {
        let key = "budget.store_env";
        match environment(name) {
            Some(store) => budget.store = Secret::new(store.trim()),
            None => {
                report.add(key, format!("there is no environment variable {name}"));
                return;
            }
        }
    }
    if !budget.is_shared() {
        return;
    }
    if let Err((key, problem)) = budget.redis() {
        let key = match key {
            "store" if budget.store_env.is_some() => "store_env",
            key => key,
        };
        report.add(format!("budget.{key}"), problem);
    }
}

fn check_budget(config: &Config, report: &mut Report) {
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
    let digests = check_digests(config, report);
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
        let stated = workspace.api_keys.len();
        read_keys(workspace, &here, environment, report);
        for (at, key) in workspace.api_keys.iter().enumerate() {
            let place = if at < stated {
                format!("{here}.api_keys[{at}]")
            } else {
                format!("{here}.api_keys_env")
            };
            if !is_visible(key.expose()) || key.expose().len() > MAX_KEY_BYTES {
                report.add(
                    place,
                    "an API key consists of up to 1,024 visible ASCII characters without spaces",
                );
            } else if digests.workspace(key.expose().as_bytes()).is_some()
                || !keys.insert(key.expose().to_owned())
            {
                report.add(place, "the API key is in use already");
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

/// The keys of which only digests are known.
fn check_digests(config: &Config, report: &mut Report) -> ApiKeys {
    let mut known = ApiKeys::new();
    let mut digests = BTreeSet::new();
    for (at, workspace) in config.workspaces.iter().enumerate() {
        for (of, digest) in workspace.api_key_sha256.iter().enumerate() {
            let key = format!("workspaces[{at}].api_key_sha256[{of}]");
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
                report.add(key, "expected 64 hexadecimal digits");
            } else if !digests.insert(digest.to_ascii_lowercase()) {
                report.add(key, "the API key is in use already");
            } else {
                // They are digests, and all of one workspace: there is nothing to object to.
                let added = known.key_sha256(digest, Workspace::new(""));
                known = added.unwrap_or_default();
            }
        }
    }
    known
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

fn is_visible(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic())
}

// What the library takes.
const MAX_KEY_BYTES: usize = 1_024;
