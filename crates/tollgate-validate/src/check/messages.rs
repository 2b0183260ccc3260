//! `messages`: who may say what.

use tollgate_core::InputKind;

use super::{Check, Scan, Stage, facts::Piece, leaves::Unknown, parts::PartKinds, role::Role};
use crate::{
    errors,
    json::{Text, Value},
    path::Path,
};

/// What a message's author may be called by the newest models; older ones are stricter.
const AUTHOR_PATTERN: &str = r"^[^\s<|\\/>]+$";

impl<'j> Check<'j, '_> {
    pub(super) fn messages(&mut self, path: &Path<'_>, value: Value<'j>, max: usize) -> Scan {
        match value {
            Value::Array => {}
            Value::Null => {
                self.refuse_as(Stage::MessagesPresent.rank(0), || {
                    errors::wrong_type(path, "an array of objects", &value)
                });
                return Ok(());
            }
            _ => return self.wrong_type(path, "an array of objects", value),
        }
        let mut length = 0;
        while self.scan.next_item()? {
            let value = self.scan.value()?;
            let path = path.index(length);
            length += 1;
            self.rank.item = length;
            if length > max {
                self.finish(value)?;
            } else if self.object(&path, value)? {
                self.message(&path, length - 1)?;
            }
        }
        self.end_of_dialogue();
        self.array_length(path, length, max);
        Ok(())
    }

    fn message(&mut self, path: &Path<'_>, index: usize) -> Scan {
        let first_piece = self.found.pieces.len();
        let mark = self.put_off.len();
        let mut message = Message::default();
        let seen = self.members(
            path,
            &[
                "role",
                "content",
                "name",
                "tool_calls",
                "tool_call_id",
                "function_call",
                "refusal",
                "audio",
            ],
            Unknown::Pass,
            |check, name, path, value| match name {
                "role" => {
                    if let Value::String(role) = value {
                        message.role_text = Some(role);
                    }
                    message.role = check.choice(path, value, Role::NAMES)?.map(Role::named);
                    Ok(())
                }
                "content" => {
                    message.content = check.content(path, value, &mut message.parts)?;
                    Ok(())
                }
                _ if message.role.is_none() => check.put_off(name, value),
                _ => check.role_member(path, name, value, &mut message),
            },
        )?;
        self.require(path, &seen, "role");
        self.catch_up(mark, |check, name, value| {
            check.role_member(&path.key(name), name, value, &mut message)
        })?;
        if let Some(role) = message.role {
            self.role_and_content(path, role, &message);
        }
        if message.role == Some(Role::Function) && message.name.is_none() {
            self.refuse(|| errors::missing(&path.key("name")));
        }
        self.found.message(first_piece, message.role_text);
        self.turn(path, index, message.role, message.tool_call_id);
        Ok(())
    }

    /// A member that only some roles have; the others' are as good as unknown.
    fn role_member(
        &mut self,
        path: &Path<'_>,
        name: &str,
        value: Value<'j>,
        message: &mut Message<'j>,
    ) -> Scan {
        match (message.role, name) {
            (Some(Role::Tool), "tool_call_id") => {
                message.tool_call_id = self.optional_string(path, value)?;
            }
            (Some(Role::Tool), "name") => match value {
                // It is no member of this role's, but counted like the others'.
                Value::String(name) => self.found.pieces.push(Piece::of(InputKind::Name, name)),
                _ => self.finish(value)?,
            },
            (Some(_), "name") => message.name = self.author(path, value)?,
            (Some(Role::Assistant), "tool_calls") => self.tool_calls(path, value)?,
            (Some(Role::Assistant), "function_call") => {
                if self.optional_object(path, value)? {
                    self.called_function(path)?;
                }
            }
            (Some(Role::Assistant), "refusal") => {
                let refusal = self.optional_string(path, value)?;
                let piece = refusal.map(|text| Piece::of(InputKind::Content, text));
                self.found.pieces.extend(piece);
            }
            (Some(Role::Assistant), "audio") => {
                if self.optional_object(path, value)? {
                    let seen =
                        self.members(path, &["id"], Unknown::Pass, |check, _, path, value| {
                            check.string(path, value).map(|_| ())
                        })?;
                    self.require(path, &seen, "id");
                    self.found.opaque_parts += 1;
                }
            }
            _ => self.finish(value)?,
        }
        Ok(())
    }

    fn content(
        &mut self,
        path: &Path<'_>,
        value: Value<'j>,
        parts: &mut PartKinds,
    ) -> Scan<Content> {
        match value {
            Value::Null => return Ok(Content::Null),
            Value::String(text) => {
                self.found.pieces.push(Piece::of(InputKind::Content, text));
            }
            Value::Array => {
                let count = self.parts(path, parts)?;
                return Ok(Content::Parts { count });
            }
            _ => self.wrong_type(path, "one of a string or array of objects", value)?,
        }
        Ok(Content::Other)
    }

    /// Content is read before its role is known, as some callers write it first.
    fn role_and_content(&mut self, message: &Path<'_>, role: Role, said: &Message<'_>) {
        let path = message.key("content");
        let refused = match (role, &said.content) {
            (Role::Assistant, Content::Absent) => None,
            (_, Content::Absent) => Some(errors::missing(&path)),
            // Whether null will do for the other roles depends on the model.
            (Role::Tool, Content::Null) => Some(errors::wrong_type(
                &path,
                "one of a string or array of objects",
                &Value::Null,
            )),
            (Role::Function, Content::Parts { .. }) => {
                Some(errors::wrong_type(&path, "a string", &Value::Array))
            }
            (_, Content::Parts { count: 0 }) => Some(errors::empty_array(&path)),
            _ => None,
        };
        if let Some(rejection) = refused {
            self.refuse(|| rejection);
        } else if let Content::Parts { .. } = said.content {
            self.role_and_parts(message, role, &said.parts);
        }
    }

    /// The name of a message's author.
    fn author(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan<Option<Text<'j>>> {
        let name = self.optional_string(path, value)?;
        if let Some(name) = name {
            let forbidden =
                |c: char| c.is_whitespace() || matches!(c, '<' | '|' | '\\' | '/' | '>');
            if name.is_empty() {
                self.refuse(|| errors::empty_string(path));
            } else if name.chars().any(forbidden) {
                self.refuse(|| errors::pattern(path, AUTHOR_PATTERN));
            }
            self.found.pieces.push(Piece::of(InputKind::Name, name));
        }
        Ok(name)
    }
}

/// What is known of the message that is being read.
#[derive(Debug, Default)]
struct Message<'j> {
    role: Option<Role>,
    role_text: Option<Text<'j>>,
    content: Content,
    parts: PartKinds,
    name: Option<Text<'j>>,
    tool_call_id: Option<Text<'j>>,
}

#[derive(Debug, Default)]
enum Content {
    #[default]
    Absent,
    Null,
    Parts {
        count: usize,
    },
    /// A string, or something that has been refused.
    Other,
}
