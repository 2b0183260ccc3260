//! Durations are whole milliseconds in the file, and at least one.

pub(super) mod millis {
    use std::{num::NonZeroU64, time::Duration};

    use serde::{Deserialize, Deserializer};

    pub(in crate::config) fn deserialize<'de, D>(deserializer: D) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        NonZeroU64::deserialize(deserializer).map(|millis| Duration::from_millis(millis.get()))
    }
}
