//! Gateways and a counter as processes, and callers who spend one budget.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tollgate_stack_tests::{Answer, Caller, Example, soon};

const LIMIT: u64 = 10;
const BINARY: &str = env!("CARGO_BIN_EXE_custom-store");
const EMBEDDINGS: &str = "/v1/embeddings";

async fn counter(address: &str) -> Example {
    Example::start(BINARY, &["counter", address]).await
}

async fn gateway(counter: SocketAddr) -> Example {
    Example::start(BINARY, &["gateway", "127.0.0.1:0", &counter.to_string()]).await
}

async fn ask(gateway: &Example) -> Answer {
    Caller::at(gateway.address).post(EMBEDDINGS, "{}").await
}

#[tokio::test]
async fn two_gateways_admit_as_much_as_one() {
    let counter = counter("127.0.0.1:0").await;
    let gateways = [
        gateway(counter.address).await,
        gateway(counter.address).await,
    ];
    let mut calls = JoinSet::new();
    for number in 0..4 * LIMIT {
        let caller = Caller::at(gateways[usize::from(number % 2 == 0)].address);
        calls.spawn(async move { caller.post(EMBEDDINGS, "{}").await });
    }
    let (passed, refused): (Vec<_>, Vec<_>) = soon(calls.join_all())
        .await
        .into_iter()
        .partition(|answer| answer.status == 200);
    // Each of those that passed saw another one's place taken.
    let mut remaining: Vec<_> = passed
        .iter()
        .map(|answer| answer.number("x-ratelimit-remaining-requests"))
        .collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..LIMIT).collect::<Vec<_>>());
    for answer in refused {
        answer.assert_refused(429, Some("rate_limit_exceeded"));
        assert_eq!(answer.number("x-ratelimit-limit-requests"), LIMIT);
        // Not at the next whole minute, but when what was admitted is a minute old.
        assert!(answer.number("retry-after-ms") > 30_000, "{answer:?}");
    }
}

#[tokio::test]
async fn who_leaves_while_the_counter_is_asked_pays_nothing() {
    let counter = counter("127.0.0.1:0").await;
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway(between.local_addr().unwrap()).await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let request =
        format!("POST {EMBEDDINGS} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n");
    caller.write_all(request.as_bytes()).await.unwrap();

    let (to_gateway, _) = soon(between.accept()).await.unwrap();
    let to_counter = TcpStream::connect(counter.address).await.unwrap();
    let ((mut asks, mut to_gateway), (answers, mut to_counter)) =
        (to_gateway.into_split(), to_counter.into_split());
    tokio::spawn(async move { copy(&mut asks, &mut to_counter).await });
    let mut answers = BufReader::new(answers);
    let mut granted = String::new();
    soon(answers.read_line(&mut granted)).await.unwrap();
    // It is charged, and the gateway does not know yet. Then the caller leaves.
    assert!(granted.contains(r#""denied":null"#), "{granted}");
    caller.shutdown().await.unwrap();
    assert_eq!(soon(caller.read(&mut [0])).await.unwrap(), 0);
    to_gateway.write_all(granted.as_bytes()).await.unwrap();
    tokio::spawn(async move { copy(&mut answers, &mut to_gateway).await });

    let next = ask(&gateway).await;
    assert_eq!(next.number("x-ratelimit-remaining-requests"), LIMIT - 1);
}

#[tokio::test]
async fn without_a_counter_nothing_passes() {
    let first = counter("127.0.0.1:0").await;
    let address = first.address;
    let gateway = gateway(address).await;
    assert_eq!(ask(&gateway).await.status, 200);
    first.kill().await;
    for _ in 0..3 {
        ask(&gateway).await.assert_refused(503, None);
    }
    let _second = counter(&address.to_string()).await;
    let answer = ask(&gateway).await;
    assert_eq!(answer.number("x-ratelimit-remaining-requests"), LIMIT - 1);
}

#[tokio::test]
async fn a_counter_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway(silent.local_addr().unwrap()).await;
    ask(&gateway).await.assert_refused(503, None);
}
