//! From keys to lines of the file, and back.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue, Error},
};

use super::Problem;

/// What `serde` has to say, with the key that it does not name.
pub(super) fn syntax_problem(text: &str, error: &Error) -> Problem {
    let source = Source::new(text);
    let span = error.span();
    let key = span.as_ref().and_then(|span| {
        let mut key = String::new();
        innermost_table(source.document.as_ref()?.get_ref(), span, &mut key);
        Some(key)
    });
    // The second line of some messages repeats what the file says.
    let message = error.message().lines().next().unwrap_or_default();
    let mut problem = Problem::new(key.unwrap_or_default(), without_value(message));
    problem.line = span.map(|span| source.line_of(span.start));
    problem
}

/// Leaves out the value that has the wrong type: it may be an API key.
fn without_value(message: &str) -> String {
    let found = message.strip_prefix("invalid type: ");
    match found.and_then(|found| found.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let (kind, _) = found.split_once(['"', '`']).unwrap_or((found, ""));
            format!("invalid type: {}, expected {expected}", kind.trim_end())
        }
        None => message.to_owned(),
    }
}

/// The text of a file in which problems were found. It is read once, however many they are.
pub(super) struct Source<'t> {
    document: Option<Spanned<DeTable<'t>>>,
    /// Where lines end.
    ends: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            document: DeTable::parse(text).ok(),
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        }
    }

    /// Adds the line of the problem's key, or of the closest table around it.
    pub(super) fn with_line(&self, mut problem: Problem) -> Problem {
        if let Some(document) = &self.document {
            let offset = offset_of(document.get_ref(), &problem.key);
            problem.line = offset.map(|offset| self.line_of(offset));
        }
        problem
    }

    fn line_of(&self, offset: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < offset)
    }
}

/// Appends the path of the key at which the span begins.
fn innermost_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut String) {
    for (key, value) in table {
        let holds = |range: Range<usize>| range.start <= span.start && span.start < range.end;
        let before = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key.get_ref());
        let deeper = path.len();
        innermost(value, span, path);
        if holds(key.span()) || holds(value.span()) || path.len() > deeper {
            return;
        }
        path.truncate(before);
    }
}

// A table whose header stands further up has a span that does not cover its keys, so the search
// goes through all of them. The depth is bounded by the parser.
fn innermost(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut String) {
    match value.get_ref() {
        DeValue::Table(table) => innermost_table(table, span, path),
        DeValue::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let before = path.len();
                path.push_str(&format!("[{at}]"));
                let deeper = path.len();
                innermost(item, span, path);
                if item.span().contains(&span.start) || path.len() > deeper {
                    return;
                }
                path.truncate(before);
            }
        }
        _ => {}
    }
}

/// Where the key of this path stands, or the closest table around it that exists.
fn offset_of(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let mut found = None;
    let mut table = table;
    let mut rest = path;
    loop {
        // A key may hold dots itself, so the longest one that fits is the one that is meant.
        let (key, value) = table
            .iter()
            .filter(|(key, _)| starts_with_key(rest, key.get_ref()))
            .max_by_key(|(key, _)| key.get_ref().len())?;
        found = Some(key.span().start).or(found);
        rest = rest.strip_prefix(key.get_ref().as_ref())?;
        let mut value = value;
        while let Some((index, after)) = index_of(rest) {
            let item = value
                .get_ref()
                .as_array()
                .and_then(|items| items.get(index));
            let Some(item) = item else { return found };
            found = Some(item.span().start);
            value = item;
            rest = after;
        }
        let Some(after) = rest.strip_prefix('.') else {
            return found;
        };
        rest = after;
        let Some(inner) = value.get_ref().as_table() else {
            return found;
        };
        if !inner.keys().any(|key| starts_with_key(rest, key.get_ref())) {
            return found;
        }
        table = inner;
    }
}

fn starts_with_key(path: &str, key: &str) -> bool {
    path.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn index_of(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[models.\"gpt-4.1\"]\nx = 2\n[[r.eu.u]]\nname = \"n\"\n[[r.eu.u]]\nname = \"m\"\nd = { k = 5 }\n";

    fn line(key: &str) -> Option<usize> {
        Source::new(TEXT).with_line(Problem::new(key, "")).line
    }

    #[test]
    fn keys_have_lines() {
        assert_eq!(line("a"), Some(1));
        assert_eq!(line("models.gpt-4.1.x"), Some(3));
        assert_eq!(line("r.eu.u[0].name"), Some(5));
        assert_eq!(line("r.eu.u[1].name"), Some(7));
        assert_eq!(line("r.eu.u[1].d.k"), Some(8));
    }

    #[test]
    fn an_absent_key_has_the_line_of_its_table() {
        assert_eq!(line("r.eu.u[1].url"), Some(6));
        assert_eq!(line("models.gpt-4.1.y"), Some(2));
        assert_eq!(line("nothing"), None);
    }

    #[test]
    fn lines_have_keys() {
        let document = DeTable::parse(TEXT).unwrap();
        let key_at = |needle: &str| {
            let at = TEXT.find(needle).unwrap();
            let mut key = String::new();
            innermost_table(document.get_ref(), &(at..at + 1), &mut key);
            key
        };
        assert_eq!(key_at("1\n"), "a");
        assert_eq!(key_at("x = 2"), "models.gpt-4.1.x");
        assert_eq!(key_at("\"m\""), "r.eu.u[1].name");
        assert_eq!(key_at("5 }"), "r.eu.u[1].d.k");
    }
}
