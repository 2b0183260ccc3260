//! The members of the body, and what becomes of each by the policy's table.

use std::borrow::Cow;

use tollgate_core::{InputKind, Member, Rejection};

use super::{
    Check, Scan, Stage,
    facts::{Piece, ResponseFormat},
};
use crate::{
    errors,
    json::{Text, Value},
    path::Path,
    table::{Kind, Param, Plain, Verdict},
};

impl<'j, 'p> Check<'j, 'p> {
    /// The body as a whole.
    pub(super) fn root(&mut self) -> Scan {
        let root = self.scan.value()?;
        if !matches!(root, Value::Object) {
            self.finish(root)?;
            self.scan.end()?;
            self.refuse_as(Stage::Duplicate.rank(0), errors::not_json);
            return Ok(());
        }
        let mut seen = vec![false; self.policy.params().len()];
        let strangers = self.keys.open();
        while let Some(key) = self.scan.next_member()? {
            let value_at = self.scan.value_start();
            let name = match self.policy.find(key) {
                Some(place) => {
                    if std::mem::replace(&mut seen[place], true) {
                        self.duplicate(&Path::root(&key.unescaped()));
                        self.skip()?;
                        continue;
                    }
                    self.param(place, value_at)?;
                    Some(self.policy.params()[place].name.clone())
                }
                None => self.unknown(key)?,
            };
            if let Some(name) = name {
                let value = value_at..self.scan.position();
                let quote_at = key.range().start.saturating_sub(1);
                self.members.push(Member::new(name, quote_at, value));
            }
        }
        self.scan.end()?;
        if let Some(key) = self.keys.close(strangers) {
            self.duplicate(&Path::root(&errors::shown(key)));
        }
        for (param, seen) in self.policy.params().iter().zip(seen) {
            match param.kind {
                Kind::Model if !seen => self.refuse_as(Stage::Model.rank(0), errors::no_model),
                Kind::Messages { .. } if !seen => {
                    let path = Path::root(&param.name);
                    self.refuse_as(Stage::MessagesPresent.rank(0), || errors::missing(&path));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The user's rules, which may rely on what has been checked before.
    pub(super) fn value_rules(&mut self) -> Result<(), Rejection> {
        self.ruled.sort_unstable_by_key(|(place, _)| *place);
        for (place, range) in &self.ruled {
            let text = self.json.get(range.clone()).unwrap_or_default();
            for rule in &self.policy.params()[*place].rules {
                rule(text)?;
            }
        }
        Ok(())
    }

    /// The name of an unknown member, if it is passed on.
    fn unknown(&mut self, key: Text<'j>) -> Scan<Option<Cow<'static, str>>> {
        self.skip()?;
        let passes = self.policy.allow_unknown && !self.policy.has_twin(&key.unescaped());
        if passes {
            self.keys.add(key)?;
            return Ok(Some(Cow::Owned(key.unescaped().into_owned())));
        }
        self.refuse_as(Stage::Unknown.rank(0), || {
            errors::unknown(&Path::root(&errors::shown(key)))
        });
        Ok(None)
    }

    fn param(&mut self, place: usize, value_at: usize) -> Scan {
        let policy = self.policy;
        let param = &policy.params()[place];
        self.rank = Stage::Schema.rank(place);
        let value = self.scan.value()?;
        let is_required = matches!(param.kind, Kind::Model | Kind::Messages { .. });
        if matches!(value, Value::Null) && !is_required {
            if param.verdict != Verdict::Accept {
                self.nulls.push(place);
            }
            return Ok(());
        }
        match param.verdict {
            Verdict::Accept => {}
            Verdict::Absorb => self.absorbed.push(place),
            Verdict::AbsorbOnly(harmless) if harmless.iter().any(|plain| plain.is(&value)) => {
                self.absorbed.push(place);
                return self.finish(value);
            }
            Verdict::AbsorbOnly(_) | Verdict::Refuse => {
                self.refuse_as(Stage::Policy.rank(place), || {
                    errors::unsupported(&param.name)
                });
                return self.finish(value);
            }
        }
        self.kind(param, value)?;
        self.found.learn(param, &value);
        let range = value_at..self.scan.position();
        let counted = match param.kind {
            Kind::FunctionCall | Kind::ToolChoice => Some(InputKind::ToolChoice),
            Kind::ResponseFormat
                if self.found.response_format == Some(ResponseFormat::JsonSchema) =>
            {
                Some(InputKind::Schema)
            }
            _ => None,
        };
        let piece = counted.map(|kind| Piece::json(kind, range.clone()));
        self.found.pieces.extend(piece);
        if !param.rules.is_empty() {
            self.ruled.push((place, range));
        }
        Ok(())
    }

    /// Checks a value, and reads it to its end.
    fn kind(&mut self, param: &'p Param, value: Value<'j>) -> Scan {
        let path = Path::root(&param.name);
        match param.kind {
            Kind::Any => self.finish(value),
            Kind::Audio => self.audio(&path, value),
            Kind::Boolean => self.boolean(&path, value),
            Kind::Choice(supported) => self.choice(&path, value, supported).map(|_| ()),
            Kind::Choices(supported) => self.choices(&path, value, supported),
            Kind::Decimal { min, max } => self.decimal(&path, value, min, max),
            Kind::FunctionCall => self.function_call(&path, value),
            Kind::Functions { max } => self.functions(&path, value, max),
            Kind::Integer { min, max } => self.integer(&path, value, min, max),
            Kind::LogitBias { max } => self.logit_bias(&path, value, max),
            Kind::Messages { max } => self.messages(&path, value, max),
            Kind::Metadata => self.metadata(&path, value),
            Kind::Model => self.model(&path, value),
            Kind::Object => self.opaque_object(&path, value),
            Kind::Prediction => self.prediction(&path, value),
            Kind::ResponseFormat => self.response_format(&path, value),
            Kind::StreamOptions => self.stream_options(&path, value),
            Kind::Text { max } => self.text(&path, value, max).map(|_| ()),
            Kind::Texts { max } => self.texts(&path, value, max),
            Kind::ToolChoice => self.tool_choice(&path, value),
            Kind::Tools { max } => self.tools(&path, value, max),
            Kind::TopLogprobs { max } => self.top_logprobs(&path, value, max),
        }
    }

    fn model(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        match value {
            Value::String(name) if !name.is_empty() => self.found.model = Some(name),
            Value::Null | Value::String(_) => {
                self.refuse_as(Stage::Model.rank(0), errors::no_model);
            }
            _ => self.refuse_as(Stage::Model.rank(0), || {
                errors::wrong_type(path, "a string", &value)
            }),
        }
        self.finish(value)
    }
}

impl Plain {
    fn is(self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Bool(plain), Value::Bool(value)) => plain == *value,
            (Self::Integer(plain), Value::Number(value)) => {
                value.as_integer() == Some(i128::from(plain))
            }
            (Self::Text(plain), Value::String(value)) => value.is(plain),
            _ => false,
        }
    }
}
