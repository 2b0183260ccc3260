//! What a single layer brings along, as the guide says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, process::Command};

const GUIDE: &str = include_str!("../../../crates/tollgate/src/lib.rs");

/// Everything that a package is built from, itself included, with these features alone.
fn crates(package: &str, features: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-p", package, "-e", "normal,build"])
        .args(["--no-default-features", "--features", features])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let lines = String::from_utf8(tree.stdout).unwrap();
    let names = lines.lines().map(|line| line.split(' ').next().unwrap());
    names.map(ToOwned::to_owned).collect()
}

/// Features of the facade, which are also the last part of a crate's name.
const ALONE: &[&str] = &[
    "auth", "budget", "models", "region", "sse", "tokens", "validate",
];

#[test]
fn a_layer_alone_brings_little() {
    for feature in ALONE {
        let crates = crates("tollgate", feature);
        assert!(
            crates.contains(&format!("tollgate-{feature}")),
            "{crates:?}"
        );
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

#[test]
fn the_guide_counts_right() {
    let mut table = String::from("//! | feature | crates | its crate alone |\n//! |---|---|---|\n");
    for feature in ALONE {
        let by_feature = crates("tollgate", feature).len();
        let alone = crates(&format!("tollgate-{feature}"), "").len();
        table += &format!("//! | `{feature}` | {by_feature} | {alone} |\n");
    }
    let core = crates("tollgate-core", "").len();
    let full = crates("tollgate", "full").len();
    table += &format!(
        "//! | none: the core | {} | {core} |\n",
        crates("tollgate", "").len()
    );
    table += &format!("//! | `full` | {full} | |\n");
    assert!(GUIDE.contains(&table), "the guide should say\n{table}");
}
