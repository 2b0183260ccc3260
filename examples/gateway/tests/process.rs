//! The binary: its arguments, its files and its signals.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, process::Output, time::Duration};

use support::{
    CONFIG, Caller, ask,
    process::{File, Running, binary},
};
use tokio::time::{Instant, sleep};

const ENVIRONMENT: [(&str, &str); 5] = [
    ("ACME_KEYS", "sk-acme-1,sk-acme-2"),
    ("RESEARCH_KEYS", "sk-research"),
    ("AZURE_SWEDEN_KEY", "key"),
    ("AZURE_FRANCE_KEY", "key"),
    ("AZURE_VIRGINIA_KEY", "key"),
];

fn check(file: &str) -> Output {
    binary()
        .args(["--check", file])
        .envs(ENVIRONMENT)
        .output()
        .unwrap()
}

#[test]
fn a_configuration_is_checked() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.toml");
    let checked = check(example);
    assert!(checked.status.success(), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).ends_with("the configuration is valid\n"));

    let text = fs::read_to_string(example).unwrap();
    for (name, from, to, expected) in [
        (
            "spelling",
            "tokens_per_minute = 60_000",
            "tokens_per_minut = 60_000",
            "budget.tokens_per_minut: unknown field",
        ),
        (
            "type",
            "requests_per_minute = 500",
            "requests_per_minute = \"500\"",
            "budget.requests_per_minute: invalid type",
        ),
        (
            "zero",
            "requests_per_minute = 500",
            "requests_per_minute = 0",
            "budget.requests_per_minute: ",
        ),
        (
            "model",
            "models = [\"gpt-4o\",",
            "models = [\"gpt-9\",",
            "workspaces[0].models[0]: there is no model \"gpt-9\"",
        ),
        (
            "store",
            "# store = \"memory\"",
            "store = \"mysql://canary@127.0.0.1/0\"",
            "budget.store: expected \"memory\" or redis://",
        ),
        (
            "store",
            "# store = \"memory\"",
            "store_root_certificates = \"/nowhere.pem\"\nstore = \"rediss://:canary@host/\"",
            "budget.store_root_certificates: cannot read /nowhere.pem",
        ),
        (
            "store",
            "# store = \"memory\"",
            "store_env = \"NOWHERE\"",
            "budget.store_env: there is no environment variable NOWHERE",
        ),
        (
            "feature",
            "# features = [",
            "features = [\"vision\", ",
            "models.gpt-4o.features: unknown feature `vision`",
        ),
        (
            "url",
            "https://example-sweden",
            "ftp://example-sweden",
            "regions.eu.upstreams[0].url: expected https://",
        ),
        (
            "kind",
            "kind = \"azure\" ",
            "kind = \"azur\" ",
            "regions.eu.upstreams[0].kind: ",
        ),
        (
            "type",
            "\"DataZoneStandard\"",
            "\"GlobalStandard\"",
            "regions.eu.upstreams[0].deployment_type: deployments of this type",
        ),
        (
            "alias",
            "aliases = [\"fast\"]",
            "aliases = [\"gpt-4o\"]",
            "models.gpt-4o-mini.aliases[0]: ",
        ),
        (
            "shared",
            "https://example-virginia.",
            "https://example-sweden.",
            "regions.us.upstreams[0].url: an upstream of \"eu\"",
        ),
        (
            "place",
            "https://example-virginia.openai.azure.com",
            "https://EXAMPLE-sweden.cognitiveservices.azure.com.:443/x",
            "regions.us.upstreams[0].url: an upstream of \"eu\"",
        ),
        (
            "fragment",
            "sweden.openai.azure.com\"",
            "sweden.openai.azure.com#eu\"",
            "regions.eu.upstreams[0].url: expected https://",
        ),
        (
            "port",
            "sweden.openai.azure.com\"",
            "sweden.openai.azure.com:99999\"",
            "regions.eu.upstreams[0].url: expected https://",
        ),
        (
            "region",
            "[[regions.us.upstreams]]",
            "[[regions.\"..\".upstreams]]",
            "regions...: a name consists of",
        ),
        (
            "admin",
            "admin_listen = \"127.0.0.1:8081\"",
            "admin_listen = \"127.0.0.1:8080\"",
            "admin_listen: is the address of `listen`",
        ),
        (
            "key",
            "api_keys_env = \"RESEARCH_KEYS\"",
            "api_keys = [\"sk-research\", \"sk-acme \"]",
            "workspaces[1].api_keys[1]: an API key consists of",
        ),
        (
            "shared-key",
            "api_keys_env = \"RESEARCH_KEYS\"",
            "api_keys = [\"sk-research\", \"sk-acme-2\"]",
            "workspaces[1].api_keys[1]: the API key is in use already",
        ),
        (
            "shared-digest",
            "api_keys_env = \"ACME_KEYS\" ",
            "api_keys_env = \"ACME_KEYS\"\napi_key_sha256 = [\"e13ec0cb85b1e9b4c68f9ab2eb9abeed3376e468aa136fcfbac7c29ca02d6a08\"] ",
            "workspaces[0].api_keys_env: the API key is in use already",
        ),
        ("syntax", "[budget]", "[budget", ""),
    ] {
        assert!(text.contains(from), "{from}");
        let wrong = text.replacen(from, to, 1);
        let line = 1 + text.split(from).next().unwrap().matches('\n').count();
        let file = File::new(&format!("{name}.toml"), &wrong);
        let checked = check(file.path());
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{to}");
        let place = format!("{}:{line}: {expected}", file.path());
        assert!(said.starts_with(&place), "{to}: {said}");
        assert!(!said.contains("sk-acme"), "{said}");
    }

    // Who shares a store need not say with how many.
    let shared = "store = \"redis://:canary@127.0.0.1:6379/0\"\non_store_failure = \"local-share\"";
    let shared = File::new(
        "shared.toml",
        &text.replacen("# store = \"memory\"", shared, 1),
    );
    let checked = check(shared.path());
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("state `instances`"), "{said}");
    assert!(!said.contains("canary"), "{said}");

    let missing = check("/nowhere/gateway.toml");
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).starts_with("/nowhere/gateway.toml: "));
}

#[tokio::test]
async fn signals_reload_and_stop() {
    let config = |more: &str, key: &str| CONFIG.replacen("{}", more, 1).replace("sk-acme-1", key);
    let file = File::new("reload.toml", &config("", "sk-acme-1"));
    let running = Running::start(&["--config", file.path()]);
    let mut caller = Caller::at(running.address);
    let answer = caller.chat("eu", &ask("Hello")).await;
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("499"));

    // A file that is wrong is reported, and the one before goes on.
    fs::write(file.path(), "listen = \n").unwrap();
    running.signal("-HUP");
    let changed = config("limits = { drain_ms = 20_000 }", "sk-acme-2");
    fs::write(file.path(), changed).unwrap();
    running.signal("-HUP");
    caller.key = "sk-acme-2";
    let started = Instant::now();
    let answer = loop {
        let answer = caller.chat("eu", &ask("Hello")).await;
        if answer.status != 401 {
            break answer;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it is not reloaded"
        );
        sleep(Duration::from_millis(20)).await;
    };
    // What was used stays used.
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("498"));
    let [_, said] = running.stop();
    assert!(
        said.contains("the configuration has been reloaded"),
        "{said}"
    );
    // What a reload cannot change is named.
    assert!(said.contains("`limits` stays as it was"), "{said}");
    assert!(!said.contains("`listen` stays"), "{said}");
    assert!(!said.contains("sk-acme"), "{said}");
}

#[tokio::test]
async fn the_demo_says_how_to_use_it() {
    let running = Running::start(&["--listen", "127.0.0.1:0"]);
    let caller = {
        let mut caller = Caller::at(running.address);
        caller.key = "sk-demo";
        caller
    };
    for region in ["eu", "us"] {
        assert_eq!(caller.chat(region, &ask("Hello")).await.status, 200);
    }
    let [text, _] = running.stop();
    for part in [
        "\ncurl -N http://127.0.0.1:",
        "\nfrom openai import OpenAI\n",
        "sk-demo",
        "\nmetrics: http://",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
