//! What a single layer brings along, as the guide promises.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, process::Command};

/// Everything that the facade is built from, with this feature alone.
fn crates(feature: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-p", "tollgate", "-e", "normal,build"])
        .args(["--no-default-features", "--features", feature])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let lines = String::from_utf8(tree.stdout).unwrap();
    let names = lines.lines().map(|line| line.split(' ').next().unwrap());
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn a_layer_alone_brings_little() {
    for feature in [
        "auth", "budget", "models", "region", "sse", "tokens", "validate",
    ] {
        let crates = crates(feature);
        assert!(
            crates.contains(&format!("tollgate-{feature}")),
            "{crates:?}"
        );
        assert!(crates.len() < 30, "{feature}: {crates:?}");
        for heavy in [
            "axum",
            "bpe",
            "hyper",
            "hyper-util",
            "rustls",
            "redis",
            "tower",
            "tracing",
        ] {
            assert!(!crates.contains(heavy), "{feature} brings {heavy}");
        }
        let others = crates
            .iter()
            .filter(|name| name.starts_with("tollgate-"))
            .count();
        assert_eq!(others, 2, "{feature} brings another layer: {crates:?}");
    }
}
