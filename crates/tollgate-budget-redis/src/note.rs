use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tollgate_budget::Units;

use crate::target::Target;

/// What is to be told to the server when there is time. Telling it twice does no harm.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) target: Arc<Target>,
    pub(crate) change: Change,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// It was granted without the server.
    Charge,
    /// This was really used. The server is to remember that it was told, or need not.
    Settle { actual: Units, is_kept: bool },
}

impl Note {
    pub(crate) fn new(target: Arc<Target>, change: Change) -> Self {
        Self {
            target,
            change,
            since: Instant::now(),
        }
    }

    /// Whether nobody tries any more.
    pub(crate) fn is_late(&self, patience: Duration) -> bool {
        self.since.elapsed() >= patience
    }
}
