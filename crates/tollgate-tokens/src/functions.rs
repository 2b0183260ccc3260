//! The older `functions`, rendered as TypeScript in front of the prompt.

use std::fmt::Write;

use serde_json::{Map, Value};
use tollgate_core::{InputKind, TokenInput, TokenInputs};

use crate::text::plain;

/// The tokens of these functions, of which there is one at least.
pub(crate) fn tokens(
    functions: &[Value],
    inputs: &TokenInputs,
    count: &dyn Fn(&str) -> u64,
) -> u64 {
    let block = count(&render(functions)) + BLOCK;
    match end_of_system_text(inputs) {
        // The functions are appended to the system message, which ends in a line feed then.
        Some(end) => {
            let grown = count(&format!("{end}\n")).saturating_sub(count(&end));
            (block + grown).saturating_sub(SHARED_MESSAGE)
        }
        None => block,
    }
}

/// What `function_call` adds.
pub(crate) fn choice_tokens(choice: &Value, count: &dyn Fn(&str) -> u64) -> u64 {
    match choice {
        Value::String(none) if none == "none" => 1,
        Value::Object(forced) => forced
            .get("name")
            .and_then(Value::as_str)
            .map_or(0, |name| 4 + count(name)),
        _ => 0,
    }
}

const BLOCK: u64 = 9;
const SHARED_MESSAGE: u64 = 4;
const LONGEST_END: usize = 256;

/// What follows the last letter or digit of the first system message, if there is one: a line feed
/// behind it joins no token from before.
fn end_of_system_text(inputs: &TokenInputs) -> Option<String> {
    let texts = inputs.texts();
    let is_system = |input: &TokenInput| input.kind == InputKind::Role && input.text == "system";
    let at = texts.iter().position(is_system)?;
    let message = texts[at + 1..]
        .iter()
        .take_while(|input| input.kind != InputKind::Role);
    let Some(last) = message
        .filter(|input| input.kind == InputKind::Content)
        .last()
    else {
        return Some(String::new());
    };
    let bytes = &last.text[last.text.len().saturating_sub(LONGEST_END)..];
    let text = plain(bytes, last.escaped);
    let end = text.rsplit(char::is_alphanumeric).next();
    Some(end.unwrap_or_default().to_owned())
}

fn render(functions: &[Value]) -> String {
    let mut out = String::from("namespace functions {\n\n");
    for function in functions {
        if let Some(description) = text(function, "description") {
            line(&mut out, 0, format_args!("// {description}"));
        }
        let name = text(function, "name").unwrap_or("");
        match function.get("parameters").and_then(properties) {
            Some((properties, required)) => {
                line(&mut out, 0, format_args!("type {name} = (_: {{"));
                members(&mut out, properties, required, 0);
                out.push_str("}) => any;\n\n");
            }
            None => {
                line(&mut out, 0, format_args!("type {name} = () => any;\n"));
            }
        }
    }
    out.push_str("} // namespace functions");
    out
}

/// The properties of an object's schema, if it has any, and which of them are required.
fn properties(schema: &Value) -> Option<(&Map<String, Value>, &[Value])> {
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required").and_then(Value::as_array);
    (!properties.is_empty()).then(|| (properties, required.map_or(&[][..], Vec::as_slice)))
}

fn members(out: &mut String, properties: &Map<String, Value>, required: &[Value], indent: usize) {
    for (key, schema) in properties {
        // Only the outermost descriptions reach the model.
        if let Some(description) = text(schema, "description").filter(|_| indent < 2) {
            line(out, indent, format_args!("// {description}"));
        }
        let optional = if required.iter().any(|name| name == key) {
            ""
        } else {
            "?"
        };
        let _ = write!(out, "{:indent$}{key}{optional}: ", "");
        type_of(out, schema, indent);
        out.push_str(",\n");
    }
}

// The depth is that of the JSON, which its parser limits.
fn type_of(out: &mut String, schema: &Value, indent: usize) {
    if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
        return joined(out, options, |out, option| type_of(out, option, indent));
    }
    let kind = text(schema, "type").unwrap_or("any");
    match (kind, schema.get("enum").and_then(Value::as_array)) {
        ("string" | "number" | "integer", Some(values)) => {
            joined(out, values, |out, value| {
                let _ = write!(out, "{value}");
            });
        }
        ("integer" | "number", None) => out.push_str("number"),
        ("string" | "boolean" | "null", _) => out.push_str(kind),
        ("array", _) => {
            match schema.get("items") {
                Some(items) => type_of(out, items, indent),
                None => out.push_str("any"),
            }
            out.push_str("[]");
        }
        ("object", _) => {
            out.push_str("{\n");
            if let Some((properties, required)) = properties(schema) {
                members(out, properties, required, indent + 2);
            }
            out.push('}');
        }
        _ => out.push_str("any"),
    }
}

fn joined(out: &mut String, values: &[Value], mut write: impl FnMut(&mut String, &Value)) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push_str(" | ");
        }
        write(out, value);
    }
}

fn line(out: &mut String, indent: usize, content: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{:indent$}{content}", "");
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn functions_look_like_typescript() {
        let functions = [
            json!({"name": "now", "parameters": {"type": "object", "properties": {}}}),
            json!({"name": "boat", "description": "Finds a boat", "parameters": {
                "required": ["a"],
                "properties": {
                    "a": {"type": "string", "enum": ["x", "y"], "description": "which"},
                    "b": {"type": "array", "items": {"type": "integer"}},
                    "c": {"type": "object", "properties": {"d": {"type": "boolean", "description": "no"}}},
                    "e": {"anyOf": [{"type": "null"}, {"type": "number", "enum": [1, 2]}]},
                    "f": {"type": ["string", "null"]},
                },
            }}),
        ];
        assert_eq!(
            render(&functions),
            "namespace functions {\n\ntype now = () => any;\n\n// Finds a boat\ntype boat = (_: {\n// which\na: \"x\" | \"y\",\nb?: number[],\nc?: {\n  d?: boolean,\n},\ne?: null | 1 | 2,\nf?: any,\n}) => any;\n\n} // namespace functions"
        );
    }

    #[test]
    fn a_choice_costs_its_name() {
        let count = |text: &str| text.len() as u64;
        assert_eq!(choice_tokens(&json!("auto"), &count), 0);
        assert_eq!(choice_tokens(&json!("none"), &count), 1);
        assert_eq!(choice_tokens(&json!({"name": "foo"}), &count), 7);
        assert_eq!(choice_tokens(&json!({"name": 1}), &count), 0);
    }
}
