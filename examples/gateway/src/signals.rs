//! The signals that the gateway obeys.

use std::io;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM, SIGINT or Ctrl-C: end.
    Stop,
}

/// The signals that have come.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    unix: unix::Signals,
}

impl Signals {
    /// Listens from now on. SIGHUP keeps its usual meaning, the end, unless there is something to
    /// reload.
    ///
    /// # Errors
    ///
    /// If the process cannot listen for them.
    pub fn listen(reloads: bool) -> io::Result<Self> {
        #[cfg(not(unix))]
        let _ = reloads;
        Ok(Self {
            #[cfg(unix)]
            unix: unix::Signals::listen(reloads)?,
        })
    }

    /// Waits for the next one.
    ///
    /// # Errors
    ///
    /// If the process cannot listen for it.
    pub async fn next(&mut self) -> io::Result<Signal> {
        #[cfg(unix)]
        return Ok(self.unix.next().await);
        #[cfg(not(unix))]
        return tokio::signal::ctrl_c().await.map(|()| Signal::Stop);
    }
}

#[cfg(unix)]
mod unix {
    use std::{future::pending, io};

    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    use super::Signal;

    #[derive(Debug)]
    pub(super) struct Signals {
        terminate: Stream,
        interrupt: Stream,
        hang_up: Option<Stream>,
    }

    impl Signals {
        pub(super) fn listen(reloads: bool) -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hang_up: reloads.then(|| signal(SignalKind::hangup())).transpose()?,
            })
        }

        pub(super) async fn next(&mut self) -> Signal {
            let hang_up = async {
                match &mut self.hang_up {
                    Some(stream) => stream.recv().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                _ = self.terminate.recv() => Signal::Stop,
                _ = self.interrupt.recv() => Signal::Stop,
                _ = hang_up => Signal::Reload,
            }
        }
    }
}
