//! Failures of the upstream, and how a caller reads of them.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use serde_json::Value;
use tollgate_core::UpstreamFault;

use crate::{address::Address, members};

/// An event that is not a JSON object, or too large (rule R4).
pub(crate) fn invalid_event() -> UpstreamFault {
    let message = "The model sent an event that cannot be read.";
    UpstreamFault::new(StatusCode::BAD_GATEWAY, SERVER_ERROR, message)
        .with_code("upstream_invalid_event")
}

/// The answer ended before it was complete (rule R12).
pub(crate) fn truncated() -> UpstreamFault {
    let message = "The model's answer ended before it was complete.";
    UpstreamFault::new(StatusCode::BAD_GATEWAY, SERVER_ERROR, message)
        .with_code("upstream_stream_truncated")
}

/// Nothing came for too long.
pub(crate) fn silent() -> UpstreamFault {
    let message = "The model stopped answering. Please try again later.";
    UpstreamFault::new(StatusCode::GATEWAY_TIMEOUT, SERVER_ERROR, message)
        .with_code("upstream_timeout")
}

/// The failure that the value of an `error` member tells of (rule R5).
pub(crate) fn reported(json: &str) -> UpstreamFault {
    let names = ["message", "type", "param", "code"];
    let [message, error_type, param, mut code] = match json.starts_with('"') {
        true => [text(json), None, None, None],
        false => members::of(json, names).map(|value| value.and_then(text)),
    };
    let message = message.filter(|message| !message.trim().is_empty());
    let message = message.map_or(Cow::Borrowed(GENERIC), Cow::Owned);
    let mut error_type = error_type.filter(|kind| !kind.is_empty());
    let status = status(error_type.as_deref(), code.as_deref());
    if code.as_deref() == Some("429") {
        code = Some(String::from("rate_limit_exceeded"));
        error_type.get_or_insert_with(|| String::from("requests"));
    }
    let error_type = error_type.map_or(Cow::Borrowed(SERVER_ERROR), Cow::Owned);
    let retry_after = wait_in_words(&message);
    let mut fault = UpstreamFault::new(status, error_type, message);
    fault.code = code.map(Cow::Owned);
    fault.param = param.map(Cow::Owned);
    fault.retry_after = retry_after.filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
    fault
}

/// A string's text, or a number's: async-openai cannot read a code that is a number. A string that
/// no decoder can read says nothing.
fn text(json: &str) -> Option<String> {
    match json.bytes().next()? {
        b'"' => serde_json::from_str(json).ok().map(shortened),
        b'-' | b'0'..=b'9' => Some(shortened(json.to_owned())),
        _ => None,
    }
}

/// A failure as an answer of its own: what says no type has the one that goes with the status.
pub(crate) fn answer(fault: &UpstreamFault) -> UpstreamFault {
    let mut fault = fault.clone();
    if fault.error_type == SERVER_ERROR && fault.status.is_client_error() {
        fault.error_type = Cow::Borrowed(match fault.status {
            StatusCode::TOO_MANY_REQUESTS => "requests",
            _ => "invalid_request_error",
        });
    }
    fault
}

/// A failure as a caller may read of it.
pub(crate) fn told(fault: &UpstreamFault, address: &Address) -> UpstreamFault {
    let tell = |text: &Cow<'static, str>| Cow::Owned(address.left_out(text).into_owned());
    let mut told = fault.clone();
    told.message = tell(&fault.message);
    told.error_type = tell(&fault.error_type);
    told.param = fault.param.as_ref().map(tell);
    told.code = fault.code.as_ref().map(tell);
    told
}

/// A failure as the last event of a stream.
pub(crate) fn event(fault: &UpstreamFault, address: &Address) -> Vec<u8> {
    let fault = told(fault, address);
    let json = |text: &str| Value::from(text).to_string();
    let or_null = |text: Option<&str>| text.map_or_else(|| String::from("null"), json);
    format!(
        "data: {{\"error\":{{\"message\":{},\"type\":{},\"param\":{},\"code\":{}}}}}\n\n",
        json(&fault.message),
        json(&fault.error_type),
        or_null(fault.param.as_deref()),
        or_null(fault.code.as_deref()),
    )
    .into_bytes()
}

/// The status that an error would have had as an answer of its own; the AI SDK of Vercel reads
/// streams in the same way.
fn status(error_type: Option<&str>, code: Option<&str>) -> StatusCode {
    let number = code.and_then(|code| code.parse().ok());
    if let Some(status) = number.and_then(|number| StatusCode::from_u16(number).ok()) {
        if status.is_client_error() || status.is_server_error() {
            return status;
        }
    }
    for name in [code, error_type].into_iter().flatten() {
        // Azure writes `DeploymentNotFound`.
        let name = name.to_ascii_lowercase();
        let about = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if about(&[
            "insufficient_quota",
            "rate_limit",
            "ratelimit",
            "toomanyrequests",
        ]) || matches!(&*name, "requests" | "tokens")
        {
            return StatusCode::TOO_MANY_REQUESTS;
        }
        if about(&["authentication", "invalid_api_key", "unauthorized"]) {
            return StatusCode::UNAUTHORIZED;
        }
        if about(&["permission", "accessdenied", "forbidden"]) {
            return StatusCode::FORBIDDEN;
        }
        if about(&["not_found", "notfound"]) {
            return StatusCode::NOT_FOUND;
        }
        if about(&["context_length", "content_filter", "invalid"]) {
            return StatusCode::BAD_REQUEST;
        }
        if about(&["overload", "unavailable"]) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        if about(&["timeout"]) {
            return StatusCode::GATEWAY_TIMEOUT;
        }
    }
    StatusCode::INTERNAL_SERVER_ERROR
}

/// The wait that texts such as `Please retry after 3 seconds` and `try again in 182ms` name.
fn wait_in_words(message: &str) -> Option<Duration> {
    let after = ["retry after ", "try again in "]
        .into_iter()
        .find_map(|words| message.split_once(words))?
        .1;
    let digits = after.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = after.split_at(digits.unwrap_or(after.len()));
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let unit = unit.trim_start();
    let seconds = if unit.starts_with("ms") || unit.starts_with("milli") {
        number / 1_000.0
    } else if unit.starts_with('s') {
        number
    } else {
        return None;
    };
    Duration::try_from_secs_f64(seconds.min(MAX_WAIT_SECONDS)).ok()
}

/// An upstream has no business to send a novel.
fn shortened(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let cut = (0..=MAX_TEXT_BYTES).rfind(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
    }
    text
}

const SERVER_ERROR: &str = "server_error";
const GENERIC: &str = "The server had an error while processing your request. Sorry about that!";
const MAX_TEXT_BYTES: usize = 8 << 10;
const MAX_WAIT_SECONDS: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_becomes_openais() {
        for (error, event_text) in [
            (
                r#"{"message":"m","type":"t","param":"p","code":"c","inner":{}}"#,
                r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#,
            ),
            (
                r#""gone""#,
                r#"{"error":{"message":"gone","type":"server_error","param":null,"code":null}}"#,
            ),
            (
                r#"{"code":429,"message":"a\nb"}"#,
                r#"{"error":{"message":"a\nb","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            ),
            (
                r#"{"code":"429","type":"tokens"}"#,
                r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            ),
            (
                r#"{"message":"No answer from https://eu-1.internal/v1 in 3 s."}"#,
                r#"{"error":{"message":"No answer from … in 3 s.","type":"server_error","param":null,"code":null}}"#,
            ),
            (
                r#"{"message":"half of a \ud83d","type":"t","code":5e2,"param":[]}"#,
                r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"t","param":null,"code":"5e2"}}"#,
            ),
            (
                "[1]",
                r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#,
            ),
        ] {
            let text = String::from_utf8(event(&reported(error), &Address::default())).unwrap();
            assert_eq!(text, format!("data: {event_text}\n\n"));
        }
    }

    #[test]
    fn the_status_follows_code_and_type() {
        for (error, status) in [
            (r#"{"type":"insufficient_quota"}"#, 429),
            (r#"{"code":"rate_limit_exceeded"}"#, 429),
            (r#"{"type":"tokens"}"#, 429),
            (r#"{"type":"authentication_error"}"#, 401),
            (r#"{"type":"permission_error"}"#, 403),
            (
                r#"{"code":"model_not_found","type":"invalid_request_error"}"#,
                404,
            ),
            (r#"{"code":"context_length_exceeded"}"#, 400),
            (r#"{"type":"invalid_request_error"}"#, 400),
            (r#"{"type":"overloaded_error"}"#, 503),
            (r#"{"type":"timeout"}"#, 504),
            (r#"{"code":"DeploymentNotFound"}"#, 404),
            (r#"{"code":"TooManyRequests"}"#, 429),
            (r#"{"code":"Unauthorized"}"#, 401),
            (r#"{"code":"AccessDenied"}"#, 403),
            (r#"{"code":"Timeout"}"#, 504),
            (r#"{"code":"ServiceUnavailable"}"#, 503),
            (r#"{"code":"InternalServerError"}"#, 500),
            (r#"{"type":"server_error"}"#, 500),
            (r#"{"code":503}"#, 503),
            (r#"{"code":"200"}"#, 500),
            ("\"text\"", 500),
        ] {
            assert_eq!(reported(error).status, status, "{error}");
        }
    }

    #[test]
    fn an_answer_has_the_type_of_its_status() {
        for (error, answered) in [
            (
                r#"{"code":"content_filter","type":null}"#,
                "invalid_request_error",
            ),
            (r#"{"code":"rate_limit_exceeded"}"#, "requests"),
            (r#"{"code":"429"}"#, "requests"),
            (r#"{"code":429,"type":"tokens"}"#, "tokens"),
            (r#"{"code":400,"type":"odd"}"#, "odd"),
            (r#"{"message":"m"}"#, "server_error"),
            (r#"{"code":503}"#, "server_error"),
        ] {
            assert_eq!(answer(&reported(error)).error_type, answered, "{error}");
        }
    }

    #[test]
    fn waits_are_read_from_the_text() {
        let wait = |message: &str| wait_in_words(message).map(|wait| wait.as_millis());
        assert_eq!(wait("Please retry after 3 seconds."), Some(3_000));
        assert_eq!(wait("Please try again in 182ms. Visit"), Some(182));
        assert_eq!(wait("try again in 1.5s."), Some(1_500));
        assert_eq!(
            wait("retry after 99999999999999999999 seconds"),
            Some(86_400_000)
        );
        assert_eq!(wait("retry after a while"), None);
        assert_eq!(wait("retry after 3"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let error = serde_json::json!({ "message": "é".repeat(1 << 20) }).to_string();
        assert_eq!(reported(&error).message.len(), MAX_TEXT_BYTES);
    }
}
