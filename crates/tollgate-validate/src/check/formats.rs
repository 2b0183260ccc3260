//! Parameters that are objects: response formats, predictions, metadata and the like.

use super::{
    Check, Scan,
    facts::{Piece, ResponseFormat},
    leaves::Unknown,
};
use crate::{errors, json::Value, path::Path};

const MAX_METADATA: usize = 16;
const MAX_METADATA_KEY: usize = 64;
const MAX_METADATA_VALUE: usize = 512;

impl<'j> Check<'j, '_> {
    pub(super) fn response_format(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let mut format = None;
        let mut has_schema = false;
        let seen = self.members(
            path,
            &["type", "json_schema"],
            Unknown::Refuse,
            |check, name, path, value| {
                match name {
                    "type" => format = check.choice(path, value, ResponseFormat::TYPES)?,
                    _ => {
                        has_schema = !matches!(value, Value::Null);
                        check.json_schema(path, value)?;
                    }
                }
                Ok(())
            },
        )?;
        self.require(path, &seen, "type");
        self.found.response_format = ResponseFormat::named(format);
        if format == Some("json_schema") && !has_schema {
            self.refuse(|| errors::missing(&path.key("json_schema")));
        }
        Ok(())
    }

    fn json_schema(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.optional_object(path, value)? {
            return Ok(());
        }
        let seen = self.members(
            path,
            &["name", "description", "schema", "strict"],
            Unknown::Pass,
            |check, name, path, value| match name {
                "name" => check.name(path, value).map(|_| ()),
                "description" => check.optional_string(path, value).map(|_| ()),
                "schema" => check.opaque_object(path, value),
                _ => check.optional_boolean(path, value),
            },
        )?;
        self.require(path, &seen, "name");
        Ok(())
    }

    /// An optional object whose inside is the upstream's business.
    pub(super) fn opaque_object(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if self.optional_object(path, value)? {
            self.finish(value)?;
        }
        Ok(())
    }

    pub(super) fn prediction(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let seen = self.members(
            path,
            &["type", "content"],
            Unknown::Pass,
            |check, name, path, value| match name {
                "type" => check.choice(path, value, &["content"]).map(|_| ()),
                _ => check.predicted(path, value),
            },
        )?;
        self.require(path, &seen, "type");
        self.require(path, &seen, "content");
        Ok(())
    }

    fn predicted(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        match value {
            Value::String(text) => self.found.pieces.push(Piece::prediction(text)),
            Value::Array => {
                let mut length = 0;
                while self.scan.next_item()? {
                    let path = path.index(length);
                    let value = self.scan.value()?;
                    if self.object(&path, value)? {
                        self.predicted_part(&path)?;
                    }
                    length += 1;
                }
                self.array_length(path, length, usize::MAX);
            }
            _ => return self.wrong_type(path, "one of a string or array of objects", value),
        }
        Ok(())
    }

    fn predicted_part(&mut self, path: &Path<'_>) -> Scan {
        let seen = self.members(
            path,
            &["type", "text"],
            Unknown::Pass,
            |check, name, path, value| match name {
                "type" => check.choice(path, value, &["text"]).map(|_| ()),
                _ => {
                    let text = check.string(path, value)?;
                    check.found.pieces.extend(text.map(Piece::prediction));
                    Ok(())
                }
            },
        )?;
        self.require(path, &seen, "type");
        self.require(path, &seen, "text");
        Ok(())
    }

    /// How an answer in audio is to sound.
    pub(super) fn audio(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let seen = self.members(
            path,
            &["voice", "format"],
            Unknown::Pass,
            |check, name, path, value| match (name, value) {
                // A voice of one's own is an object.
                ("voice", Value::Object) => check.finish(value),
                _ => check.string(path, value).map(|_| ()),
            },
        )?;
        self.require(path, &seen, "voice");
        self.require(path, &seen, "format");
        Ok(())
    }

    pub(super) fn stream_options(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        self.found.stream_options = true;
        self.members(
            path,
            &["include_usage", "include_obfuscation"],
            Unknown::Refuse,
            |check, name, path, value| {
                if name == "include_usage" {
                    check.found.usage_wanted = matches!(value, Value::Bool(true));
                }
                check.optional_boolean(path, value)
            },
        )?;
        Ok(())
    }

    pub(super) fn metadata(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let keys = self.keys.open();
        let mut count = 0;
        while let Some(key) = self.scan.next_member()? {
            let value = self.scan.value()?;
            if count >= MAX_METADATA {
                count += 1;
                self.finish(value)?;
                continue;
            }
            self.keys.add(key)?;
            count += 1;
            self.rank.item = count;
            if key.is_longer_than(MAX_METADATA_KEY) {
                let length = key.len_chars();
                self.refuse(|| errors::property_name_too_long(path, key, MAX_METADATA_KEY, length));
            }
            let name = errors::shown(key);
            self.text(&path.key(&name), value, MAX_METADATA_VALUE)?;
        }
        self.rank.item = 0;
        self.close(path, keys);
        if count > MAX_METADATA {
            self.refuse(|| errors::too_many_properties(path, MAX_METADATA, count));
        }
        Ok(())
    }

    pub(super) fn logit_bias(&mut self, path: &Path<'_>, value: Value<'j>, max: usize) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let mut count = 0;
        let mut tokens = Vec::new();
        while let Some(key) = self.scan.next_member()? {
            count += 1;
            self.rank.item = count;
            let value = self.scan.value()?;
            if count > max {
                self.finish(value)?;
                continue;
            }
            tokens.extend(self.found.bias.note(key));
            // The bias itself stands in most requests that have any: its path is only made for a
            // fault.
            match value {
                Value::Number(number) if (-100.0..=100.0).contains(&number.as_f64()) => {}
                _ => {
                    let name = errors::shown(key);
                    self.decimal(&path.key(&name), value, -100.0, 100.0)?;
                }
            }
        }
        self.rank.item = 0;
        if count > max {
            self.refuse(|| errors::too_many_properties(path, max, count));
        }
        tokens.sort_unstable();
        if let Some(twins) = tokens.windows(2).find(|pair| pair[0] == pair[1]) {
            self.duplicate(&path.key(&twins[0].to_string()));
        }
        Ok(())
    }

    pub(super) fn top_logprobs(&mut self, path: &Path<'_>, value: Value<'j>, max: u32) -> Scan {
        let asked = match value {
            Value::Number(number) => number.as_integer(),
            _ => None,
        };
        self.found.top_logprobs = asked.map(|asked| (asked, max));
        match asked {
            // Too many break a rule that is none of the schema's.
            Some(asked) if asked > i128::from(max) => Ok(()),
            _ => self.integer(path, value, 0, i64::MAX),
        }
    }
}
