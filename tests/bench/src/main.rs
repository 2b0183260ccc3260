//! The whole gateway beside a bare hyper proxy, in one interleaved run.
//!
//! ```console
//! $ cargo build --release -p gateway
//! $ cargo run --release -p tollgate-bench
//! ```
//!
//! It takes the gateway that was built beside it, or the one that its argument names.
//!
//! One upstream answers all; load, upstream, gateway and three proxies are processes on loopback,
//! each with two worker threads. Each round sends the same calls through the proxy, the gateway, a
//! proxy that re-frames and nothing else, and a second bare proxy, in turn first, so that drift of the
//! machine meets all. Rounds are short and many, because what disturbs one lasts longer than one.
//!
//! JSON is asked for by one caller, one call after the other. Streams are asked for by 16 callers at
//! once, and their events come a millisecond apart: how long a stream takes says nothing, and its
//! processor time all.
//!
//! Printed are medians over the rounds, and ratios to the bare proxy, each with what the middle half
//! of the rounds lies between. The second proxy is the first once more: as far as its ratio is from
//! 1, so far the others may be wrong. Only ratios may be compared between machines. Even on one, compare only
//! runs in which it was as busy: where a processor sleeps between two calls and loses its caches, all
//! servers take twice as long as where something else keeps it awake.

mod load;
mod process;
mod proxy;
mod report;
mod upstream;

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use load::Call;
use process::Server;
use report::{Report, SERVERS};

/// What goes wrong ends the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 60;
const WORKERS: usize = 2;
const TIME_LIMIT: Duration = Duration::from_secs(600);

fn main() -> Result<(), Failure> {
    let mut args = env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    match args.next().as_deref() {
        Some("upstream") => runtime.block_on(upstream::serve()),
        Some("proxy") => runtime.block_on(proxy::serve(target(args)?)),
        Some("reframing-proxy") => runtime.block_on(proxy::serve_reframed(target(args)?)),
        gateway => {
            let beside = env::current_exe()?.with_file_name("gateway");
            let gateway = gateway.map_or(beside, PathBuf::from);
            if !gateway.exists() {
                return Err(format!("there is no gateway at {}", gateway.display()).into());
            }
            runtime.block_on(async { tokio::time::timeout(TIME_LIMIT, compare(&gateway)).await? })
        }
    }
}

fn target(mut args: impl Iterator<Item = String>) -> Result<SocketAddr, Failure> {
    let target = args.next().ok_or("proxy needs the upstream's address")?;
    Ok(target.parse()?)
}

async fn compare(gateway: &Path) -> Result<(), Failure> {
    let this = env::current_exe()?;
    let upstream = Server::start(&this, &["upstream"]).await?;
    let target = upstream.address.to_string();
    let proxy = Server::start(&this, &["proxy", &target]).await?;
    let second = Server::start(&this, &["proxy", &target]).await?;
    let reframing = Server::start(&this, &["reframing-proxy", &target]).await?;
    let config = process::ConfigFile::for_upstream(upstream.address)?;
    let gateway = Server::start(gateway, &["--config", config.path()]).await?;
    let servers = [&proxy, &gateway, &reframing, &second];

    for (name, call, callers, calls) in [
        ("1 KB call, JSON", Call::Json, 1, 300),
        ("1 KB call, 200 events", Call::Stream, 16, 1),
    ] {
        let mut report = Report::new(name);
        for server in servers {
            load::run(server, call, callers, calls).await?;
        }
        for round in 0..ROUNDS {
            let mut rounds = [const { None }; SERVERS];
            for turn in 0..servers.len() {
                let at = (round + turn) % servers.len();
                rounds[at] = Some(load::run(servers[at], call, callers, calls).await?);
            }
            report.add(rounds.map(|round| round.expect("each server has had its turn")));
        }
        println!("{report}");
    }
    Ok(())
}
