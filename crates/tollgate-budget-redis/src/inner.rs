use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tollgate_budget::{Charge, Settled};

use crate::{
    ids::Ids,
    link::{Health, Link},
    names::Names,
    note::Note,
    target::Target,
};

/// What the clones of a store share, and its tickets.
pub(crate) struct Inner {
    pub(crate) names: Names,
    pub(crate) slot: Duration,
    pub(crate) patience: Duration,
    pub(crate) link: watch::Receiver<Link>,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) health: Arc<Health>,
    pub(crate) ids: Ids,
    /// The time of tests, in microseconds.
    pub(crate) clock: Option<Arc<AtomicU64>>,
}

impl Inner {
    pub(crate) fn target(&self, charge: &Charge<'_>) -> Arc<Target> {
        Arc::new(Target::new(&self.names, self.ids.next(), charge))
    }

    /// Has the driver tell the server, if there is room.
    pub(crate) fn queue(&self, note: Note) -> Settled {
        match self.notes.try_send(note) {
            Ok(()) => Settled::Queued,
            Err(_) => {
                Health::count(&self.health.lost, 1);
                Settled::Lost
            }
        }
    }

    pub(crate) fn now(&self) -> Option<u64> {
        let clock = self.clock.as_ref()?;
        Some(clock.load(Ordering::Relaxed))
    }
}
