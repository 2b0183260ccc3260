use super::{Malformed, Scanner, Text, Value};

/// The keys of the objects that are open, to find one that is there twice.
///
/// Readers disagree which of two values counts, and may do so in whatever is passed on unread: so
/// what is skipped is compared as well. Objects within objects share one list, as a stack.
#[derive(Debug, Default)]
pub(crate) struct Keys<'j> {
    keys: Vec<Text<'j>>,
}

/// Where the keys of one object begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize);

impl<'j> Keys<'j> {
    /// An object begins.
    pub(crate) fn open(&self) -> Mark {
        Mark(self.keys.len())
    }

    /// Adds a key, if there are not too many already: their number is the caller's choice.
    pub(crate) fn add(&mut self, key: Text<'j>) -> Result<(), Malformed> {
        if self.keys.len() >= MAX_KEYS {
            return Err(Malformed::TooManyValues);
        }
        if self.keys.capacity() == 0 {
            self.keys.reserve(FEW);
        }
        self.keys.push(key);
        Ok(())
    }

    /// The object that began here has ended: says which key, if any, it had twice.
    pub(crate) fn close(&mut self, mark: Mark) -> Option<Text<'j>> {
        let twice = self.keys.get_mut(mark.0..).and_then(twin);
        self.keys.truncate(mark.0);
        twice
    }

    /// Reads what is left of a value, so that the scanner stands behind it, and says which key, if
    /// any, an object in it had twice.
    pub(crate) fn finish(
        &mut self,
        scan: &mut Scanner<'j>,
        value: Value<'j>,
    ) -> Result<Option<Text<'j>>, Malformed> {
        let mut twice = None;
        let mut marks = [Mark(0); Scanner::MAX_DEPTH as usize];
        let mut open = 0;
        let mut value = value;
        loop {
            if let Value::Array | Value::Object = value {
                // The scanner opens no more than these.
                if let Some(mark) = marks.get_mut(open) {
                    *mark = self.open();
                }
                open += 1;
            }
            loop {
                if open == 0 {
                    return Ok(twice);
                }
                if scan.is_in_object() {
                    if let Some(key) = scan.next_member()? {
                        self.add(key)?;
                        break;
                    }
                } else if scan.next_item()? {
                    break;
                }
                open -= 1;
                if let Some(mark) = marks.get(open) {
                    let twin = self.close(*mark);
                    twice = twice.or(twin);
                }
            }
            value = scan.value()?;
        }
    }
}

/// One of two keys that are the same. Many are sorted; they lose their order, which nobody needs
/// any more.
fn twin<'j>(keys: &mut [Text<'j>]) -> Option<Text<'j>> {
    if keys.len() <= FEW {
        let mut rest = &*keys;
        while let [first, others @ ..] = rest {
            if others.iter().any(|other| other.same_as(*first)) {
                return Some(*first);
            }
            rest = others;
        }
        return None;
    }
    keys.sort_unstable_by(|one, other| one.order(*other));
    let mut pairs = keys.windows(2);
    pairs.find_map(|pair| match pair {
        [one, other] if one.same_as(*other) => Some(*one),
        _ => None,
    })
}

const FEW: usize = 16;

/// In all objects that are open at once: half a megabyte of them.
const MAX_KEYS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(json: &str) -> Option<String> {
        let (mut keys, mut scan) = (Keys::default(), Scanner::new(json, 100_000));
        let value = scan.value().unwrap();
        let twice = keys.finish(&mut scan, value).unwrap();
        scan.end().unwrap();
        assert_eq!(keys.open().0, 0, "all objects are closed");
        twice.map(|key| key.unescaped().into_owned())
    }

    #[test]
    fn a_key_may_be_in_many_objects_but_once_in_each() {
        for once in [
            "1",
            "{}",
            r#"["a","a"]"#,
            r#"{"a":{"a":{"a":1}}}"#,
            r#"[{"a":1},{"a":1}]"#,
            r#"{"a":{"b":1},"c":{"b":1},"b":"a"}"#,
        ] {
            assert_eq!(twice(once), None, "{once}");
        }
        for (json, key) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"a":{"b":1},"a":2}"#, "a"),
            (r#"{"x":[{"y":{"b":1,"c":{},"b":[]}}]}"#, "b"),
            (r#"[[{"":1,"":1}]]"#, ""),
            (r#"{"model":1,"\u006dodel":1}"#, "model"),
        ] {
            assert_eq!(twice(json).as_deref(), Some(key), "{json}");
        }
    }

    #[test]
    fn too_many_keys_are_not_remembered() {
        let keys: Vec<String> = (0..=MAX_KEYS).map(|n| format!("\"{n}\":0")).collect();
        let json = format!("{{{}}}", keys.join(","));
        let (mut keys, mut scan) = (Keys::default(), Scanner::new(&json, usize::MAX));
        let value = scan.value().unwrap();
        let read = keys.finish(&mut scan, value);
        assert_eq!(read.unwrap_err(), Malformed::TooManyValues);
    }

    #[test]
    fn many_keys_are_compared_as_strictly() {
        let object = |last: &str| {
            let keys: String = (0..16_000).map(|n| format!("\"k{n}\":{n},")).collect();
            format!("{{{keys}\"{last}\":0}}")
        };
        assert_eq!(twice(&object("k16000")), None);
        assert_eq!(twice(&object("k77")).as_deref(), Some("k77"));
        assert_eq!(twice(&object("\\u006b77")).as_deref(), Some("k77"));
    }
}
