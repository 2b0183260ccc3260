//! What can be wrong before the body means anything.

use http::{HeaderValue, Method, header::ALLOW};
use tollgate_core::{Rejection, RejectionKind};

use super::invalid;
use crate::{json::Malformed, path::Path};

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
