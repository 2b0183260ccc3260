//! What of a request's head is too much, or open to two readings.

use http::{
    HeaderName, HeaderValue, Request, Version,
    header::{HOST, TRANSFER_ENCODING},
};
use tollgate::{Rejection, RejectionKind};

/// Refuses heads that hyper can read and nobody should have to.
///
/// hyper has limits of its own, which are wider: what exceeds those, or cannot be read at all, it
/// answers itself, without a body.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Rejection> {
    let uri = request.uri();
    let target = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if target > MAX_TARGET_BYTES {
        return Err(Rejection::new(RejectionKind::UriTooLong));
    }
    let headers = request.headers();
    // As they stand in HTTP/1.1, with colons and line ends.
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if headers.len() > MAX_HEADERS || headers.iter().map(bytes).sum::<usize>() > MAX_HEADER_BYTES {
        return Err(Rejection::new(RejectionKind::HeadersTooLarge));
    }
    // hyper takes the last of several codings for all of them, and any number of hosts (RFC 9112,
    // sections 3.2 and 6.1).
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some() {
        return Err(invalid("The transfer encoding is not supported."));
    }
    let hosts = headers.get_all(HOST).iter().count();
    if request.version() == Version::HTTP_11 && hosts != 1 {
        return Err(invalid("The request has to name one host."));
    }
    if headers.keys().any(is_twin) {
        return Err(invalid(
            "A header's name is spelt with an underscore, and means something with a hyphen.",
        ));
    }
    Ok(())
}

fn invalid(message: &'static str) -> Rejection {
    Rejection::new(RejectionKind::InvalidRequest).with_message(message)
}

/// Whether some server might take this header for one that decides who calls, for whom, or where a
/// body ends: many read underscores as hyphens.
fn is_twin(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains('_') && {
        let meant = name.replace('_', "-");
        DECISIVE.contains(&&*meant) || DECISIVE_PREFIX.iter().any(|start| meant.starts_with(start))
    }
}

const DECISIVE: [&str; 9] = [
    "api-key",
    "content-encoding",
    "content-length",
    "content-type",
    "proxy-authorization",
    "transfer-encoding",
    "x-api-key",
    "x-request-id",
    "x-workspace",
];
const DECISIVE_PREFIX: [&str; 4] = ["openai-", "x-forwarded-", "x-ms-", "x-tollgate-"];

const MAX_TARGET_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 16 << 10;
