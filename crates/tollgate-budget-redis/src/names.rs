//! What things are called in Redis.

use std::{fmt::Write, time::Duration};

use sha2::{Digest, Sha256};
use tollgate_budget::{Span, WindowSpec};

/// Makes names that tell apart whatever a store tells apart.
///
/// `tollgate:{acme}:m1000000::gpt-4o` is a minute of slots of 1,000,000 µs, `tollgate:{acme}:r:…` a
/// reservation. What is in braces is the workspace, by which a cluster places a key, so that what is
/// charged together is in one place.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
    slot: Duration,
}

impl Names {
    pub(crate) fn new(prefix: &str, slot: Duration) -> Self {
        // The first brace of a key is to be the workspace's.
        let prefix = prefix.replace('{', "%7B").replace('}', "%7D");
        Self { prefix, slot }
    }

    /// The key by which a server that has forgotten everything is known.
    pub(crate) fn memory(&self) -> String {
        format!("{}:memory", self.prefix)
    }

    /// What the keys of a workspace begin with.
    pub(crate) fn home(&self, workspace: &str) -> String {
        let mut home = format!("{}:{{", self.prefix);
        escape(&mut home, workspace);
        // Braces around nothing are no place.
        if workspace.is_empty() {
            home.push('%');
        }
        home.push_str("}:");
        home
    }

    /// The key of a window. Its length is in it: another configuration finds another window.
    pub(crate) fn window(&self, home: &str, window: &WindowSpec<'_>) -> String {
        let kind = match window.span {
            Span::Second => 's',
            _ => 'm',
        };
        let slot = self.shape(window.span).slot;
        let mut key = format!("{home}{kind}{slot}:");
        escape(&mut key, window.scope);
        key.push(':');
        escape(&mut key, window.name);
        key
    }

    /// How a window divides time.
    pub(crate) fn shape(&self, span: Span) -> Shape {
        let (slots, slot) = span.slots(self.slot);
        let slot = u64::try_from(slot.as_micros()).unwrap_or(u64::MAX);
        Shape { slot, slots }
    }
}

/// Slots, and how many microseconds each has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) slot: u64,
    pub(crate) slots: u16,
}

/// The key of a reservation: the home of what it was charged to, and 32 digits.
pub(crate) fn reservation(home: &str, id: u128) -> String {
    format!("{home}r:{id:032x}")
}

/// Appends a name so that it ends where it ends: no two lists of names look alike. Long ones, which
/// callers may have made up, are replaced by their digest.
fn escape(key: &mut String, name: &str) {
    if name.len() > LONGEST {
        key.push('#');
        for byte in Sha256::digest(name) {
            let _ = write!(key, "{byte:02x}");
        }
        return;
    }
    for char in name.chars() {
        if matches!(char, '{' | '}' | ':' | '#' | '%') {
            let _ = write!(key, "%{:02X}", u32::from(char));
        } else {
            key.push(char);
        }
    }
}

const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use tollgate_budget::Limit;

    use super::*;

    fn key(workspace: &str, scope: &'static str, name: &str, span: Span) -> String {
        let names = Names::new("tollgate", Duration::from_secs(1));
        let window = WindowSpec::new(scope, name, span, Limit::NONE);
        names.window(&names.home(workspace), &window)
    }

    #[test]
    fn keys_can_be_read() {
        assert_eq!(
            key("acme", "", "gpt-4o", Span::Minute),
            "tollgate:{acme}:m1000000::gpt-4o"
        );
        assert_eq!(
            key("a{c}:m", "user", "50%", Span::Second),
            "tollgate:{a%7Bc%7D%3Am}:s100000:user:50%25"
        );
        assert_eq!(key("", "", "", Span::Minute), "tollgate:{%}:m1000000::");
        let names = Names::new("a{b}", Duration::from_secs(1));
        assert_eq!(
            reservation(&names.home("acme"), 0xabc),
            "a%7Bb%7D:{acme}:r:00000000000000000000000000000abc"
        );
    }

    #[test]
    fn no_key_is_long() {
        let long = "\0".repeat(1 << 16);
        assert!(key(&long, "", &long, Span::Minute).len() < 200);
        assert_ne!(
            key("acme", "", &long, Span::Minute),
            key("acme", "", &"\0".repeat((1 << 16) - 1), Span::Minute)
        );
    }

    proptest! {
        #[test]
        fn no_two_windows_have_one_key(
            names in prop::collection::vec("[a{}:#%\0\u{e9}]{0,3}", 6),
            scopes in prop::collection::vec(0_usize..3, 2),
        ) {
            let scope = |at: usize| ["", "user", "use:r"][scopes[at]];
            let parts = [(&names[0], scope(0), &names[1]), (&names[2], scope(1), &names[3])];
            let keys: HashSet<_> = parts
                .iter()
                .map(|(workspace, scope, name)| key(workspace, scope, name, Span::Minute))
                .collect();
            prop_assert_eq!(keys.len() == 1, parts[0] == parts[1]);
            // Nor does a workspace choose another's place.
            for (key, (workspace, ..)) in parts.iter().map(|p| (key(p.0, p.1, p.2, Span::Minute), p)) {
                let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
                let mut escaped = String::new();
                escape(&mut escaped, workspace);
                let escaped = if escaped.is_empty() { "%" } else { &escaped };
                prop_assert_eq!(tag.map(|(tag, _)| tag), Some(escaped));
            }
        }
    }
}
