//! What a stream says besides its data.

use std::time::Duration;

/// The fields `event`, `id` and `retry`, as far as they have been read.
#[derive(Clone)]
pub(crate) struct Fields {
    name: Vec<u8>,
    /// What the next empty line makes the last id.
    id: Vec<u8>,
    last_id: Vec<u8>,
    id_changed: bool,
    retry: Option<Duration>,
}

impl Fields {
    pub(crate) const fn new() -> Self {
        Self {
            name: Vec::new(),
            id: Vec::new(),
            last_id: Vec::new(),
            id_changed: false,
            retry: None,
        }
    }

    /// The name of the event in progress.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Reads one line's field; what is unknown or wrong means nothing.
    pub(crate) fn read(&mut self, field: &[u8], value: &[u8]) {
        match field {
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
                self.id_changed = true;
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let millis = value.iter().try_fold(0u64, |millis, digit| {
                    millis.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
                });
                self.retry = millis.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }

    /// An empty line has come: an id counts from here on.
    pub(crate) fn complete(&mut self) {
        if std::mem::take(&mut self.id_changed) {
            self.last_id.clone_from(&self.id);
        }
    }

    /// The next event has a name of its own or none.
    pub(crate) fn forget_name(&mut self) {
        self.name.clear();
        // A buffer that one large event has left behind is not kept for all the small ones.
        if self.name.capacity() > MAX_KEPT_BYTES {
            self.name = Vec::new();
        }
    }
}

const MAX_KEPT_BYTES: usize = 64 << 10;
