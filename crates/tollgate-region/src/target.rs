use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Uri};
use tollgate_core::{AttemptSettings, Region};

use crate::{Credentials, health::Health};

/// One deployment of one upstream: what a call is sent to. Everything that can be computed once is.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) upstream: Arc<str>,
    pub(crate) upstream_header: HeaderValue,
    pub(crate) region: Region,
    pub(crate) model: Arc<str>,
    pub(crate) deployment: Box<str>,
    pub(crate) host: Box<str>,
    pub(crate) uri: Uri,
    pub(crate) credentials: Credentials,
    pub(crate) is_azure: bool,
    pub(crate) model_json: Option<Bytes>,
    /// It takes the cap of the output by its old name alone.
    pub(crate) wants_max_tokens: bool,
    pub(crate) locations: Box<[String]>,
    pub(crate) priority: u32,
    pub(crate) weight: NonZeroU32,
    pub(crate) head_timeout: Duration,
    pub(crate) settings: AttemptSettings,
    /// Outlives the target where one set of upstreams follows another.
    pub(crate) health: Arc<Health>,
}

impl Target {
    /// Whether this text would tell a caller something about the operator's side.
    pub(crate) fn is_betrayed_by(&self, text: &str) -> bool {
        let deployment_is_public = *self.deployment == *self.model;
        let secret = self.credentials.current();
        let lower_case = text.to_ascii_lowercase();
        secret.is_some_and(|secret| secret.occurs_in(text))
            || names(&lower_case, &self.host)
            || (!deployment_is_public && names(&lower_case, &self.deployment.to_ascii_lowercase()))
    }
}

/// Whether the text names this: as a word, or as a part of something else that can only be meant.
fn names(text: &str, name: &str) -> bool {
    let mut around = text.split(name).zip(text.split(name).skip(1));
    around.any(|(before, after)| {
        let in_word =
            before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        !in_word || name.len() >= UNMISTAKABLE_BYTES
    })
}

/// As long as this, no name is found in other words by chance.
const UNMISTAKABLE_BYTES: usize = 8;
