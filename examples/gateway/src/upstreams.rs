//! The upstreams that a configuration asks for, real and simulated.

use std::{collections::BTreeMap, io};

use tollgate::{Region, Secret, Upstream, Upstreams, region::ConfigError};

use crate::{
    config::{Config, UpstreamConfig, UpstreamKind},
    simulated::Simulated,
};

/// The simulated upstreams that are running.
#[derive(Debug, Default)]
pub(crate) struct SimulatedUpstreams(BTreeMap<Place, Simulated>);

/// A simulated upstream's region, its name, and from its deployments to models.
type Place = (String, String, BTreeMap<String, String>);

impl SimulatedUpstreams {
    /// Starts those that the configuration adds. Others go on: calls may be open.
    pub(crate) async fn start(&mut self, config: &Config) -> io::Result<()> {
        for (region, upstream) in upstreams_of(config) {
            let place = place(config, region, upstream);
            if upstream.kind == UpstreamKind::Simulated && !self.0.contains_key(&place) {
                let simulated = Simulated::start(region, place.2.clone()).await?;
                self.0.insert(place, simulated);
            }
        }
        Ok(())
    }
}

/// All upstreams, each bound to its region. Those that were there before go on as they were.
pub(crate) fn build(
    config: &Config,
    simulated: &SimulatedUpstreams,
    before: Option<&Upstreams>,
) -> Result<Upstreams, ConfigError> {
    let mut builder = Upstreams::builder();
    if let Some(before) = before {
        builder = builder.following(before);
    }
    for (region, upstream) in upstreams_of(config) {
        // The configuration's check has refused all other names.
        let Some(of) = Region::new(region) else {
            continue;
        };
        let simulated = simulated.0.get(&place(config, region, upstream));
        builder = builder.pool(of.clone(), [described(config, upstream, of, simulated)]);
    }
    builder.build()
}

fn described(
    config: &Config,
    upstream: &UpstreamConfig,
    region: Region,
    simulated: Option<&Simulated>,
) -> Upstream {
    let name = upstream.name.as_str();
    let url = upstream.url.clone().unwrap_or_default();
    let key = Secret::new(upstream.api_key.as_ref().map_or("", |key| key.expose()));
    let mut described = match (upstream.kind, simulated) {
        (UpstreamKind::Simulated, Some(simulated)) => Upstream::azure(
            name,
            region,
            simulated.url(),
            Secret::new(simulated.api_key()),
        ),
        (UpstreamKind::Azure | UpstreamKind::Simulated, _) => {
            Upstream::azure(name, region, url, key).api_version(&*upstream.api_version)
        }
        (UpstreamKind::AzureV1, _) => Upstream::azure_v1(name, region, url, key),
        (UpstreamKind::Openai, _) => Upstream::openai(name, region, url, key),
    };
    for (model, deployment) in deployments(config, upstream) {
        described = described.deployment(model, deployment);
    }
    for place in &upstream.locations {
        described = described.location(place);
    }
    if let Some(deployment_type) = upstream.deployment_type {
        described = described.deployment_type(deployment_type);
    }
    if let Some(ask) = upstream.ask_usage {
        described = described.ask_usage(ask);
    }
    described
        .priority(upstream.priority)
        .weight(upstream.weight)
        .head_timeout(upstream.timeouts.head)
        .idle_timeout(upstream.timeouts.idle)
}

fn place(config: &Config, region: &str, upstream: &UpstreamConfig) -> Place {
    let deployments = deployments(config, upstream).into_iter();
    let models = deployments
        .map(|(model, deployment)| (deployment, model))
        .collect();
    (region.to_owned(), upstream.name.clone(), models)
}

/// From model to deployment. A simulated upstream serves all models unless told otherwise.
fn deployments(config: &Config, upstream: &UpstreamConfig) -> BTreeMap<String, String> {
    if upstream.kind == UpstreamKind::Simulated && upstream.deployments.is_empty() {
        return config
            .models
            .keys()
            .map(|name| (name.clone(), name.clone()))
            .collect();
    }
    upstream.deployments.clone()
}

fn upstreams_of(config: &Config) -> impl Iterator<Item = (&str, &UpstreamConfig)> {
    config.regions.iter().flat_map(|(region, pool)| {
        let upstreams = pool.upstreams.iter();
        upstreams.map(move |upstream| (region.as_str(), upstream))
    })
}
