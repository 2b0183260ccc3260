//! Tools and functions: their definitions, and the choice between them.

use tollgate_core::InputKind;

use super::{Check, Scan, facts::Piece, leaves::Unknown};
use crate::{
    errors,
    json::{Text, Value},
    path::Path,
};

const MAX_DESCRIPTION_CHARS: usize = 1_024;

impl<'j> Check<'j, '_> {
    pub(super) fn tools(&mut self, path: &Path<'_>, value: Value<'j>, max: usize) -> Scan {
        self.definitions(path, value, max, Self::tool)?;
        self.found.tools.is_made = true;
        Ok(())
    }

    pub(super) fn functions(&mut self, path: &Path<'_>, value: Value<'j>, max: usize) -> Scan {
        self.definitions(path, value, max, |check, path| {
            let name = check.function(path)?;
            check.found.functions.names.extend(name);
            Ok(())
        })?;
        self.found.functions.is_made = true;
        Ok(())
    }

    /// An array of objects, of which each is counted as a schema.
    fn definitions(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
        max: usize,
        mut each: impl FnMut(&mut Self, &Path<'_>) -> Scan,
    ) -> Scan {
        let Value::Array = value else {
            return self.wrong_type(path, "an array of objects", value);
        };
        let mut length = 0;
        while self.scan.next_item()? {
            let start = self.scan.value_start();
            let value = self.scan.value()?;
            self.rank.item = length + 1;
            if length >= max {
                self.finish(value)?;
            } else if self.object(&path.index(length), value)? {
                each(self, &path.index(length))?;
                let end = self.scan.position();
                let piece = Piece::json(InputKind::Schema, start..end);
                self.found.pieces.push(piece);
            }
            length += 1;
        }
        self.array_length(path, length, max);
        Ok(())
    }

    fn tool(&mut self, path: &Path<'_>) -> Scan {
        let mut is_function = false;
        let seen = self.members(
            path,
            &["type", "function"],
            Unknown::Pass,
            |check, name, path, value| {
                match (name, value) {
                    ("type", _) => {
                        is_function = check.choice(path, value, &["function"])?.is_some();
                    }
                    (_, Value::Object) => {
                        let name = check.function(path)?;
                        check.found.tools.names.extend(name);
                    }
                    _ => check.wrong_type(path, "a function definition", value)?,
                }
                Ok(())
            },
        )?;
        self.require(path, &seen, "type");
        if is_function {
            self.require(path, &seen, "function");
        }
        Ok(())
    }

    /// A function definition whose object has just been opened; says its name.
    fn function(&mut self, path: &Path<'_>) -> Scan<Option<Text<'j>>> {
        let mut called = None;
        let seen = self.members(
            path,
            &["name", "description", "parameters", "strict"],
            Unknown::Pass,
            |check, name, path, value| {
                match (name, value) {
                    ("name", _) => called = check.name(path, value)?,
                    ("description", Value::Null) => {}
                    ("description", _) => {
                        check.text(path, value, MAX_DESCRIPTION_CHARS)?;
                    }
                    ("parameters", _) => check.opaque_object(path, value)?,
                    _ => check.optional_boolean(path, value)?,
                }
                Ok(())
            },
        )?;
        self.require(path, &seen, "name");
        Ok(called)
    }

    pub(super) fn tool_choice(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        self.found.tools.has_choice = true;
        match value {
            Value::String(_) => self
                .choice(path, value, &["none", "auto", "required"])
                .map(|_| ()),
            Value::Object => self.chosen_tool(path),
            _ => self.wrong_type(path, "one of a string or an object", value),
        }
    }

    fn chosen_tool(&mut self, path: &Path<'_>) -> Scan {
        const TYPES: &[&str] = &["function", "allowed_tools", "custom"];
        let mut chosen = None;
        let mut function = None;
        let seen = self.members(
            path,
            &["type", "function", "allowed_tools", "custom"],
            Unknown::Pass,
            |check, name, path, value| {
                match name {
                    "type" => chosen = check.choice(path, value, TYPES)?,
                    "function" if check.object(path, value)? => {
                        let seen = check.members(
                            path,
                            &["name"],
                            Unknown::Pass,
                            |check, _, path, value| {
                                function = check.name(path, value)?;
                                Ok(())
                            },
                        )?;
                        check.require(path, &seen, "name");
                    }
                    "function" => {}
                    _ => check.opaque_object(path, value)?,
                }
                Ok(())
            },
        )?;
        self.require(path, &seen, "type");
        if let Some(chosen) = chosen {
            self.require(path, &seen, chosen);
        }
        if chosen == Some("function") {
            self.found.tools.chosen = function;
        }
        Ok(())
    }

    pub(super) fn function_call(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        self.found.functions.has_choice = true;
        match value {
            Value::String(_) => self.choice(path, value, &["none", "auto"]).map(|_| ()),
            Value::Object => {
                let seen =
                    self.members(path, &["name"], Unknown::Pass, |check, _, path, value| {
                        check.found.functions.chosen = check.name(path, value)?;
                        Ok(())
                    })?;
                self.require(path, &seen, "name");
                Ok(())
            }
            _ => self.wrong_type(path, "one of a string or an object", value),
        }
    }

    /// `tool_calls` of an assistant's message.
    pub(super) fn tool_calls(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        const MAX_CALLS: usize = 128;
        match value {
            Value::Null => return Ok(()),
            Value::Array => {}
            _ => return self.wrong_type(path, "an array of objects", value),
        }
        let mut length = 0;
        while self.scan.next_item()? {
            let path = path.index(length);
            let value = self.scan.value()?;
            if length >= MAX_CALLS {
                self.finish(value)?;
            } else if self.object(&path, value)? {
                self.tool_call(&path)?;
            }
            length += 1;
        }
        // Whether an empty array is legal is disputed: that is left to the upstream.
        if length > MAX_CALLS {
            self.refuse(|| errors::array_too_long(path, MAX_CALLS, length));
        }
        Ok(())
    }

    fn tool_call(&mut self, path: &Path<'_>) -> Scan {
        let mut is_function = false;
        let seen = self.members(
            path,
            &["id", "type", "function"],
            Unknown::Pass,
            |check, name, path, value| {
                match name {
                    "id" => {
                        if let Some(id) = check.string(path, value)? {
                            check.dialogue.calls(id);
                        }
                    }
                    "type" => is_function = check.choice(path, value, &["function"])?.is_some(),
                    _ if check.object(path, value)? => check.called_function(path)?,
                    _ => {}
                }
                Ok(())
            },
        )?;
        self.require(path, &seen, "id");
        self.require(path, &seen, "type");
        if is_function {
            self.require(path, &seen, "function");
        }
        Ok(())
    }

    /// The name and arguments of a call, whose object has just been opened.
    pub(super) fn called_function(&mut self, path: &Path<'_>) -> Scan {
        let seen = self.members(
            path,
            &["name", "arguments"],
            Unknown::Pass,
            |check, name, path, value| {
                let text = match name {
                    "name" => check.name(path, value)?,
                    _ => check.string(path, value)?,
                };
                let piece = text.map(|text| Piece::of(InputKind::ToolCall, text));
                check.found.pieces.extend(piece);
                Ok(())
            },
        )?;
        self.require(path, &seen, "name");
        self.require(path, &seen, "arguments");
        Ok(())
    }
}
