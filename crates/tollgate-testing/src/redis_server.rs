use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// A Redis server of a test's own: empty, on a free port of this machine, gone when it is dropped.
///
/// It runs `redis-server`, or what the environment variable `TOLLGATE_REDIS_SERVER` names, such as
/// `valkey-server`.
///
/// ```no_run
/// use tollgate_testing::RedisServer;
///
/// let mut server = RedisServer::start();
/// println!("{}", server.url()); // redis://127.0.0.1:40123/
/// server.pause(); // connections stay open, and nothing is answered
/// server.resume();
/// server.kill(); // connections are lost, and further ones refused
/// server.start_again(); // at the same address, and empty
/// ```
#[derive(Debug)]
pub struct RedisServer {
    address: SocketAddr,
    password: Option<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If it does not come up: a test that needs one must not pass without.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server that asks for this password, which consists of letters and digits.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    #[must_use]
    pub fn start_with_password(password: &str) -> Self {
        Self::start_with(Some(password))
    }

    #[allow(clippy::panic, reason = "this is how a check fails")]
    fn start_with(password: Option<&str>) -> Self {
        // Somebody else may take a port that was free.
        for _ in 0..10 {
            let mut server = Self {
                address: free_address(),
                password: password.map(str::to_owned),
                process: None,
            };
            if server.run() {
                return server;
            }
        }
        panic!("`{}` does not come up", program());
    }

    /// The address as a client is given it.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@{}/", self.address),
            None => format!("redis://{}/", self.address),
        }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it say nothing more until it is [resumed](Self::resume). Connections stay open, and new
    /// ones are made by the operating system.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Has it go on, with what was sent to it meanwhile.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, without a chance to say anything.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have died by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    ///
    /// If it runs, or does not come up.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        assert!(self.run(), "`{}` does not come up again", program());
    }

    /// Whether it has come up.
    #[allow(clippy::panic, reason = "this is how a check fails")]
    fn run(&mut self) -> bool {
        let port = self.address.port().to_string();
        let mut command = Command::new(program());
        command
            .args(["--bind", "127.0.0.1", "--port", &port])
            .args(["--save", "", "--appendonly", "no", "--dir", "/"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        let process = command.spawn().unwrap_or_else(|error| {
            panic!(
                "this test needs a Redis server, and `{}` does not start: {error}. Install \
                 redis-server, or name another in TOLLGATE_REDIS_SERVER",
                program()
            )
        });
        self.process = Some(process);
        for _ in 0..500 {
            if self.answers() {
                return true;
            }
            let process = self.process.as_mut();
            if process.is_none_or(|process| process.try_wait().is_ok_and(|end| end.is_some())) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }

    fn answers(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        // Without the password it says so.
        matches!(ask(), Ok(answer) if answer == *b"+PONG" || answer == *b"-NOAU")
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref();
        let process = process.and_then(|process| Pid::from_raw(process.id().try_into().ok()?));
        let process = process.expect("it runs");
        kill_process(process, signal).expect("it is ours");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> String {
    std::env::var("TOLLGATE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("it listens")
}
