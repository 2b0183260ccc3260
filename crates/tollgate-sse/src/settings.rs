use std::time::Duration;

use crate::{framer::DEFAULT_MAX_EVENT_BYTES, stream::Silence};

/// What holds for every answer, unless its attempt overrules it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_event_bytes: usize,
    pub(crate) max_json_bytes: usize,
    pub(crate) hold_bytes: usize,
    pub(crate) silence: Silence,
    pub(crate) ask_usage: bool,
    pub(crate) keep_filters: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_event_bytes: DEFAULT_MAX_EVENT_BYTES,
            max_json_bytes: 8 << 20,
            hold_bytes: 64 << 10,
            silence: Silence {
                idle: Duration::from_secs(300),
                progress: Duration::from_secs(900),
                keep_alive: None,
            },
            ask_usage: true,
            keep_filters: false,
        }
    }
}
