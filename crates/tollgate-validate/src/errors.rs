//! Every refusal of the validator, in OpenAI's own words.
//!
//! The API has two layers of checks with a dialect each: the schema's errors have a `code` and
//! paths like `messages[0].role`; the errors of the rules behind it mostly have none and paths
//! like `messages.[0].role`. Clients match on both.

use std::{borrow::Cow, fmt};

use http::{HeaderValue, Method, header::ALLOW};
use tollgate_core::{Rejection, RejectionKind};

use crate::{
    json::{Malformed, Number, Text, Value},
    path::Path,
};

// === The head and the transfer ===

pub(crate) fn method_not_allowed(method: &Method) -> Rejection {
    let rejection = Rejection::new(RejectionKind::MethodNotAllowed)
        .with_header(ALLOW, HeaderValue::from_static("POST"));
    match *method {
        // An extension method is the client's own text.
        Method::GET
        | Method::PUT
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::CONNECT
        | Method::PATCH
        | Method::TRACE => rejection.with_message(format!(
            "Not allowed to {method} on /v1/chat/completions. (HINT: Perhaps you meant to use a \
             different HTTP method?)"
        )),
        _ => rejection,
    }
}

pub(crate) fn unsupported_media_type() -> Rejection {
    Rejection::new(RejectionKind::UnsupportedMediaType)
}

pub(crate) fn unsupported_encoding() -> Rejection {
    Rejection::new(RejectionKind::UnsupportedMediaType)
        .with_message("The content encoding is not supported: send the body uncompressed.")
}

pub(crate) fn bad_content_length() -> Rejection {
    invalid("The content length is not a number of bytes.")
}

pub(crate) fn body_too_large(max_bytes: u64) -> Rejection {
    Rejection::new(RejectionKind::BodyTooLarge).with_message(format!(
        "The request body is too large: at most {max_bytes} bytes are accepted."
    ))
}

pub(crate) fn body_timeout() -> Rejection {
    Rejection::new(RejectionKind::BodyTimeout)
}

pub(crate) fn body_broken() -> Rejection {
    invalid("The request body could not be read to its end.")
}

// === JSON ===

pub(crate) fn malformed(why: Malformed) -> Rejection {
    match why {
        Malformed::Syntax => not_json(),
        Malformed::TooDeep => invalid(
            "We could not parse the JSON body of your request: it is nested more than 64 levels \
             deep.",
        ),
        Malformed::TooManyValues => {
            invalid("We could not parse the JSON body of your request: it has too many values.")
        }
    }
}

pub(crate) fn not_json() -> Rejection {
    invalid(
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't \
         using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was \
         sent was not valid JSON.)",
    )
}

pub(crate) fn duplicate(path: &Path<'_>) -> Rejection {
    invalid(format!("Duplicate parameter: '{path}'.")).with_param(path.to_string())
}

// === The schema ===

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

// === The rules behind the schema ===

pub(crate) fn needs(param: &'static str, needed: &str) -> Rejection {
    invalid(format!(
        "Invalid value for '{param}': '{param}' is only allowed when {needed}."
    ))
    .with_param(param)
}

pub(crate) fn top_logprobs_too_high(max: u32) -> Rejection {
    invalid(format!(
        "Invalid value for 'top_logprobs': must be less than or equal to {max}."
    ))
    .with_param("top_logprobs")
}

pub(crate) fn stream_options_without_stream() -> Rejection {
    invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        .with_param("stream_options")
}

pub(crate) fn both_output_caps() -> Rejection {
    invalid("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
        .with_param("max_tokens")
        .with_code(Cow::Borrowed("invalid_parameter_combination"))
}

pub(crate) fn no_word_json() -> Rejection {
    invalid(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
         'json_object'.",
    )
    .with_param("messages")
}

pub(crate) fn undeclared_tool(name: Text<'_>) -> Rejection {
    invalid(format!(
        "Invalid value for 'tool_choice': no function named '{}' was specified in the 'tools' \
         parameter.",
        shown(name)
    ))
    .with_param("tool_choice")
}

pub(crate) fn logit_bias_key(key: Text<'_>, largest: Option<u32>) -> Rejection {
    let key = shown(key);
    let message = match largest {
        Some(largest) => {
            format!("Invalid key in 'logit_bias': {key}. Maximum value is {largest}.")
        }
        None => format!("Invalid key in 'logit_bias': {key}. Expected the number of a token."),
    };
    invalid(message).with_param("logit_bias")
}

pub(crate) fn image_url(path: &Path<'_>) -> Rejection {
    schema(
        path,
        "invalid_value",
        "Invalid image URL: expected an http or https URL, or a data URL with base64.".to_owned(),
    )
}

pub(crate) fn image_outside_user(message: &Path<'_>, role: &str) -> Rejection {
    schema(
        message,
        "invalid_value",
        format!(
            "Invalid '{message}'. Image URLs are only allowed for messages with role 'user', but \
             this message with role '{role}' contains an image URL."
        ),
    )
}

pub(crate) fn tool_message_without_id(message: &Path<'_>) -> Rejection {
    invalid(
        "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.",
    )
    .with_param(message.key("tool_call_id").dotted())
}

// The vendor's spelling.
pub(crate) fn tool_message_without_call(message: &Path<'_>) -> Rejection {
    invalid(
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message \
         with 'tool_calls'.",
    )
    .with_param(message.key("role").dotted())
}

pub(crate) fn tool_call_id_not_found(message: &Path<'_>, id: Text<'_>) -> Rejection {
    invalid(format!(
        "Invalid parameter: 'tool_call_id' of '{}' not found in 'tool_calls' of previous message.",
        shown(id)
    ))
    .with_param(message.key("tool_call_id").dotted())
}

pub(crate) fn tool_call_answered_twice(
    message: &Path<'_>,
    id: Text<'_>,
    first: usize,
    second: usize,
) -> Rejection {
    invalid(format!(
        "Invalid parameter: Duplicate value for 'tool_call_id' of '{}', in messages[{first}] and \
         messages[{second}].",
        shown(id)
    ))
    .with_param(message.key("tool_call_id").dotted())
}

pub(crate) fn tool_calls_unanswered<'j>(
    ids: impl Iterator<Item = Text<'j>>,
    param: String,
) -> Rejection {
    let ids: Vec<String> = ids.map(shown).collect();
    invalid(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to \
         each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        ids.join(", ")
    ))
    .with_param(param)
}

// === Helpers ===

/// `'a', 'b', and 'c'`, as the API lists values.
pub(crate) fn listed(values: &[&str], word: &str) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        let separator = match (at, values.len() - at) {
            (0, _) => String::new(),
            (1, 1) => format!(" {word} "),
            (_, 1) => format!(", {word} "),
            _ => ", ".to_owned(),
        };
        text.push_str(&separator);
        text.push('\'');
        text.push_str(value);
        text.push('\'');
    }
    text
}

/// What the caller wrote, cut to a length that does no harm in an answer.
pub(crate) fn shown(text: Text<'_>) -> String {
    cut(text.chars())
}

fn shortened(text: &str) -> String {
    cut(text.chars())
}

fn cut(chars: impl Iterator<Item = char>) -> String {
    let mut chars = chars;
    let mut text: String = chars.by_ref().take(MAX_ECHO_CHARS).collect();
    if chars.next().is_some() {
        text.push_str("...");
    }
    text
}

const MAX_ECHO_CHARS: usize = 512;

fn invalid(message: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::new(RejectionKind::InvalidRequest).with_message(message)
}

fn schema(path: &Path<'_>, code: &'static str, message: String) -> Rejection {
    invalid(message)
        .with_param(path.to_string())
        .with_code(Cow::Borrowed(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_the_api_writes_them() {
        assert_eq!(listed(&["a"], "and"), "'a'");
        assert_eq!(listed(&["a", "b"], "and"), "'a' and 'b'");
        assert_eq!(listed(&["a", "b", "c"], "or"), "'a', 'b', or 'c'");
    }

    #[test]
    fn no_answer_grows_with_the_request() {
        let long = "x".repeat(1 << 20);
        let rejection = unknown(&Path::root(&shortened(&long)));
        assert_eq!(rejection.param().unwrap().len(), 515);
        assert!(rejection.message().len() < 600);
    }
}
