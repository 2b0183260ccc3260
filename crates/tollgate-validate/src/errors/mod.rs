//! Every refusal of the validator, in OpenAI's own words.
//!
//! The API has two layers of checks with a dialect each: the schema's errors have a `code` and
//! paths like `messages[0].role`; the errors of the rules behind it mostly have none and paths
//! like `messages.[0].role`. Clients match on both.

mod rules;
mod schema;
mod transfer;

use std::borrow::Cow;

use tollgate_core::{Rejection, RejectionKind};

pub(crate) use self::{rules::*, schema::*, transfer::*};
use crate::{json::Text, path::Path};

/// `'a', 'b', and 'c'`, as the API lists values.
pub(crate) fn listed(values: &[&str], word: &str) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        let separator = match (at, values.len() - at) {
            (0, _) => String::new(),
            (1, 1) => format!(" {word} "),
            (_, 1) => format!(", {word} "),
            _ => ", ".to_owned(),
        };
        text.push_str(&separator);
        text.push('\'');
        text.push_str(value);
        text.push('\'');
    }
    text
}

/// What the caller wrote, cut to a length that does no harm in an answer.
pub(crate) fn shown(text: Text<'_>) -> String {
    cut(text.chars())
}

/// The same of a text without escapes.
pub(crate) fn shortened(text: &str) -> String {
    cut(text.chars())
}

fn cut(chars: impl Iterator<Item = char>) -> String {
    let mut chars = chars;
    let mut text: String = chars.by_ref().take(MAX_ECHO_CHARS).collect();
    if chars.next().is_some() {
        text.push_str("...");
    }
    text
}

const MAX_ECHO_CHARS: usize = 512;

fn invalid(message: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::new(RejectionKind::InvalidRequest).with_message(message)
}

fn schema(path: &Path<'_>, code: &'static str, message: String) -> Rejection {
    invalid(message)
        .with_param(path.to_string())
        .with_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_the_api_writes_them() {
        assert_eq!(listed(&["a"], "and"), "'a'");
        assert_eq!(listed(&["a", "b"], "and"), "'a' and 'b'");
        assert_eq!(listed(&["a", "b", "c"], "or"), "'a', 'b', or 'c'");
    }

    #[test]
    fn no_answer_grows_with_the_request() {
        let long = "x".repeat(1 << 20);
        let rejection = unknown(&Path::root(&shortened(&long)));
        assert_eq!(rejection.param().unwrap().len(), 515);
        assert!(rejection.message().len() < 600);
    }
}
