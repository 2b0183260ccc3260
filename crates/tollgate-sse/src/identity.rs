//! What all chunks of a stream have in common, for those that lack it.

use std::ops::Range;

use serde_json::Value;

use crate::edit::{Edits, Field, Put};

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
        // The caller's spelling, which may be anything where nobody checks it.
        let model = Some(model).filter(|model| model.len() <= MAX_BYTES);
        let own = [
            Value::from(id),
            Value::from("chat.completion.chunk"),
            Value::from(created),
            Value::from(model.unwrap_or("unknown")),
        ];
        Self {
            sent: Default::default(),
            own: own.map(|value| value.to_string().into()),
        }
    }

    /// Remembers a good value of the upstream's, unless filling many small chunks with it would
    /// make much out of little.
    pub(crate) fn learn(&mut self, field: Field, json: &str) {
        if json.len() <= MAX_BYTES {
            self.sent[field as usize].get_or_insert_with(|| json.into());
        }
    }

    /// How many of the upstream's values are known.
    pub(crate) fn known(&self) -> usize {
        self.sent.iter().flatten().count()
    }

    /// The value that fills a gap.
    pub(crate) fn value(&self, field: Field) -> &str {
        let at = field as usize;
        self.sent[at].as_ref().unwrap_or(&self.own[at])
    }
}

/// Where the members of a stream's identity stand in one chunk.
#[derive(Debug, Default)]
pub(crate) struct Belonging {
    values: [Option<Range<usize>>; 4],
}

impl Belonging {
    pub(crate) fn saw(&mut self, field: Field, value: Range<usize>) {
        self.values[field as usize] = Some(value);
    }

    /// Learns what is good, and fills what is missing or blank (rule R11).
    pub(crate) fn complete(
        &self,
        json: &str,
        open: usize,
        identity: &mut Identity,
        edits: &mut Edits,
    ) {
        let fields = [Field::Id, Field::Object, Field::Created, Field::Model];
        for (field, value) in fields.into_iter().zip(&self.values) {
            match value {
                Some(value) => {
                    let text = json.get(value.clone()).unwrap_or_default();
                    if is_good(field, text) {
                        identity.learn(field, text);
                    } else {
                        edits.add(value.clone(), Put::Value(field));
                    }
                }
                None => edits.add(open + 1..open + 1, Put::Member(field)),
            }
        }
    }
}

fn is_good(field: Field, json: &str) -> bool {
    match field {
        Field::Created => json.bytes().any(|digit| matches!(digit, b'1'..=b'9')),
        Field::Id | Field::Model | Field::Object => json
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .is_some_and(|text| !text.trim().is_empty()),
    }
}

/// Far above any id or model's name.
const MAX_BYTES: usize = 1_024;
