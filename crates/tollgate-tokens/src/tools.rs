//! The OpenAI cookbook's formula for `tools`, which looks at the top level of the parameters only.

use serde_json::Value;

use crate::Encoding;

/// The tokens of these tools' `function` members, of which there is one at least.
pub(crate) fn tokens(functions: &[Value], encoding: Encoding, count: &dyn Fn(&str) -> u64) -> u64 {
    let opening = match encoding {
        Encoding::Cl100kBase => 10,
        Encoding::O200kBase => 7,
    };
    let each = functions
        .iter()
        .map(|function| opening + one(function, count));
    each.sum::<u64>() + ALL
}

fn one(function: &Value, count: &dyn Fn(&str) -> u64) -> u64 {
    let head = format!("{}:{}", text(function, "name"), description(function));
    let properties = function
        .get("parameters")
        .and_then(|parameters| parameters.get("properties"))
        .and_then(Value::as_object)
        .filter(|properties| !properties.is_empty());
    let Some(properties) = properties else {
        return count(&head);
    };
    let each = properties.iter().map(|(key, property)| {
        let line = format!("{key}:{}:{}", text(property, "type"), description(property));
        PROPERTY + count(&line) + choices(property, count)
    });
    count(&head) + PROPERTIES + each.sum::<u64>()
}

/// The values of an `enum`, the first of which is cheaper.
fn choices(property: &Value, count: &dyn Fn(&str) -> u64) -> u64 {
    let Some(values) = property.get("enum").and_then(Value::as_array) else {
        return 0;
    };
    let each = values.iter().map(|value| {
        CHOICE
            + match value {
                Value::String(text) => count(text),
                other => count(&other.to_string()),
            }
    });
    each.sum::<u64>().saturating_sub(CHOICE)
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or("")
}

fn description(value: &Value) -> &str {
    let description = text(value, "description");
    description.strip_suffix('.').unwrap_or(description)
}

const ALL: u64 = 12;
const PROPERTIES: u64 = 3;
const PROPERTY: u64 = 3;
const CHOICE: u64 = 3;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_formula_is_the_published_one() {
        let words = |text: &str| text.split([' ', ':']).filter(|w| !w.is_empty()).count() as u64;
        let tools = [
            json!({"name": "now", "description": "The time."}),
            json!({"name": "boat", "parameters": {"properties": {
                "port": {"type": "string", "description": "a b."},
                "day": {"type": "string", "enum": ["x", "y", 1]},
            }}}),
        ];
        // now: 3; boat: 1 + 3, port: 3 + 4, day: 3 + 2 and 3 × 3 + 3 - 3.
        assert_eq!(
            tokens(&tools, Encoding::O200kBase, &words),
            12 + 7 + 3 + 7 + 4 + 7 + 5 + 9
        );
        assert_eq!(
            tokens(&tools, Encoding::Cl100kBase, &words),
            tokens(&tools, Encoding::O200kBase, &words) + 6
        );
    }

    #[test]
    fn nonsense_costs_little() {
        let count = |text: &str| text.len() as u64;
        for nonsense in [
            json!(null),
            json!([1]),
            json!({"parameters": {"properties": 7}}),
        ] {
            assert_eq!(tokens(&[nonsense], Encoding::O200kBase, &count), 12 + 7 + 1);
        }
    }
}
