//! What is wrong between values that are good by themselves.

use tollgate_core::Rejection;

use super::{invalid, schema, shortened, shown};
use crate::{json::Text, path::Path};

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
        .with_code("invalid_parameter_combination")
}

pub(crate) fn no_word_json() -> Rejection {
    invalid(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
         'json_object'.",
    )
    .with_param("messages")
}

/// A choice of what is not on offer.
pub(crate) fn undeclared(param: &'static str, offer: &str, name: Text<'_>) -> Rejection {
    invalid(format!(
        "Invalid value for '{param}': no function named '{}' was specified in the '{offer}' \
         parameter.",
        shown(name)
    ))
    .with_param(param)
}

pub(crate) fn logit_bias_key(key: Text<'_>, largest: Option<u32>) -> Rejection {
    let key = shown(key);
    let message = match largest {
        Some(largest) => {
            format!("Invalid key in 'logit_bias': {key}. Maximum value is {largest}.")
        }
        None => format!(
            "Invalid key in 'logit_bias': {key}. You should only be submitting non-negative integers."
        ),
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
        shortened(&ids.join(", "))
    ))
    .with_param(param)
}
