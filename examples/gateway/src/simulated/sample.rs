//! Values that fit a JSON schema, for arguments of tools and structured answers.

use serde_json::{Map, Value, json};

/// A plausible value of this schema: enough for demos, not a generator.
pub(super) fn sample(schema: &Value) -> Value {
    sample_named("", schema, MAX_DEPTH)
}

fn sample_named(name: &str, schema: &Value, depth: u8) -> Value {
    if let Some(fixed) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return fixed.clone();
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Some(first) = schema["anyOf"].get(0).or_else(|| schema["oneOf"].get(0)) {
        return sample_named(name, first, depth - 1);
    }
    let kind = match &schema["type"] {
        // A nullable type is spelled as a list.
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null"),
        kind => Some(kind),
    };
    match kind.and_then(Value::as_str) {
        Some("array") => json!([sample_named(name, &schema["items"], depth - 1)]),
        Some("boolean") => json!(true),
        Some("integer") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("null") => Value::Null,
        Some("number") => schema.get("minimum").cloned().unwrap_or(json!(1.5)),
        Some("string") => json!(text_for(name)),
        _ => schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), sample_named(name, schema, depth - 1)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn text_for(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    let fits = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if fits(&["city", "location", "place"]) {
        "Berlin"
    } else if fits(&["country"]) {
        "Germany"
    } else if fits(&["date", "day"]) {
        "2026-11-24"
    } else if fits(&["name", "author", "person"]) {
        "Ada Lovelace"
    } else {
        "example"
    }
}

const MAX_DEPTH: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_schemas_shape() {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
            "days": {"type": ["null", "integer"]},
            "tags": {"type": "array", "items": {"type": "boolean"}},
        }});
        let value = json!({"city": "Berlin", "unit": "celsius", "days": 1, "tags": [true]});
        assert_eq!(sample(&schema), value);
        assert_eq!(sample(&Value::Null), json!({}));
    }

    #[test]
    fn deep_schemas_end() {
        let mut schema = json!({"type": "string"});
        for _ in 0..40 {
            schema = json!({"type": "array", "items": schema});
        }
        assert!(sample(&schema).to_string().len() < 40);
    }
}
