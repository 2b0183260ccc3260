//! What is wrong with a value by itself.

use std::fmt;

use tollgate_core::Rejection;

use super::{invalid, listed, schema, shortened, shown};
use crate::{
    json::{Number, Text, Value},
    path::Path,
};

pub(crate) fn no_model() -> Rejection {
    invalid("you must provide a model parameter")
}

pub(crate) fn unknown(path: &Path<'_>) -> Rejection {
    schema(
        path,
        "unknown_parameter",
        format!("Unknown parameter: '{path}'."),
    )
}

pub(crate) fn unsupported(name: &str) -> Rejection {
    schema(
        &Path::root(name),
        "unsupported_parameter",
        format!("Unsupported parameter: '{name}' is not supported by this endpoint."),
    )
}

pub(crate) fn missing(path: &Path<'_>) -> Rejection {
    schema(
        path,
        "missing_required_parameter",
        format!("Missing required parameter: '{path}'."),
    )
}

pub(crate) fn wrong_type(
    path: &Path<'_>,
    expected: impl fmt::Display,
    got: &Value<'_>,
) -> Rejection {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_decimal() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array => "an array",
        Value::Object => "an object",
    };
    schema(
        path,
        "invalid_type",
        format!("Invalid type for '{path}': expected {expected}, but got {got} instead."),
    )
}

pub(crate) fn not_one_of(path: &Path<'_>, got: &str, supported: &[&str]) -> Rejection {
    schema(
        path,
        "invalid_value",
        format!(
            "Invalid value: '{got}'. Supported values are: {}.",
            listed(supported, "and")
        ),
    )
}

pub(crate) fn empty_array(path: &Path<'_>) -> Rejection {
    schema(
        path,
        "empty_array",
        format!(
            "Invalid '{path}': empty array. Expected an array with minimum length 1, but got an \
             empty array instead."
        ),
    )
}

pub(crate) fn array_too_long(path: &Path<'_>, max: usize, got: usize) -> Rejection {
    schema(
        path,
        "array_above_max_length",
        format!(
            "Invalid '{path}': array too long. Expected an array with maximum length {max}, but \
             got an array with length {got} instead."
        ),
    )
}

pub(crate) fn empty_string(path: &Path<'_>) -> Rejection {
    schema(
        path,
        "empty_string",
        format!(
            "Invalid '{path}': empty string. Expected a string with minimum length 1, but got an \
             empty string instead."
        ),
    )
}

pub(crate) fn string_too_long(path: &Path<'_>, max: usize, got: usize) -> Rejection {
    schema(
        path,
        "string_above_max_length",
        format!(
            "Invalid '{path}': string too long. Expected a string with maximum length {max}, but \
             got a string with length {got} instead."
        ),
    )
}

pub(crate) fn pattern(path: &Path<'_>, pattern: &str) -> Rejection {
    schema(
        path,
        "invalid_value",
        format!(
            "Invalid '{path}': string does not match pattern. Expected a string that matches the \
             pattern '{pattern}'."
        ),
    )
}

/// The bound that a number breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound<T> {
    Min(T),
    Max(T),
}

pub(crate) fn integer_out_of_range(
    path: &Path<'_>,
    bound: Bound<i64>,
    got: Number<'_>,
) -> Rejection {
    let (code, text) = match bound {
        Bound::Min(min) => (
            "integer_below_min_value",
            format!("integer below minimum value. Expected a value >= {min}"),
        ),
        Bound::Max(max) => (
            "integer_above_max_value",
            format!("integer above maximum value. Expected a value <= {max}"),
        ),
    };
    let got = shortened(got.text());
    schema(
        path,
        code,
        format!("Invalid '{path}': {text}, but got {got} instead."),
    )
}

pub(crate) fn decimal_out_of_range(
    path: &Path<'_>,
    bound: Bound<f64>,
    got: Number<'_>,
) -> Rejection {
    let (code, text) = match bound {
        Bound::Min(min) => (
            "decimal_below_min_value",
            format!("decimal below minimum value. Expected a value >= {min}"),
        ),
        Bound::Max(max) => (
            "decimal_above_max_value",
            format!("decimal above maximum value. Expected a value <= {max}"),
        ),
    };
    let got = shortened(got.text());
    schema(
        path,
        code,
        format!("Invalid '{path}': {text}, but got {got} instead."),
    )
}

pub(crate) fn too_many_properties(path: &Path<'_>, max: usize, got: usize) -> Rejection {
    schema(
        path,
        "object_above_max_properties",
        format!(
            "Invalid '{path}': too many properties. Expected an object with at most {max} \
             properties, but got an object with {got} properties instead."
        ),
    )
}

pub(crate) fn property_name_too_long(
    path: &Path<'_>,
    name: Text<'_>,
    max: usize,
    got: usize,
) -> Rejection {
    let start: String = name.chars().take(3).collect();
    let end: String = name.chars().skip(got.saturating_sub(3)).collect();
    let in_full = shown(name);
    schema(
        &path.key(&in_full),
        "property_name_above_max_length",
        format!(
            "Invalid '{path}': property name '{start}...{end}' too long. Expected a property name \
             with maximum length {max}, but got a property name with length {got} instead."
        ),
    )
}
