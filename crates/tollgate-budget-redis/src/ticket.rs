//! One reservation, from before it is asked for until it is settled.

use std::{fmt, sync::Arc};

use tollgate_budget::{Settled, Units};

use crate::{
    inner::Inner,
    note::{Change, Note},
    target::Target,
};

/// A reservation that was asked for. Unless it is settled, or known not to be made, dropping it
/// gives back what was or will be charged: wherever an answer is lost on its way to the layer.
pub(crate) struct Ticket {
    target: Option<Arc<Target>>,
    /// The server is told to charge it, until it hears of that.
    is_recorded: bool,
    shared: Arc<Inner>,
}

impl Ticket {
    /// Of what the server is asked.
    pub(crate) fn new(target: Arc<Target>, shared: Arc<Inner>) -> Self {
        Self {
            target: Some(target),
            is_recorded: false,
            shared,
        }
    }

    /// Of what the server is told, if there is room to tell it.
    pub(crate) fn record(target: Arc<Target>, shared: Arc<Inner>) -> Option<Self> {
        let note = Note::new(Arc::clone(&target), Change::Charge);
        (shared.queue(note) == Settled::Queued).then(|| Self {
            target: Some(target),
            is_recorded: true,
            shared,
        })
    }

    /// Nothing was charged, nor will be.
    pub(crate) fn tear(mut self) {
        self.target = None;
    }

    /// Has it settled by what was really used.
    pub(crate) fn settle(mut self, actual: Units) -> Settled {
        let is_asked_once = !self.is_recorded;
        self.close(actual, is_asked_once).unwrap_or(Settled::Queued)
    }

    fn close(&mut self, actual: Units, is_done: bool) -> Option<Settled> {
        let target = self.target.take()?;
        // Where nothing is charged any more, settling twice does nothing. But debt is charged once,
        // and what is given back before it was charged must not be charged after that.
        let Units { requests, tokens } = target.cost;
        let is_debt = actual.requests > requests || actual.tokens > tokens;
        let is_kept = is_debt || !is_done;
        let change = Change::Settle { actual, is_kept };
        Some(self.shared.queue(Note::new(target, change)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(Units::ZERO, false);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}
