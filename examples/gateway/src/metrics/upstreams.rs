//! How upstreams are doing, read when somebody asks.

use serde_json::{Value, json};
use tollgate::{
    Upstreams,
    region::{BreakerState, DeploymentStatus, RegionStatus},
};

use super::metric::{Metric, counter, gauge};

/// Everything in Prometheus' text format.
pub(super) fn render(upstreams: &Upstreams) -> String {
    let mut text = String::new();
    let deployments = upstreams.status();
    for metric in DEPLOYMENTS {
        metric.render(&mut text, &deployments, |of| {
            let (upstream, model) = (escaped(&of.upstream), escaped(&of.model));
            format!(
                "region=\"{}\",upstream=\"{upstream}\",model=\"{model}\"",
                of.region
            )
        });
    }
    let regions = upstreams.region_status();
    for metric in REGIONS {
        metric.render(&mut text, &regions, |of| {
            format!("region=\"{}\"", of.region)
        });
    }
    text
}

/// Everything as JSON, for people.
pub(crate) fn report(upstreams: &Upstreams) -> Value {
    let deployments = upstreams.status().into_iter().map(|of| {
        json!({
            "region": of.region.as_str(),
            "upstream": &*of.upstream,
            "model": &*of.model,
            "breaker": breaker(of.breaker),
            "blocked_for_ms": of.blocked_for.map(|time| time.as_millis() as u64),
            "outstanding": of.outstanding,
            "attempts": of.attempts,
            "failures": of.failures,
            "rate_limited": of.rate_limited,
            "misplaced": of.misplaced,
        })
    });
    let deployments: Vec<Value> = deployments.collect();
    let regions = upstreams.region_status().into_iter().map(|of| {
        json!({
            "region": of.region.as_str(),
            "calls": of.calls,
            "retries": of.retries,
            "retries_denied": of.retries_denied,
            "not_replayable": of.not_replayable,
            "cross_region": of.cross_region,
        })
    });
    json!({"regions": regions.collect::<Vec<_>>(), "deployments": deployments})
}

fn breaker(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half_open",
        _ => "open",
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#)
}

const DEPLOYMENTS: [Metric<DeploymentStatus>; 7] = [
    counter("tollgate_upstream_attempts_total", "Attempts made", |of| {
        of.attempts
    }),
    counter(
        "tollgate_upstream_failures_total",
        "Attempts that failed through the upstream's fault",
        |of| of.failures,
    ),
    counter(
        "tollgate_upstream_rate_limited_total",
        "Answers that asked to be left alone",
        |of| of.rate_limited,
    ),
    counter(
        "tollgate_upstream_misplaced_total",
        "Answers from places that are not expected: must stay 0",
        |of| of.misplaced,
    ),
    gauge(
        "tollgate_upstream_outstanding",
        "Calls under way, their bodies included",
        |of| of.outstanding.into(),
    ),
    gauge(
        "tollgate_upstream_breaker_open",
        "1 if the circuit breaker moves calls elsewhere",
        |of| u64::from(of.breaker == BreakerState::Open),
    ),
    gauge(
        "tollgate_upstream_blocked",
        "1 if it gets no calls, because of its rate limit or its breaker",
        |of| u64::from(of.blocked_for.is_some()),
    ),
];

const REGIONS: [Metric<RegionStatus>; 5] = [
    counter(
        "tollgate_region_calls_total",
        "Calls that reached an upstream",
        |of| of.calls,
    ),
    counter(
        "tollgate_region_retries_total",
        "Attempts beyond a call's first",
        |of| of.retries,
    ),
    counter(
        "tollgate_region_retries_denied_total",
        "Further attempts that the retry budget did not allow",
        |of| of.retries_denied,
    ),
    counter(
        "tollgate_region_not_replayable_total",
        "Calls that got one attempt because their body could not be sent again",
        |of| of.not_replayable,
    ),
    counter(
        "tollgate_region_cross_dispatches_total",
        "Dispatches to another region's upstream, each of them prevented: must stay 0",
        |of| of.cross_region,
    ),
];

#[cfg(test)]
mod tests {
    use tollgate::{Region, Secret, Upstream};

    use super::*;

    fn upstreams() -> Upstreams {
        let eu = Region::new("eu").unwrap();
        let sweden = Upstream::azure("a\"b", eu.clone(), "https://x.example", Secret::new("k"));
        let sweden = sweden.deployment("gpt-4o", "secret-deployment");
        Upstreams::builder().pool(eu, [sweden]).build().unwrap()
    }

    #[test]
    fn each_deployment_and_region_has_its_lines() {
        let text = render(&upstreams());
        for line in [
            r#"tollgate_upstream_attempts_total{region="eu",upstream="a\"b",model="gpt-4o"} 0"#,
            "# TYPE tollgate_upstream_outstanding gauge",
            r#"tollgate_region_cross_dispatches_total{region="eu"} 0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("secret-deployment"));
    }

    #[test]
    fn the_report_names_states() {
        let report = report(&upstreams());
        assert_eq!(report["deployments"][0]["breaker"], "closed");
        assert_eq!(report["regions"][0]["cross_region"], 0);
    }
}
