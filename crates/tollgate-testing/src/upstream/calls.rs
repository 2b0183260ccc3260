use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use tokio::sync::watch;

/// Longer than anything on a loopback interface takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What has happened at an upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    received: Arc<Mutex<Vec<Request<Bytes>>>>,
    counts: watch::Sender<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: usize,
    pub(super) connections: usize,
    pub(super) received: usize,
    pub(super) open: usize,
    pub(super) left: usize,
    pub(super) sent: u64,
}

impl Calls {
    pub(super) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(super) fn received(&self) -> MutexGuard<'_, Vec<Request<Bytes>>> {
        self.received.lock().expect("nobody panics with this lock")
    }

    /// Waits until it is so.
    pub(super) async fn wait_for(&self, what: &str, is_so: impl Fn(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        let within = tokio::time::timeout(PATIENCE, counts.wait_for(|now| is_so(now))).await;
        assert!(
            within.is_ok(),
            "waited {PATIENCE:?} for {what}: {:?}",
            self.counts()
        );
    }

    pub(super) fn open_connection(&self) -> Connection {
        self.counts.send_modify(|counts| {
            counts.accepted += 1;
            counts.connections += 1;
        });
        Connection(self.clone())
    }

    pub(super) fn open_call(&self) -> Call {
        self.counts.send_modify(|counts| counts.open += 1);
        Call {
            calls: self.clone(),
            is_over: false,
            sent: 0,
        }
    }

    pub(super) fn receive(&self, request: Request<Bytes>) {
        self.received().push(request);
        self.counts.send_modify(|counts| counts.received += 1);
    }
}

/// A connection, for as long as it lives.
pub(super) struct Connection(Calls);

impl Drop for Connection {
    fn drop(&mut self) {
        let counts = &self.0.counts;
        counts.send_modify(|counts| counts.connections -= 1);
    }
}

/// A call, for as long as it lives. Its caller has left if it is dropped before it is over.
pub(super) struct Call {
    calls: Calls,
    is_over: bool,
    sent: u64,
}

impl Call {
    pub(super) fn is_over(&mut self) {
        self.is_over = true;
    }

    pub(super) fn add_sent(&mut self, bytes: u64) {
        self.sent += bytes;
        self.calls.counts.send_modify(|counts| counts.sent += bytes);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.counts.send_modify(|counts| {
            counts.open -= 1;
            counts.left += usize::from(!self.is_over);
        });
    }
}
