use std::{net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::soon;

/// An example that runs as a process, until this is dropped.
#[derive(Debug)]
pub struct Example {
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
}

impl Example {
    /// Starts the binary, which must print `listening on {address}` first, as a URL if it speaks HTTP.
    pub async fn start(binary: &str, args: &[&str]) -> Self {
        let mut process = Command::new(binary)
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = soon(lines.next_line()).await.unwrap().unwrap();
        let address = line.strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("it says {line:?}"));
        Self {
            address: address.trim_start_matches("http://").parse().unwrap(),
            process,
        }
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(mut self) {
        soon(self.process.kill()).await.unwrap();
    }
}
