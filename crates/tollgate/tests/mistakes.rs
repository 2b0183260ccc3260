//! The mistakes that people make, and what the compiler says to them.
//!
//! Each file in `mistakes/` does not compile, and beside it stands the text that its author will
//! see. With `--cfg fixed` it does compile: so it is the mistake that is refused, and what the guide
//! advises helps.
//!
//! Compilers differ in their words. All must say what stands after `//~` in the file; the whole text
//! is compared only with the compiler that it was recorded with. `RECORD=1` in the environment of
//! this test records it anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::Path,
    process::Command,
};

use serde_json::Value;

/// Whose words `mistakes/*.stderr` are.
const RECORDED_WITH: &str = "rustc 1.95.0";

#[test]
fn each_is_told_what_to_do() {
    let compiler = Compiler::find();
    let files = fs::read_dir(package().join(CASES)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut cases: Vec<String> = names.filter(|name| name.ends_with(".rs")).collect();
    cases.sort();
    assert!(!cases.is_empty());

    let mut wrong = Vec::new();
    for case in &cases {
        if let Err(text) = compiler.compile(case, &["--cfg", "fixed"]) {
            wrong.push(format!("{case}, fixed, does not compile:\n{text}"));
        }
        match compiler.compile(case, &[]) {
            Ok(()) => wrong.push(format!("{case} compiles")),
            Err(said) => wrong.extend(compiler.compare(case, &lasting(&said)).err()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Compiler {
    /// Where each crate is that the cases use, and what those crates use.
    libraries: Vec<String>,
    is_recorded: bool,
}

impl Compiler {
    /// Has cargo build what tests of this crate may use.
    fn find() -> Self {
        let build = Command::new(env!("CARGO"))
            .args("check --locked --tests --message-format json -p tollgate".split(' '))
            .current_dir(package())
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&build.stderr);
        assert!(build.status.success(), "{log}");
        let mut libraries = BTreeMap::new();
        for message in String::from_utf8(build.stdout).unwrap().lines() {
            let message: Value = serde_json::from_str(message).unwrap();
            let name = message["target"]["name"].as_str().unwrap_or_default();
            let is_test = message["profile"]["test"].as_bool().unwrap_or_default();
            let files = message["filenames"].as_array().into_iter().flatten();
            let file = files
                .filter_map(Value::as_str)
                .find(|file| file.ends_with(".rmeta"));
            let Some(name) = CRATES.iter().find(|it| **it == name.replace('-', "_")) else {
                continue;
            };
            if let Some(file) = file.filter(|_| !is_test) {
                let twice = libraries.insert(*name, file.to_owned());
                assert_eq!(twice, None, "there are two crates named {name}");
            }
        }
        assert_eq!(libraries.len(), CRATES.len(), "{libraries:?}");
        let libraries = libraries.iter().flat_map(|(name, file)| {
            let beside = Path::new(file).parent().unwrap().display();
            [
                format!("--extern={name}={file}"),
                format!("-Ldependency={beside}"),
            ]
        });

        let version = rustc().arg("--version").output().unwrap().stdout;
        let version = String::from_utf8(version).unwrap();
        let is_recorded = version.starts_with(RECORDED_WITH);
        if !is_recorded {
            // Not with `eprintln!`, which nobody sees unless the test fails.
            let note = format!(
                "NOTE: this is {}, and what it says in whole is compared with {RECORDED_WITH} only\n",
                version.trim(),
            );
            io::stderr().write_all(note.as_bytes()).unwrap();
        }
        Self {
            libraries: libraries.collect(),
            is_recorded,
        }
    }

    /// What it says, if it refuses.
    fn compile(&self, case: &str, more: &[&str]) -> Result<(), String> {
        let result = rustc()
            .args("--edition 2024 --crate-type lib --emit metadata -A unused".split(' '))
            .args(["--crate-name", "mistake"])
            .args(["--out-dir", env!("CARGO_TARGET_TMPDIR")])
            .args(&self.libraries)
            .args(more)
            .arg(format!("{CASES}/{case}"))
            .current_dir(package())
            .output()
            .unwrap();
        if result.status.success() {
            return Ok(());
        }
        Err(String::from_utf8(result.stderr).unwrap())
    }

    /// Whether this is what it should say.
    fn compare(&self, case: &str, said: &str) -> Result<(), String> {
        let case = package().join(CASES).join(case);
        let recorded = case.with_extension("stderr");
        if env::var_os("RECORD").is_some() {
            fs::write(&recorded, said).unwrap();
        }
        let source = fs::read_to_string(&case).unwrap();
        let mut essence = source.lines().filter_map(|line| line.strip_prefix("//~ "));
        let case = case.display();
        if let Some(missing) = essence.find(|essential| !said.contains(essential)) {
            return Err(format!("{case} is not told '{missing}':\n{said}"));
        }
        let wanted = fs::read_to_string(recorded).unwrap_or_default();
        if self.is_recorded && said != wanted {
            return Err(format!("{case} is told\n{said}\nin place of\n{wanted}"));
        }
        Ok(())
    }
}

/// The text without what changes with every edit elsewhere: lines that are not the case's, lists of
/// what else there is, versions of crates, files that full names of types were written to.
fn lasting(said: &str) -> String {
    let mut kept = String::new();
    let mut elsewhere = false;
    let mut others = false;
    for line in said.lines() {
        let text = line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit());
        if text.contains("other types implement trait") || text.contains("` is implemented for `") {
            others = true;
        } else if text.is_empty() || NEXT.iter().any(|next| text.starts_with(next)) {
            others = false;
        }
        let written = text.contains("name for the type has been written to");
        if others || written || text.contains("consider using `--verbose`") {
            continue;
        }
        let line = match text.split(' ').next() {
            Some("-->" | ":::") => {
                elsewhere = !text.contains(CASES);
                format!(
                    "  {}",
                    if elsewhere {
                        place(text)
                    } else {
                        text.to_owned()
                    }
                )
            }
            Some("|" | "..." | "...|") if elsewhere => continue,
            Some("|" | "=") => format!("   {text}"),
            _ => line.to_owned(),
        };
        kept.push_str(line.trim_end());
        kept.push('\n');
    }
    kept
}

/// What may follow a list of what else there is.
const NEXT: &[&str] = &["note:", "= note: required", "error"];

/// Without the line, and of another's crate its name alone.
fn place(text: &str) -> String {
    let file = text.trim_end_matches(|c: char| c == ':' || c.is_ascii_digit());
    match file.split_once("/registry/src/") {
        None => file.to_owned(),
        Some((_, file)) => {
            let package = file.split('/').nth(1).unwrap_or_default();
            let name = package.rsplit_once('-').map_or(package, |(name, _)| name);
            format!("--> {name}")
        }
    }
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const CASES: &str = "tests/mistakes";
const CRATES: &[&str] = &[
    "axum",
    "bytes",
    "http",
    "http_body_util",
    "tollgate",
    "tower",
];
