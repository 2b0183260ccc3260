use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use crate::{Rejection, json::push_json_str};

/// Turns a refusal into an answer.
///
/// The body is plain [`Bytes`], so a renderer never meets the body type of the inner service. What
/// every refusal carries whatever its look (`x-request-id`, `retry-after`, the refusal's own
/// headers) is added afterwards by the layer. Any `Fn(&Rejection, Dialect) -> Response<Bytes>` is
/// a renderer, and so is an `Arc` of one; [`DefaultRender`] is the one that the SDKs can read.
///
/// ```
/// use bytes::Bytes;
/// use http::{HeaderValue, Response, request::Parts};
/// use tollgate_core::{DefaultRender, Dialect, GateLayer, Rejection, RejectionKind, Render};
///
/// /// OpenAI's errors, and where to ask for help.
/// #[derive(Clone)]
/// struct Helpful;
///
/// impl Render for Helpful {
///     fn render(&self, rejection: &Rejection, dialect: Dialect) -> Response<Bytes> {
///         let mut response = DefaultRender::default().render(rejection, dialect);
///         let link = HeaderValue::from_static("<https://help.example>; rel=help");
///         response.headers_mut().insert("link", link);
///         response
///     }
/// }
///
/// let closed = |_: &mut Parts| Err(Rejection::new(RejectionKind::NotFound));
/// let layer = GateLayer::new(closed).render(Helpful);
/// # let _ = layer;
/// ```
pub trait Render {
    /// The answer to a refused request of this dialect.
    fn render(&self, rejection: &Rejection, dialect: Dialect) -> Response<Bytes>;
}

impl<F> Render for F
where
    F: Fn(&Rejection, Dialect) -> Response<Bytes>,
{
    fn render(&self, rejection: &Rejection, dialect: Dialect) -> Response<Bytes> {
        self(rejection, dialect)
    }
}

impl<R: Render + ?Sized> Render for Arc<R> {
    fn render(&self, rejection: &Rejection, dialect: Dialect) -> Response<Bytes> {
        (**self).render(rejection, dialect)
    }
}

/// OpenAI's error object for HTTP, a trailers-only status for gRPC.
///
/// ```
/// use tollgate_core::{DefaultRender, Dialect, Rejection, RejectionKind, Render};
///
/// let refusal = Rejection::new(RejectionKind::InvalidRequest)
///     .with_message("Invalid type for 'temperature'.")
///     .with_param("temperature");
/// let answer = DefaultRender::default().render(&refusal, Dialect::OpenAi);
/// assert_eq!(answer.status(), 400);
/// assert_eq!(
///     answer.body(),
///     r#"{"error":{"message":"Invalid type for 'temperature'.","type":"invalid_request_error","param":"temperature","code":null}}"#,
/// );
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DefaultRender;

impl Render for DefaultRender {
    fn render(&self, rejection: &Rejection, dialect: Dialect) -> Response<Bytes> {
        match dialect {
            Dialect::Grpc => grpc(rejection),
            Dialect::OpenAi => openai(rejection),
        }
    }
}

/// The protocol in which a request expects its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// gRPC: HTTP 200 and a status in the headers, which is a trailers-only answer.
    Grpc,
    /// JSON over HTTP with OpenAI's error object.
    OpenAi,
}

impl Dialect {
    /// gRPC if the content type is `application/grpc`, alone or followed by `+`, `;` or `-`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        const GRPC: &[u8] = b"application/grpc";
        let content_type = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        match content_type.split_at_checked(GRPC.len()) {
            Some((start, rest))
                if start.eq_ignore_ascii_case(GRPC)
                    && matches!(rest.first(), None | Some(b'+' | b';' | b'-')) =>
            {
                Self::Grpc
            }
            _ => Self::OpenAi,
        }
    }
}

// All four members are always there, and a code is a string or null: async-openai fails to
// deserialise anything else.
fn openai(rejection: &Rejection) -> Response<Bytes> {
    let mut json = String::with_capacity(128 + rejection.message().len());
    json.push_str(r#"{"error":{"message":"#);
    push_json_str(&mut json, rejection.message());
    json.push_str(r#","type":"#);
    push_json_str(&mut json, rejection.error_type());
    for (name, value) in [
        (r#","param":"#, rejection.param()),
        (r#","code":"#, rejection.code()),
    ] {
        json.push_str(name);
        match value {
            Some(value) => push_json_str(&mut json, value),
            None => json.push_str("null"),
        }
    }
    json.push_str("}}");

    let mut response = Response::new(Bytes::from(json));
    *response.status_mut() = rejection.status();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn grpc(rejection: &Rejection) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(
        "grpc-status",
        HeaderValue::from(rejection.grpc_code() as u16),
    );
    if let Ok(message) = HeaderValue::from_bytes(&percent_encoded(rejection.message())) {
        headers.insert("grpc-message", message);
    }
    response
}

// The gRPC protocol's encoding of status messages: printable ASCII but for the percent sign.
fn percent_encoded(text: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(byte);
        } else {
            encoded.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
    encoded
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectionKind;

    fn dialect(content_type: &'static str) -> Dialect {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Dialect::of(&headers)
    }

    #[test]
    fn grpc_is_told_by_its_content_type_alone() {
        for grpc in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web",
            "Application/GRPC;x",
        ] {
            assert_eq!(dialect(grpc), Dialect::Grpc, "{grpc}");
        }
        for other in [
            "application/json",
            "application/grpcish",
            "application/grp",
            "",
        ] {
            assert_eq!(dialect(other), Dialect::OpenAi, "{other}");
        }
        assert_eq!(Dialect::of(&HeaderMap::new()), Dialect::OpenAi);
    }

    #[test]
    fn hostile_text_stays_one_json_string() {
        let rejection =
            Rejection::new(RejectionKind::InvalidRequest).with_message("a\"b\\c\n\u{1}\u{2028}é");
        let body = openai(&rejection).into_body();
        assert!(body.starts_with(
            "{\"error\":{\"message\":\"a\\\"b\\\\c\\u000A\\u0001\u{2028}é\",".as_bytes()
        ));
    }

    #[test]
    fn grpc_refusal_is_trailers_only() {
        let rejection = Rejection::new(RejectionKind::Unauthenticated).with_message("50% é\n");
        let response = grpc(&rejection);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "16");
        assert_eq!(response.headers()["grpc-message"], "50%25 %C3%A9%0A");
        assert!(response.body().is_empty());
    }
}
