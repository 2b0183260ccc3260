//! What all chunks of a stream have in common, for those that lack it.

use std::time::SystemTime;

use crate::edit::Field;

/// The members by which a stream's chunks belong together, as JSON text (rule R11).
///
/// A value is the first good one that the upstream has sent. Before there is one, a value of our
/// own stands in for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    sent: [Option<Box<[u8]>>; 4],
    own: [Option<Box<[u8]>>; 4],
}

impl Identity {
    /// With an id and a model to fall back on.
    pub(crate) fn new(id: &str, model: &str) -> Self {
        let json = |text: &str| {
            Some(
                serde_json::Value::from(text)
                    .to_string()
                    .into_bytes()
                    .into(),
            )
        };
        Self {
            sent: Default::default(),
            own: [json(id), json("chat.completion.chunk"), None, json(model)],
        }
    }

    /// Remembers a good value of the upstream's.
    pub(crate) fn learn(&mut self, field: Field, json: &[u8]) {
        self.sent[field as usize].get_or_insert_with(|| json.into());
    }

    /// The value that fills a gap.
    pub(crate) fn value(&mut self, field: Field) -> &[u8] {
        let at = field as usize;
        match &self.sent[at] {
            Some(value) => value,
            None => self.own[at].get_or_insert_with(|| now().to_string().into_bytes().into()),
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is no reason to send a chunk that SDKs cannot read.
    since.map_or(1, |since| since.as_secs().max(1))
}
