//! The program, with an upstream that it spends a budget on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Stdio;

use tokio::process::Command;
use tollgate_stack_tests::{ScriptedUpstream, completion_that_took, soon};

#[tokio::test]
async fn a_program_that_stops_in_time() {
    let upstream = ScriptedUpstream::start(|_| completion_that_took(10, 190, "Because.")).await;
    let program = Command::new(env!("CARGO_BIN_EXE_client-side"))
        .args(["One?", "Two?", "Three?"])
        .env("OPENAI_BASE_URL", format!("{}/v1", upstream.url()))
        .env("OPENAI_API_KEY", "sk-of-the-program")
        .stdout(Stdio::piped())
        .output();
    let output = soon(program).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["One? Because.", "Two? Because."]);
    assert!(
        lines[2].starts_with("Three? [Rate limit reached for "),
        "{}",
        lines[2]
    );
    assert_eq!(upstream.received().len(), 2);
    let sent = &upstream.received()[0];
    assert_eq!(sent.headers()["authorization"], "Bearer sk-of-the-program");
}
