//! Reads the arguments and starts the gateway.

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::Parser;
use gateway::{
    Args, Gateway, StartError,
    config::Config,
    demo,
    signals::{Signal, Signals},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    // What h2 warns of is what callers do, at a rate that they choose.
    let quiet = |_| EnvFilter::new("warn,h2=error");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(quiet);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    // The usual hook prints what was thrown, and that may hold what a caller sent.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a bug: something panicked");
    }));
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    if let Some(file) = args.check {
        Gateway::check(&Config::load(&file)?).await?;
        writeln!(out, "{}: the configuration is valid", file.display())?;
        return Ok(());
    }
    let mut signals = Signals::listen(args.config.is_some())?;
    let started = args.config.as_deref().map(Config::load).transpose()?;
    let gateway = match started.clone() {
        None => demo::start(args.listen).await?,
        Some(mut config) => {
            config.listen = args.listen.unwrap_or(config.listen);
            Gateway::start(config).await?
        }
    };
    writeln!(out, "listening on http://{}", gateway.address())?;
    out.flush()?;
    if args.config.is_none() {
        demo::introduce(&mut out, gateway.address())?;
    }
    if let Some(admin) = gateway.admin_address() {
        writeln!(out, "metrics: http://{admin}/metrics")?;
        out.flush()?;
    }
    while signals.next().await? == Signal::Reload {
        let (Some(file), Some(started)) = (&args.config, &started) else {
            continue;
        };
        match reload(&gateway, file, started).await {
            Ok(()) => tracing::warn!("the configuration has been reloaded"),
            Err(error) => tracing::error!("the configuration of before goes on: {error}"),
        }
    }
    tokio::select! {
        () = gateway.stop() => {}
        // Whoever says so twice does not want to wait.
        () = stop_again(&mut signals) => tracing::warn!("open calls are cut: stopped again"),
    }
    Ok(())
}

async fn stop_again(signals: &mut Signals) {
    while let Ok(Signal::Reload) = signals.next().await {}
}

async fn reload(gateway: &Gateway, file: &Path, started: &Config) -> Result<(), StartError> {
    let config = Config::load(file)?;
    let waiting = config.needs_restart(started);
    gateway.reload(config).await?;
    for key in waiting {
        tracing::warn!("`{key}` stays as it was until the gateway is started again");
    }
    Ok(())
}
