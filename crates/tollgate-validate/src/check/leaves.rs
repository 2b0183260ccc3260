//! Values without an inside, and the two containers of them.

use super::{Check, Scan};
use crate::{
    errors::{self, Bound},
    json::{Mark, Number, Scanner, Text, Value},
    path::Path,
};

/// The names that functions, tools and schemas may have.
const NAME_PATTERN: &str = "^[a-zA-Z0-9_-]+$";
const MAX_NAME_CHARS: usize = 64;

impl<'j> Check<'j, '_> {
    /// Reads the members of an object that has just been opened; `each` is called with those whose
    /// names are known, null included, and must read their values. The others are skipped, or
    /// refused. Says which of the known ones were there.
    pub(super) fn members<const N: usize>(
        &mut self,
        path: &Path<'_>,
        known: &'static [&'static str; N],
        unknown: Unknown,
        mut each: impl FnMut(&mut Self, &'static str, &Path<'_>, Value<'j>) -> Scan,
    ) -> Scan<Seen<N>> {
        let mut seen = Seen {
            known,
            seen: [false; N],
        };
        let strangers = self.keys.open();
        while let Some(key) = self.scan.next_member()? {
            let Some(place) = known.iter().position(|name| key.is(name)) else {
                self.keys.add(key)?;
                self.skip()?;
                if let Unknown::Refuse = unknown {
                    self.refuse(|| errors::unknown(&path.key(&errors::shown(key))));
                }
                continue;
            };
            let path = path.key(known[place]);
            if std::mem::replace(&mut seen.seen[place], true) {
                // No fault outranks this one, and what repeated values leave behind would add up.
                self.duplicate(&path);
                self.skip()?;
                continue;
            }
            let value = self.scan.value()?;
            each(self, known[place], &path, value)?;
        }
        self.close(path, strangers);
        Ok(seen)
    }

    /// Refuses an object that has ended if one of the keys that were kept since `mark` was there
    /// twice.
    pub(super) fn close(&mut self, path: &Path<'_>, mark: Mark) {
        if let Some(key) = self.keys.close(mark) {
            self.duplicate(&path.key(&errors::shown(key)));
        }
    }

    /// Leaves a member unread until it is known what it has to be, see [`catch_up`].
    ///
    /// [`catch_up`]: Self::catch_up
    pub(super) fn put_off(&mut self, name: &'static str, value: Value<'j>) -> Scan {
        let scan = self.scan;
        self.put_off.push(PutOff { name, value, scan });
        self.finish(value)
    }

    /// Reads what has been put off since there were `mark` of them; `each` must read the value.
    pub(super) fn catch_up(
        &mut self,
        mark: usize,
        mut each: impl FnMut(&mut Self, &'static str, Value<'j>) -> Scan,
    ) -> Scan {
        let here = self.scan;
        let mut at = mark;
        while let Some(PutOff { name, value, scan }) = self.put_off.get(at).copied() {
            self.scan = scan;
            each(self, name, value)?;
            at += 1;
        }
        self.scan = here;
        self.put_off.truncate(mark);
        Ok(())
    }

    /// Refuses the object that was read if it lacks a member.
    pub(super) fn require<const N: usize>(
        &mut self,
        path: &Path<'_>,
        seen: &Seen<N>,
        name: &'static str,
    ) {
        if !seen.has(name) {
            self.refuse(|| errors::missing(&path.key(name)));
        }
    }

    /// Notes that a value has the wrong type, and reads it to its end.
    pub(super) fn wrong_type(&mut self, path: &Path<'_>, expected: &str, value: Value<'j>) -> Scan {
        self.refuse(|| errors::wrong_type(path, expected, &value));
        self.finish(value)
    }

    /// Whether the value is an object, whose members are then still to be read.
    pub(super) fn object(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan<bool> {
        if let Value::Object = value {
            return Ok(true);
        }
        self.wrong_type(path, "an object", value)?;
        Ok(false)
    }

    /// Whether an optional value is there and an object, whose members are then still to be read.
    pub(super) fn optional_object(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan<bool> {
        match value {
            Value::Null => Ok(false),
            _ => self.object(path, value),
        }
    }

    pub(super) fn string(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan<Option<Text<'j>>> {
        if let Value::String(text) = value {
            return Ok(Some(text));
        }
        self.wrong_type(path, "a string", value)?;
        Ok(None)
    }

    pub(super) fn optional_string(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
    ) -> Scan<Option<Text<'j>>> {
        match value {
            Value::Null => Ok(None),
            _ => self.string(path, value),
        }
    }

    pub(super) fn text(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
        max: usize,
    ) -> Scan<Option<Text<'j>>> {
        let text = self.string(path, value)?;
        if let Some(text) = text.filter(|text| text.is_longer_than(max)) {
            self.refuse(|| errors::string_too_long(path, max, text.len_chars()));
        }
        Ok(text)
    }

    /// The name of a function or schema.
    pub(super) fn name(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan<Option<Text<'j>>> {
        let name = self.text(path, value, MAX_NAME_CHARS)?;
        if let Some(name) = name {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() {
                self.refuse(|| errors::empty_string(path));
            } else if !name.is_longer_than(MAX_NAME_CHARS) && !name.chars().all(legal) {
                self.refuse(|| errors::pattern(path, NAME_PATTERN));
            }
        }
        Ok(name)
    }

    pub(super) fn boolean(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        match value {
            Value::Bool(_) => Ok(()),
            _ => self.wrong_type(path, "a boolean", value),
        }
    }

    pub(super) fn optional_boolean(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        match value {
            Value::Null => Ok(()),
            _ => self.boolean(path, value),
        }
    }

    pub(super) fn integer(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
        min: i64,
        max: i64,
    ) -> Scan {
        let Value::Number(number) = value else {
            return self.wrong_type(path, "an integer", value);
        };
        match number.as_integer() {
            None => self.wrong_type(path, "an integer", value)?,
            Some(integer) if integer < i128::from(min) => {
                self.refuse(|| errors::integer_out_of_range(path, Bound::Min(min), number));
            }
            Some(integer) if integer > i128::from(max) => {
                self.refuse(|| errors::integer_out_of_range(path, Bound::Max(max), number));
            }
            Some(_) => {}
        }
        Ok(())
    }

    pub(super) fn decimal(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
        min: f64,
        max: f64,
    ) -> Scan {
        match value {
            Value::Number(number) => self.decimal_range(path, number, min, max),
            _ => return self.wrong_type(path, "a decimal", value),
        }
        Ok(())
    }

    fn decimal_range(&mut self, path: &Path<'_>, number: Number<'j>, min: f64, max: f64) {
        let decimal = number.as_f64();
        if decimal < min {
            self.refuse(|| errors::decimal_out_of_range(path, Bound::Min(min), number));
        } else if decimal > max {
            self.refuse(|| errors::decimal_out_of_range(path, Bound::Max(max), number));
        }
    }

    /// One of several words.
    pub(super) fn choice(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
        supported: &'static [&'static str],
    ) -> Scan<Option<&'static str>> {
        let Value::String(text) = value else {
            self.refuse(|| {
                let expected = match supported {
                    [_] => errors::listed(supported, "or"),
                    _ => format!("one of {}", errors::listed(supported, "or")),
                };
                errors::wrong_type(path, expected, &value)
            });
            self.finish(value)?;
            return Ok(None);
        };
        let word = supported.iter().find(|word| text.is(word)).copied();
        if word.is_none() {
            self.refuse(|| errors::not_one_of(path, &errors::shown(text), supported));
        }
        Ok(word)
    }

    pub(super) fn choices(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
        supported: &'static [&'static str],
    ) -> Scan {
        let Value::Array = value else {
            return self.wrong_type(path, "an array of strings", value);
        };
        let mut index = 0;
        while self.scan.next_item()? {
            let value = self.scan.value()?;
            if let Some("audio") = self.choice(&path.index(index), value, supported)? {
                self.found.audio_wanted = true;
            }
            index += 1;
        }
        Ok(())
    }

    /// A string, or an array of strings.
    pub(super) fn texts(&mut self, path: &Path<'_>, value: Value<'j>, max: usize) -> Scan {
        match value {
            Value::String(_) => return Ok(()),
            Value::Array => {}
            _ => return self.wrong_type(path, "one of a string or array of strings", value),
        }
        let mut length = 0;
        while self.scan.next_item()? {
            let value = self.scan.value()?;
            self.string(&path.index(length), value)?;
            length += 1;
        }
        self.array_length(path, length, max);
        Ok(())
    }

    /// Refuses an array of no or of too many items.
    pub(super) fn array_length(&mut self, path: &Path<'_>, length: usize, max: usize) {
        let rank = super::Rank {
            item: 0,
            ..self.rank
        };
        if length == 0 {
            self.refuse_as(rank, || errors::empty_array(path));
        } else if length > max {
            self.refuse_as(rank, || errors::array_too_long(path, max, length));
        }
    }
}

/// A member whose value has not been read yet, and the scanner at its value.
#[derive(Clone, Copy)]
pub(super) struct PutOff<'j> {
    name: &'static str,
    value: Value<'j>,
    scan: Scanner<'j>,
}

/// What becomes of members that are not known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unknown {
    Pass,
    Refuse,
}

/// Which of an object's known members were there, null or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<const N: usize> {
    known: &'static [&'static str; N],
    seen: [bool; N],
}

impl<const N: usize> Seen<N> {
    pub(super) fn has(&self, name: &str) -> bool {
        let mut members = self.known.iter().zip(self.seen);
        members.any(|(known, seen)| seen && *known == name)
    }
}
