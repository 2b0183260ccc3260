use std::time::Duration;

use crate::headers::Forwarded;

/// What every call looks up.
pub(crate) struct Common<C, R> {
    pub(crate) settings: Settings,
    pub(crate) classify: C,
    pub(crate) render: R,
}

/// What holds for every call.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) forwarded: Forwarded,
    pub(crate) head_timeout: Duration,
    pub(crate) attempts: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            forwarded: Forwarded::default(),
            head_timeout: Duration::from_secs(120),
            attempts: 3,
        }
    }
}
