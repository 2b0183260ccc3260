//! The configuration file: what may stand in it, and what each key means when it is absent.
//!
//! Reading has two stages. `serde` checks names and types, `check.rs` what they mean together. Both
//! report the key and the line, the second stage all that it finds at once.

mod budget;
mod check;
mod duration;
mod locate;
mod model;
mod problem;
mod secret;
mod upstream;
mod workspace;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use serde::Deserialize;

pub use self::{
    budget::{BudgetConfig, BudgetOverride, StoreFailure},
    model::{FeatureName, ModelConfig},
    problem::{ConfigError, Problem},
    secret::Secret,
    upstream::{RegionConfig, Timeouts, UpstreamConfig, UpstreamKind},
    workspace::WorkspaceConfig,
};

/// A configuration that has been checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where the gateway listens. Default: `127.0.0.1:8080`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// How strictly requests are checked. Default: `compatible`.
    #[serde(default)]
    pub policy: PolicyName,
    /// Where health and metrics are served. Default: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// The longest request body. Default: 16 MiB.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: u64,
    /// The region that `/v1/…` stands for. Default: none, such paths are not served.
    pub default_region: Option<String>,
    /// How the tokens of prompts are counted. Default: `exact`.
    #[serde(default)]
    pub token_counts: TokenCounts,
    /// What each workspace may use of each model.
    #[serde(default)]
    pub budget: BudgetConfig,
    /// Clocks and caps of connections and request bodies.
    #[serde(default)]
    pub limits: ServerLimits,
    /// Who may call.
    #[serde(default)]
    pub workspaces: Vec<WorkspaceConfig>,
    /// What may be asked for, by public name.
    #[serde(default)]
    pub models: BTreeMap<String, ModelConfig>,
    /// Where calls are answered.
    #[serde(default)]
    pub regions: BTreeMap<String, RegionConfig>,
}

impl Config {
    /// Reads and checks a file. Secrets named by environment variables are read as well.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or for each thing that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::unreadable(file.as_str(), &error))?;
        Self::parse(&file, &text, &|name| std::env::var(name).ok())
    }

    /// Checks the text of a file; `environment` looks up the variables that it names.
    ///
    /// # Errors
    ///
    /// For each thing that is wrong with it; `file` is what the errors call it.
    pub fn parse(
        file: &str,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::new(file, vec![locate::syntax_problem(text, &error)]))?;
        let problems = check::check(&mut config, environment);
        if problems.is_empty() {
            return Ok(config);
        }
        let source = locate::Source::new(text);
        let problems = problems.into_iter();
        let problems = problems.map(|problem| source.with_line(problem)).collect();
        Err(ConfigError::new(file, problems))
    }

    /// The listener's limits, with what follows from others filled in.
    #[must_use]
    pub fn server_limits(&self) -> ServerLimits {
        let discard_bytes = self.limits.discard_bytes;
        let twice = self.max_body_bytes.saturating_mul(2);
        ServerLimits {
            discard_bytes: Some(discard_bytes.unwrap_or(twice)),
            // Over HTTP/2 a refusal that waits looks like one that its caller does not read.
            discard: self.limits.discard.min(self.limits.write_stall / 2),
            ..self.limits
        }
    }

    /// What differs from the configuration that the process was started with, and will go on to
    /// do so until it is started again.
    #[must_use]
    pub fn needs_restart(&self, started: &Self) -> Vec<&'static str> {
        let limits = ServerLimits {
            body: started.limits.body,
            ..self.server_limits()
        };
        let differs = [
            ("listen", self.listen != started.listen),
            ("admin_listen", self.admin_listen != started.admin_listen),
            ("budget.slot_ms", self.budget.slot != started.budget.slot),
            ("budget.store", self.budget.store != started.budget.store),
            (
                "budget.store_root_certificates",
                self.budget.store_root_certificates != started.budget.store_root_certificates,
            ),
            (
                "budget.store_wait_ms",
                self.budget.store_wait != started.budget.store_wait,
            ),
            (
                "budget.on_store_failure",
                self.budget.on_failure() != started.budget.on_failure(),
            ),
            ("limits", limits != started.server_limits()),
        ];
        let differing = differs.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| key).collect()
    }

    /// The configuration of a gateway that is started without one.
    ///
    /// # Errors
    ///
    /// Never: a test parses the text.
    pub fn demo() -> Result<Self, ConfigError> {
        Self::parse("demo.toml", DEMO, &|_| None)
    }
}

/// How strictly requests are checked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PolicyName {
    /// Harmless spellings of today's SDKs are absorbed.
    #[default]
    Compatible,
    /// The documented service to the letter.
    Strict,
}

/// How the tokens of prompts are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TokenCounts {
    /// Roughly, unless a decision hangs on the difference; then by the model's vocabulary.
    #[default]
    Exact,
    /// Roughly, always: without vocabularies the process is 100 MB smaller.
    Estimate,
}

/// Clocks and caps of connections and request bodies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Open connections; more wait in the backlog. Default: 10,000.
    pub connections: usize,
    /// Calls in flight; more are refused with 503. Default: 4,096.
    pub in_flight: usize,
    /// From the first byte of a request's head to its end. Default: 10 s.
    #[serde(rename = "header_ms", with = "duration::millis")]
    pub header: Duration,
    /// From a request's head to the end of its body. Default: 30 s.
    #[serde(rename = "body_ms", with = "duration::millis")]
    pub body: Duration,
    /// How much of a refused request's body is read and thrown away, so that its caller sees the
    /// refusal and not a broken connection. Default: twice `max_body_bytes`.
    pub discard_bytes: Option<u64>,
    /// How long that may take, at most half of `write_stall_ms`. Default: 2 s.
    #[serde(rename = "discard_ms", with = "duration::millis")]
    pub discard: Duration,
    /// How long a connection may be idle. Default: 60 s.
    #[serde(rename = "idle_ms", with = "duration::millis")]
    pub idle: Duration,
    /// How long a caller may not read while there is something to send. Default: 60 s.
    #[serde(rename = "write_stall_ms", with = "duration::millis")]
    pub write_stall: Duration,
    /// How long open calls may go on after SIGTERM. Default: 30 s.
    #[serde(rename = "drain_ms", with = "duration::millis")]
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            in_flight: 4_096,
            header: Duration::from_secs(10),
            body: Duration::from_secs(30),
            discard_bytes: None,
            discard: Duration::from_secs(2),
            idle: Duration::from_secs(60),
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

const fn default_max_body_bytes() -> u64 {
    16 << 20
}

const DEMO: &str = include_str!("demo.toml");

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../gateway.toml");

    fn problems(text: &str) -> String {
        let environment = |name: &str| (name == "KEYS").then(|| "sk-a, sk-b".to_owned());
        Config::parse("gateway.toml", text, &environment)
            .unwrap_err()
            .to_string()
    }

    /// The demo's text, changed in one place.
    fn demo_with(from: &str, to: &str) -> String {
        assert!(DEMO.contains(from), "{from:?} is not in the demo");
        DEMO.replacen(from, to, 1)
    }

    #[test]
    fn the_demo_is_a_whole_configuration() {
        let demo = Config::demo().unwrap();
        assert_eq!(demo.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(demo.regions.keys().collect::<Vec<_>>(), ["eu", "us"]);
        assert!(demo.models.contains_key("gpt-4o"));
    }

    #[test]
    fn what_a_reload_does_not_change_is_known() {
        let parse = |text: &str| Config::parse("gateway.toml", text, &|_| None).unwrap();
        let demo = Config::demo().unwrap();
        assert!(demo.needs_restart(&demo).is_empty());
        let same = demo_with("sk-demo", "sk-other").replace("500", "600");
        let same = parse(&format!("limits = {{ body_ms = 1 }}\n{same}"));
        assert!(same.needs_restart(&demo).is_empty());
        let other = demo_with("[budget]", "[budget]\nslot_ms = 500").replace("8080", "8088");
        let other = parse(&format!("max_body_bytes = 9\n{other}"));
        // Of a refused body twice that length is heard out.
        let keys = ["listen", "budget.slot_ms", "limits"];
        assert_eq!(other.needs_restart(&demo), keys);
    }

    #[test]
    fn limits_that_serve_nothing_are_refused() {
        let said = problems(&format!(
            "max_body_bytes = 0\nlimits = {{ connections = 0, in_flight = 0 }}\n{DEMO}"
        ));
        for key in ["max_body_bytes", "limits.connections", "limits.in_flight"] {
            assert!(said.contains(key), "{said}");
        }
    }

    #[test]
    fn the_example_file_is_valid_and_shows_the_defaults() {
        let environment = |name: &str| Some(format!("key-of-{name}"));
        let parse = |text: &str| Config::parse("gateway.toml", text, &environment).unwrap();
        let shown = parse(EXAMPLE);
        assert_eq!(shown.regions["eu"].upstreams.len(), 2);
        // What is commented out changes nothing when it is not.
        let default = |line: &str| {
            let key = line.strip_prefix("# ")?;
            let name = key.split([' ', ']']).next()?;
            let is_key = name.starts_with('[') || key.contains(" = ");
            (is_key && !key.contains('…')).then(|| key.to_owned())
        };
        let lines = EXAMPLE
            .lines()
            .map(|line| default(line).unwrap_or_else(|| line.to_owned()));
        let spelt_out = parse(&lines.collect::<Vec<_>>().join("\n"));
        let mut limits = shown.limits;
        limits.discard_bytes = Some(2 * shown.max_body_bytes);
        assert_eq!(spelt_out.limits, limits);
        assert_eq!(spelt_out.max_body_bytes, shown.max_body_bytes);
        assert_eq!(spelt_out.budget.slot, shown.budget.slot);
        let of = |config: &Config| format!("{:?}{:?}", config.policy, config.token_counts);
        assert_eq!(of(&spelt_out), of(&shown));
        let sweden = |config: &Config| config.regions["eu"].upstreams[0].clone();
        let mut expected = sweden(&shown);
        expected.ask_usage = Some(true);
        assert_eq!(format!("{:?}", sweden(&spelt_out)), format!("{expected:?}"));
        let model = |config: &Config| config.models["gpt-4o"].resolve("gpt-4o");
        assert_eq!(model(&spelt_out), model(&shown));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let text = demo_with("[budget]\n", "[budget]\nrequest_per_minute = 3\n");
        let line = text
            .lines()
            .position(|l| l.starts_with("request_per"))
            .unwrap()
            + 1;
        let problems = problems(&text);
        let place = format!("gateway.toml:{line}: budget.request_per_minute: ");
        assert!(problems.starts_with(&place), "{problems}");
        assert!(problems.contains("unknown field"), "{problems}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let text = demo_with("kind = \"simulated\"", "kind = \"azur\"");
        let line = text.lines().position(|l| l == "kind = \"azur\"").unwrap() + 1;
        let problems = problems(&text);
        let place = format!("gateway.toml:{line}: regions.eu.upstreams[0].kind: ");
        assert!(problems.starts_with(&place), "{problems}");
    }

    #[test]
    fn a_key_of_the_wrong_type_is_not_repeated() {
        for keys in [
            "\"sk-secret\"",
            "{ a = \"sk-secret\" }",
            "[[\"sk-secret\"]]",
        ] {
            let problems = problems(&demo_with("[\"sk-demo\"]", keys));
            assert!(problems.contains("invalid type: "), "{problems}");
            assert!(problems.contains(", expected a s"), "{problems}");
            assert!(!problems.contains("secret"), "{problems}");
        }
    }

    #[test]
    fn broken_toml_is_named_with_its_line() {
        assert!(problems("listen = \n").starts_with("gateway.toml:1: "));
    }

    #[test]
    fn what_is_wrong_together_is_reported_together() {
        let text = demo_with("api_keys = [\"sk-demo\"]", "api_keys_env = \"NOWHERE\"").replacen(
            "default_region = \"eu\"",
            "default_region = \"mars\"",
            1,
        );
        let problems = problems(&text);
        assert!(problems.contains("default_region: "), "{problems}");
        assert!(
            problems.contains("workspaces[0].api_keys_env: "),
            "{problems}"
        );
        assert_eq!(problems.lines().count(), 2, "{problems}");
    }

    #[test]
    fn what_is_wrong_everywhere_is_said_for_a_while() {
        let wrong = "[[workspaces]]\nname = \"\"\napi_keys = [\"k\"]\n".repeat(5_000);
        let said = problems(&format!("{DEMO}\n{wrong}"));
        assert!(said.contains("workspaces[9].name: "), "{said}");
        assert_eq!(said.lines().count(), 51, "{said}");
        assert!(said.ends_with(" more"), "{said}");
    }

    #[test]
    fn keys_come_from_the_environment_too() {
        let text = demo_with("api_keys = [\"sk-demo\"]", "api_keys_env = \"KEYS\"");
        let environment = |name: &str| (name == "KEYS").then(|| "sk-a, sk-b".to_owned());
        let config = Config::parse("gateway.toml", &text, &environment).unwrap();
        let keys: Vec<_> = config.workspaces[0]
            .api_keys
            .iter()
            .map(Secret::expose)
            .collect();
        assert_eq!(keys, ["sk-a", "sk-b"]);
    }

    #[test]
    fn secrets_do_not_appear_in_debug_output() {
        let demo = Config::demo().unwrap();
        assert!(!format!("{demo:?}").contains("sk-demo"));
    }
}
