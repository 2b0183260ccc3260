//! Servers as child processes: their address, their processor time, their end.

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{Failure, WORKERS};

/// A server that names its address in its first line, stopped when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    pub(crate) async fn start(program: &Path, args: &[impl AsRef<OsStr>]) -> Result<Self, Failure> {
        let mut child = Command::new(program)
            .args(args)
            // The gateway would take as many as there are processors.
            .env("TOKIO_WORKER_THREADS", WORKERS.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the child has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(Duration::from_secs(10), lines.next_line())
            .await??
            .ok_or("the server ended before it named its address")?;
        // The rest of its output must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let address = first
            .rsplit_once("http://")
            .ok_or_else(|| format!("no address in `{first}`"))?
            .1
            .parse()?;
        Ok(Self { address, child })
    }

    /// The processor time that each thread of the server has used so far.
    pub(crate) fn cpu_time(&self) -> io::Result<CpuTime> {
        let pid = self
            .child
            .id()
            .ok_or_else(|| io::Error::other("the server has ended"))?;
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // One that has just ended used nothing worth mentioning.
            let Ok(times) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let on_cpu = times.split_whitespace().next().unwrap_or_default();
            let nanos = on_cpu.parse::<u64>().map_err(io::Error::other)?;
            threads.insert(task.file_name(), nanos);
        }
        Ok(CpuTime(threads))
    }
}

/// Nanoseconds by thread: threads that wait for work in vain end, and take their times with them.
pub(crate) struct CpuTime(HashMap<OsString, u64>);

impl CpuTime {
    /// What was used since, by the threads that are still there.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, nanos)| {
            let before = before.0.get(thread).copied().unwrap_or(0);
            nanos.saturating_sub(before)
        });
        Duration::from_nanos(used.sum())
    }
}

/// A gateway configuration that is removed when dropped.
pub(crate) struct ConfigFile(PathBuf);

impl ConfigFile {
    /// One region with one Azure upstream, and budgets that no run of this benchmark exhausts.
    pub(crate) fn for_upstream(upstream: SocketAddr) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("tollgate-bench-{}.toml", std::process::id()));
        fs::write(
            &path,
            format!(
                r#"listen = "127.0.0.1:0"

[budget]
requests_per_minute = 1_000_000_000
tokens_per_minute = 1_000_000_000

[[workspaces]]
name = "bench"
api_keys = ["sk-bench"]

[models.gpt-4o]

[regions.eu]
[[regions.eu.upstreams]]
name = "bench"
kind = "azure"
url = "http://{upstream}"
api_version = "2024-10-21"
api_key = "upstream-key"
deployments = {{ "gpt-4o" = "gpt-4o" }}
"#
            ),
        )?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
