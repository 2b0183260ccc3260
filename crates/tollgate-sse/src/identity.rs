//! What all chunks of a stream have in common, for those that lack it.

use serde_json::Value;

use crate::edit::Field;

/// The members by which a stream's chunks belong together, as JSON text (rule R11).
///
/// A value is the first good one that the upstream has sent. Before there is one, a value of our
/// own stands in for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    sent: [Option<Box<str>>; 4],
    own: [Box<str>; 4],
}

impl Identity {
    /// With values to fall back on; `created` counts seconds since 1970.
    pub(crate) fn new(id: &str, model: &str, created: u64) -> Self {
        let own = [
            Value::from(id),
            Value::from("chat.completion.chunk"),
            Value::from(created),
            Value::from(model),
        ];
        Self {
            sent: Default::default(),
            own: own.map(|value| value.to_string().into()),
        }
    }

    /// Remembers a good value of the upstream's.
    pub(crate) fn learn(&mut self, field: Field, json: &str) {
        self.sent[field as usize].get_or_insert_with(|| json.into());
    }

    /// The value that fills a gap.
    pub(crate) fn value(&self, field: Field) -> &str {
        let at = field as usize;
        self.sent[at].as_ref().unwrap_or(&self.own[at])
    }
}
