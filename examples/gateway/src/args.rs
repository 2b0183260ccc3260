use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

/// An OpenAI-compatible gateway. Without arguments it serves simulated upstreams, to try it out.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
#[non_exhaustive]
pub struct Args {
    /// Serve what this file configures
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check a configuration and exit
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub check: Option<PathBuf>,
    /// Listen here, whatever the configuration says; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}
