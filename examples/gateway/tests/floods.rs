//! Callers who flood an HTTP/2 connection with frames that cost them nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use support::{
    AMPLE, Caller, KEY, PATIENCE, ask, config_to,
    process::{File, Running},
    upstream::completion,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedReadHalf},
    time::{Instant, timeout},
};
use tollgate_stack_tests::ScriptedUpstream;

/// What the process may grow by, all floods together, in kB.
const MOST: usize = 32 << 10;

const CLOCKS: &str = "
[limits]
header_ms = 1_000
idle_ms = 2_000
body_ms = 2_000
write_stall_ms = 1_000
";

struct Flood {
    what: &'static str,
    /// What comes first, and once.
    opening: Vec<u8>,
    /// What comes after it so many times, or as long as anybody reads it.
    rounds: u32,
    round: fn(u32) -> Vec<u8>,
    end: End,
}

/// How a flooded connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It is shut with this error of the protocol.
    GoAway(u32),
    /// A clock strikes.
    Clock,
}

const CALM: End = End::GoAway(11);
const PROTOCOL: End = End::GoAway(1);

fn floods() -> Vec<Flood> {
    let flood = |what, opening, round, end| Flood {
        what,
        opening,
        rounds: 1_000_000,
        round,
        end,
    };
    let begun = || call(1, END_HEADERS);
    let ended = || call(1, END_HEADERS | END_STREAM);
    vec![
        flood("streams reset at once", vec![], reset, CALM),
        flood("streams that break the protocol", vec![], broken, PROTOCOL),
        flood(
            "streams without number",
            vec![],
            |n| call(id(n), END_HEADERS),
            CALM,
        ),
        flood(
            "a head without end",
            unended(),
            |_| more_head(b"\x00\x01x\x01y"),
            CALM,
        ),
        flood("a head of nothing", unended(), |_| more_head(b""), CALM),
        flood(
            "a body of bytes",
            begun(),
            |_| frame(DATA, 0, 1, b" "),
            CALM,
        ),
        flood(
            "a body of nothing",
            begun(),
            |_| frame(DATA, 0, 1, b""),
            CALM,
        ),
        flood(
            "a body of padding",
            begun(),
            |_| frame(DATA, PADDED, 1, &[4, 0, 0, 0, 0]),
            CALM,
        ),
        flood(
            "pings",
            vec![],
            |_| frame(PING, 0, 0, b"flooding"),
            End::Clock,
        ),
        flood(
            "pings after a call",
            ended(),
            |_| frame(PING, 0, 0, b"flooding"),
            End::Clock,
        ),
        flood(
            "settings",
            vec![],
            |_| frame(SETTINGS, 0, 0, b""),
            End::Clock,
        ),
        flood(
            "priorities",
            vec![],
            |n| frame(PRIORITY, 0, id(n), &[0, 0, 0, 0, 1]),
            End::Clock,
        ),
        flood(
            "unknown frames",
            vec![],
            |_| frame(0x55, 0, 0, b"flooding"),
            End::Clock,
        ),
    ]
}

#[tokio::test]
async fn floods_are_dammed_and_nobody_else_gets_wet() {
    let upstream = ScriptedUpstream::in_turn([completion(8, 1)]).await;
    let config = config_to(&upstream, AMPLE) + CLOCKS;
    let file = File::new("floods.toml", &config);
    let running = Running::start(&["--config", file.path()]);
    let caller = Caller::at(running.address);
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
    let before = running.memory();
    for flood in floods() {
        let what = flood.what;
        let others = async {
            for _ in 0..20 {
                let started = Instant::now();
                let answer = caller.chat("eu", &ask("Hello")).await;
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                assert!(started.elapsed() < PATIENCE / 4, "{what}");
            }
        };
        let (end, ()) = tokio::join!(attack(&running, &flood), others);
        assert_eq!(end, flood.end, "{what}");
    }
    let grown = running.memory().saturating_sub(before);
    assert!(grown < MOST, "{grown} kB");
    assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
}

#[tokio::test]
async fn a_reload_gets_through_a_flood() {
    let upstream = ScriptedUpstream::in_turn([completion(8, 1)]).await;
    let config = |keys: &str| {
        let config = config_to(&upstream, AMPLE) + CLOCKS;
        // A window that no test outlasts.
        let config = config.replace("[budget]", "[budget]\nslot_ms = 60_000");
        config.replace("[\"sk-acme-1\"]", keys)
    };
    let file = File::new("reloads.toml", &config("[\"sk-acme-1\"]"));
    let running = Running::start(&["--config", file.path()]);
    let caller = Caller::at(running.address);
    let calls = AtomicU64::new(0);
    let mut other = caller.clone();
    other.key = "sk-acme-2";
    let other_is = async |status: u16| {
        timeout(PATIENCE, async {
            while other.get("/openai/eu/v1/models").await.status != status {
                // Who keeps a key is served all the time.
                let answer = caller.chat("eu", &ask("Hello")).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        })
        .await
        .unwrap();
    };
    let before = running.memory();
    let reloads = async {
        for _ in 0..5 {
            fs::write(file.path(), config("[\"sk-acme-1\", \"sk-acme-2\"]")).unwrap();
            running.signal("-HUP");
            other_is(200).await;
            // What is wrong changes nothing.
            fs::write(file.path(), config("[\"sk-acme-2\"")).unwrap();
            running.signal("-HUP");
            fs::write(file.path(), config("[\"sk-acme-1\"]")).unwrap();
            running.signal("-HUP");
            other_is(401).await;
        }
    };
    let floods = floods();
    let flooding = async {
        loop {
            for flood in &floods {
                attack(&running, flood).await;
            }
        }
    };
    tokio::select! {
        () = reloads => {}
        () = flooding => {}
    }
    let grown = running.memory().saturating_sub(before);
    assert!(grown < MOST, "{grown} kB");
    // Nothing that was used is forgotten.
    let answer = caller.chat("eu", &ask("Hello")).await;
    let left = 100_000 - calls.into_inner() - 1;
    let left = left.to_string();
    assert_eq!(
        answer.header("x-ratelimit-remaining-requests"),
        Some(&*left)
    );
}

/// Floods a connection until it ends.
async fn attack(running: &Running, flood: &Flood) -> End {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let opening = [preface, frame(SETTINGS, 0, 0, b""), flood.opening.clone()].concat();
    stream.write_all(&opening).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let (rounds, round) = (flood.rounds, flood.round);
    let sending = async {
        for first in (0..rounds).step_by(64) {
            let bytes: Vec<_> = (first..first + 64).map(round).collect();
            if write.write_all(&bytes.concat()).await.is_err() {
                return;
            }
        }
        // Whoever has said all waits for what becomes of it.
        std::future::pending::<()>().await;
    };
    let ending = timeout(PATIENCE, end(&mut read));
    tokio::pin!(ending);
    tokio::select! {
        end = &mut ending => end.unwrap(),
        // What has been written before is still to be read.
        () = sending => ending.await.unwrap(),
    }
}

/// Reads frames until there are no more, and says why.
async fn end(read: &mut OwnedReadHalf) -> End {
    let (mut bytes, mut end) = (Vec::new(), End::Clock);
    // A reset is a way of closing, too.
    while let Ok(1..) = read.read_buf(&mut bytes).await {
        while let Some(length) = frame_length(&bytes) {
            if bytes[3] == GOAWAY {
                end = End::GoAway(u32::from_be_bytes(bytes[13..17].try_into().unwrap()));
            }
            bytes.drain(..length);
        }
    }
    end
}

/// How long the first frame is, if all of it is there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let payload = bytes.get(..9)?[..3].iter();
    let length = payload.fold(0, |length, byte| length << 8 | usize::from(*byte)) + 9;
    (bytes.len() >= length).then_some(length)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The streams of a client have odd numbers.
fn id(round: u32) -> u32 {
    2 * round + 1
}

/// The head of a chat completion, in HPACK's literals.
fn call(stream: u32, flags: u8) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (&[0x04][..], "/openai/eu/v1/chat/completions"),
        (&[0x01], "gateway"),
        (&[0x0f, 0x08], &format!("Bearer {KEY}")),
        (&[0x0f, 0x10], "application/json"),
    ] {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    frame(HEADERS, flags, stream, &block)
}

fn reset(round: u32) -> Vec<u8> {
    let cancel = frame(RST_STREAM, 0, id(round), &[0, 0, 0, 8]);
    [call(id(round), END_HEADERS | END_STREAM), cancel].concat()
}

/// A stream that the gateway has to reset by itself.
fn broken(round: u32) -> Vec<u8> {
    let no_window = frame(WINDOW_UPDATE, 0, id(round), &[0, 0, 0, 0]);
    [call(id(round), END_HEADERS), no_window].concat()
}

fn unended() -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, &[0x83])
}

fn more_head(block: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, 0, 1, block)
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
