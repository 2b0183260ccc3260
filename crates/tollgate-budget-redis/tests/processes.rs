//! Real processes, of which some are killed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use support::{Instance, ask, limit, settings, used};
use tokio::time::{Instant, sleep};
use tollgate_budget::{Store, Units};
use tollgate_testing::RedisServer;

const URL: &str = "TOLLGATE_TEST_PROCESS";
/// A minute of three seconds.
const SLOT: Duration = Duration::from_millis(50);
const COST: Units = Units::new(1, 3);

/// Not a test of its own: the processes that the tests below start.
#[tokio::test]
#[ignore = "the other tests run it"]
async fn process() {
    let Ok(url) = env::var(URL) else { return };
    let instance = Instance::with(settings(&url).slot(SLOT));
    let (mut admitted, mut open) = (0, Vec::new());
    for _ in 0..200 {
        let answer = ask(&instance.store, limit(300, 0), COST).await.unwrap();
        if let Ok((held, _)) = answer {
            admitted += 1;
            // One in two is never settled.
            if admitted % 2 == 0 {
                instance.store.settle(held, COST);
            } else {
                open.push(held);
            }
        }
    }
    println!("admitted {admitted}.");
    // Until it is killed.
    sleep(Duration::from_secs(60)).await;
}

fn start(url: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "process", "--ignored", "--nocapture"])
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn admitted(process: &mut Child) -> u64 {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let said = line
            .split_once("admitted ")
            .and_then(|(_, rest)| rest.split_once('.'));
        if let Some((count, _)) = said {
            return count.parse().unwrap();
        }
    }
    panic!("the process ended before it was done");
}

#[tokio::test]
async fn processes_share_and_what_dies_heals() {
    let server = RedisServer::start();
    let watcher = Instance::with(settings(&server.url()).slot(SLOT));
    watcher.connected().await;
    let start_of_all = Instant::now();
    let mut processes: Vec<Child> = (0..3).map(|_| start(&server.url())).collect();
    let admitted: u64 = processes.iter_mut().map(admitted).sum();
    let time = start_of_all.elapsed();
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    // As a rule all of it was in one minute.
    let minutes = time.div_duration_f64(60 * SLOT) as u64 + 1;
    assert!(
        (300..=300 * minutes).contains(&admitted),
        "{admitted} in {minutes} minutes"
    );
    // What nobody will settle leaves by itself.
    sleep(61 * SLOT).await;
    let held = ask(&watcher.store, limit(300, 900), Units::new(300, 900))
        .await
        .unwrap()
        .unwrap();
    watcher.store.settle(held.0, Units::ZERO);
    watcher.settled(1).await;
    assert_eq!(used(&watcher.store).await, Units::ZERO);
}
