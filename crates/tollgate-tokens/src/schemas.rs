//! What tools, functions and response formats add to a prompt.
//!
//! How they are rendered for the model is not published. Two formulas are known to come close: the
//! one of the OpenAI cookbook for `tools`, and a rendering as TypeScript for `functions` that
//! agrees with what the API has been seen to charge.

use serde_json::Value;
use tollgate_core::{InputKind, TokenBounds, TokenInput, TokenInputs};

use crate::{Encoding, functions, tools};

/// Whether a text of the prompt is such JSON, or the choice between some.
pub(crate) fn is_schema(input: &TokenInput) -> bool {
    matches!(input.kind, InputKind::Schema | InputKind::ToolChoice)
}

/// Bounds of all schemas and choices of a prompt by their bytes alone. No rendering of JSON is
/// known to have more than two tokens for a byte of it, and its framing is small.
pub(crate) fn byte_bounds(inputs: &TokenInputs) -> TokenBounds {
    let schemas = inputs.texts().iter().filter(|input| is_schema(input));
    let each = schemas.map(|input| {
        let bytes = input.text.len() as u64;
        let (estimate, upper) = match input.kind {
            InputKind::ToolChoice => (1 + bytes / 8, 8 + bytes),
            _ => (12 + bytes / 5, bytes.saturating_mul(2).saturating_add(64)),
        };
        TokenBounds::new(0, estimate, upper)
    });
    each.sum()
}

/// The same, with the published formulas' estimate if they are JSON and have at most `cap` bytes.
/// `count` meets a few times as many bytes, because rendering may make several of one.
pub(crate) fn bounds(
    inputs: &TokenInputs,
    encoding: Encoding,
    cap: usize,
    count: &dyn Fn(&str) -> u64,
) -> TokenBounds {
    let rough = byte_bounds(inputs);
    let schemas = inputs.texts().iter().filter(|input| is_schema(input));
    let bytes: usize = schemas.map(|input| input.text.len()).sum();
    if bytes == 0 || bytes > cap {
        return rough;
    }
    match estimate(inputs, encoding, count) {
        Some(tokens) => TokenBounds::new(rough.lower, tokens, rough.upper.max(tokens)),
        None => rough,
    }
}

/// The estimate of all schemas of a prompt together; `None` if one of them is not JSON.
fn estimate(inputs: &TokenInputs, encoding: Encoding, count: &dyn Fn(&str) -> u64) -> Option<u64> {
    let mut schemas = Schemas::default();
    for input in inputs.texts() {
        match input.kind {
            InputKind::Schema => schemas.add(serde_json::from_slice(&input.text).ok()?),
            InputKind::ToolChoice => {
                schemas.choice = serde_json::from_slice(&input.text).ok()?;
            }
            _ => {}
        }
    }
    let mut total = 0;
    if !schemas.tools.is_empty() {
        total += tools::tokens(&schemas.tools, encoding, count);
    }
    if !schemas.functions.is_empty() {
        total += functions::tokens(&schemas.functions, inputs, count);
        total += functions::choice_tokens(&schemas.choice, count);
    }
    let formats = schemas.formats.iter().map(|json| count(&json.to_string()));
    Some(total + formats.sum::<u64>())
}

#[derive(Default)]
struct Schemas {
    /// The `function` members of `tools`.
    tools: Vec<Value>,
    /// The members of `functions`.
    functions: Vec<Value>,
    /// Response formats that the model sees, and whatever is new.
    formats: Vec<Value>,
    choice: Value,
}

impl Schemas {
    /// Sorts a schema, or each of an array of them, by its looks.
    fn add(&mut self, schema: Value) {
        match schema {
            Value::Array(schemas) => schemas.into_iter().for_each(|schema| self.add_one(schema)),
            schema => self.add_one(schema),
        }
    }

    fn add_one(&mut self, mut schema: Value) {
        if let Some(function) = schema.get_mut("function").filter(|f| f.is_object()) {
            self.tools.push(function.take());
        } else if let Some(format) = schema.get_mut("json_schema") {
            self.formats.push(format.take());
        } else if schema.get("type").is_none() {
            self.functions.push(schema);
        } else if schema.as_object().is_some_and(|members| members.len() > 1) {
            // `{"type":"text"}` and `{"type":"json_object"}` are not rendered.
            self.formats.push(schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::ChatRequest;

    use super::*;

    fn estimated(schemas: &[&'static str], choice: &'static str) -> Option<u64> {
        let mut request = ChatRequest::builder("m");
        for schema in schemas {
            request = request.text(InputKind::Schema, *schema, false);
        }
        let request = request.text(InputKind::ToolChoice, choice, false).build();
        let bytes = |text: &str| text.len() as u64;
        estimate(request.inputs(), Encoding::O200kBase, &bytes)
    }

    const TOOL: &str = r#"{"type":"function","function":{"name":"now"}}"#;
    const FUNCTION: &str = r#"{"name":"now"}"#;

    #[test]
    fn schemas_are_known_by_their_looks() {
        let tool = estimated(&[TOOL], "null").unwrap();
        assert_eq!(tool, 12 + 7 + 4);
        let function = estimated(&[FUNCTION], "null").unwrap();
        assert_eq!(
            function,
            9 + "namespace functions {\n\ntype now = () => any;\n\n} // namespace functions".len()
                as u64
        );
        assert_eq!(estimated(&[TOOL, FUNCTION], "null"), Some(tool + function));
        for plain in [r#"{"type":"text"}"#, r#"{"type":"json_object"}"#, "[]"] {
            assert_eq!(estimated(&[plain], "null"), Some(0));
        }
        let format = r#"{"type":"json_schema","json_schema":{"schema":{}}}"#;
        assert_eq!(estimated(&[format], "null"), Some(13));
    }

    #[test]
    fn an_array_is_as_good_as_its_elements() {
        for (one, array) in [
            (TOOL, r#"[{"type":"function","function":{"name":"now"}}]"#),
            (FUNCTION, r#"[{"name":"now"}]"#),
        ] {
            assert_eq!(estimated(&[one], "null"), estimated(&[array], "null"));
        }
    }

    #[test]
    fn only_functions_pay_for_a_choice() {
        let function = estimated(&[FUNCTION], "null").unwrap();
        assert_eq!(estimated(&[FUNCTION], r#""auto""#), Some(function));
        assert_eq!(estimated(&[FUNCTION], r#""none""#), Some(function + 1));
        assert_eq!(estimated(&[FUNCTION], FUNCTION), Some(function + 4 + 3));
        assert_eq!(estimated(&[TOOL], r#""none""#), estimated(&[TOOL], "null"));
    }

    #[test]
    fn nonsense_is_not_estimated() {
        assert_eq!(estimated(&["{"], "null"), None);
        assert_eq!(estimated(&[FUNCTION], "nul"), None);
    }
}
