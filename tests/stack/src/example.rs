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
    _process: Child,
}

impl Example {
    /// Starts the binary, which must print `listening on http://{address}` first.
    pub async fn start(binary: &str, args: &[&str]) -> Self {
        let mut process = Command::new(binary)
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = soon(lines.next_line()).await.unwrap().unwrap();
        let address = line.strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("it says {line:?}"));
        Self {
            address: address.parse().unwrap(),
            _process: process,
        }
    }
}
