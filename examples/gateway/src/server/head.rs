//! What of a request's head is too much, or open to two readings.

use http::{HeaderName, Request};
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
    let bytes =
        |(name, value): (&HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + 4;
    if headers.len() > MAX_HEADERS || headers.iter().map(bytes).sum::<usize>() > MAX_HEADER_BYTES {
        return Err(Rejection::new(RejectionKind::HeadersTooLarge));
    }
    if headers.keys().any(is_twin) {
        let rejection = Rejection::new(RejectionKind::InvalidRequest);
        return Err(rejection.with_message(
            "A header's name is spelt with an underscore, and means something with a hyphen.",
        ));
    }
    Ok(())
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
