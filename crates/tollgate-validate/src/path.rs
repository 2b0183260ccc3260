//! Where in a request a fault is, in OpenAI's two notations.

use std::fmt;

/// The place of a value, kept on the stack: written out only when a fault is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub(crate) const fn root(key: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Key(key),
        }
    }

    pub(crate) const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(crate) const fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// The notation of the rules that follow the schema: `messages.[0].role`, in place of
    /// `messages[0].role`.
    pub(crate) fn dotted(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, ".[");
        text
    }

    fn write(&self, out: &mut dyn fmt::Write, bracket: &str) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.write(out, bracket)?;
        }
        match self.step {
            Step::Index(index) => write!(out, "{bracket}{index}]"),
            Step::Key(key) if self.parent.is_some() => write!(out, ".{key}"),
            Step::Key(key) => out.write_str(key),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "[")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations() {
        let messages = Path::root("messages");
        let message = messages.index(2);
        let content = message.key("content");
        let part = content.index(0);
        assert_eq!(part.key("type").to_string(), "messages[2].content[0].type");
        assert_eq!(part.key("type").dotted(), "messages.[2].content.[0].type");
    }
}
