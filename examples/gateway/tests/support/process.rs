//! The gateway's binary, and what it needs to run.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
}

/// A file that is gone again after its test.
pub struct File(PathBuf);

impl File {
    pub fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gateway-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A gateway as a process, with what it has said first.
pub struct Running {
    pub process: Child,
    stdout: BufReader<ChildStdout>,
    pub address: SocketAddr,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments)
    }

    /// The same, with these environment variables.
    pub fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut process = binary()
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address
            .unwrap_or_else(|| panic!("{line:?}"))
            .parse()
            .unwrap();
        Self {
            process,
            stdout,
            address,
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Its resident memory in kB.
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let mut lines = status.lines();
        let resident = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes = resident.trim().strip_suffix(" kB").unwrap();
        kilobytes.parse().unwrap()
    }

    /// Stops it, and returns what it has said since on stdout, and all that it said on stderr.
    pub fn stop(mut self) -> [String; 2] {
        self.signal("-TERM");
        assert!(self.process.wait().unwrap().success());
        let mut said = [String::new(), String::new()];
        let mut stderr = self.process.stderr.take().unwrap();
        self.stdout.read_to_string(&mut said[0]).unwrap();
        stderr.read_to_string(&mut said[1]).unwrap();
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
