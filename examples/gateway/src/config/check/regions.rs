//! Regions and their upstreams.

use std::collections::{BTreeMap, BTreeSet};

use http::{Uri, uri::Authority};
use tollgate::{Region, Secret as Key, Upstream, Upstreams, region::ConfigError};

use super::{Environment, Report, is_visible};
use crate::config::{Config, Secret, UpstreamConfig, UpstreamKind};

pub(super) fn check(config: &mut Config, environment: Environment<'_>, report: &mut Report) {
    if config.regions.is_empty() {
        report.add("regions", "there must be at least one region");
    }
    if let Some(default) = &config.default_region {
        if !config.regions.contains_key(default) {
            report.add("default_region", format!("there is no region {default:?}"));
        }
    }
    let mut names = BTreeSet::new();
    let mut places = BTreeMap::new();
    let mut upstreams = Upstreams::builder();
    let mut clocks = BTreeMap::new();
    for (region, pool) in &mut config.regions {
        let of = Region::new(region).filter(|_| is_segment(region));
        if of.is_none() {
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
                } else if !is_segment(deployment) {
                    report.add(
                        key,
                        "a deployment's name consists of up to 64 letters, digits, `-`, `_` and `.`",
                    );
                }
            }
            let leaves = upstream.deployment_type.zip(of.as_ref());
            if leaves.is_some_and(|(kind, region)| !kind.stays_in(region)) {
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
            if let Some(of) = of.clone() {
                let alike = Upstream::openai(&*upstream.name, of.clone(), url, Key::new("key"));
                upstreams = upstreams.pool(of, [alike.deployment("model", "model")]);
                places.insert(upstream.name.clone(), here.clone());
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
    // Whoever sends the calls knows which URLs are the same place.
    if let Err(ConfigError::SharedUrl { upstream, regions }) = upstreams.build() {
        let here = places.remove(&upstream).unwrap_or_default();
        let [owner, _] = regions;
        report.add(
            format!("{here}.url"),
            format!(
                "an upstream of {:?} has this URL: regions share none",
                owner.as_str()
            ),
        );
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

fn is_segment(name: &str) -> bool {
    Region::new(name).is_some() && name != "." && name != ".."
}

fn host_of(url: &str) -> String {
    let (_, place) = url.split_once("://").unwrap_or_default();
    let (host, _) = place.split_once('/').unwrap_or((place, ""));
    host.to_ascii_lowercase()
}

fn is_base_url(url: &str) -> bool {
    // `Uri` drops a fragment without a word, and a port that is none.
    let is_host = |authority: &Authority| {
        let (text, host) = (authority.as_str(), authority.host());
        !host.is_empty() && !text.contains('@') && (text == host || authority.port_u16().is_some())
    };
    !url.contains('#')
        && url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
                && uri.authority().is_some_and(is_host)
        })
}
