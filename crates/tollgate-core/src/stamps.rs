use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response};

use crate::{Dialect, Fact, Region, Rejection, Render, RequestId};

/// What names a call on its answer: `x-request-id` and `x-tollgate-region`.
///
/// A layer that decides on a request opens its stamps first. It then puts on every refusal of its
/// own all that is known, and on the answers that it lets through only what it was the first to
/// know: so each answer is stamped once, by whichever layer stands outermost.
///
/// A [`Gate`](crate::Gate) gets this from [`GateLayer`](crate::GateLayer). Middleware that cannot be
/// one, because it awaits something, refuses in the same form by hand:
///
/// ```
/// use http::Request;
/// use tollgate_core::{DefaultRender, Dialect, Rejection, RejectionKind, Stamps};
///
/// let mut request = Request::new("the body");
/// let stamps = Stamps::open(request.extensions_mut());
/// // … the database does not know the key.
/// let refusal = Rejection::new(RejectionKind::Unauthenticated);
/// let dialect = Dialect::of(request.headers());
/// let answer = stamps.refuse(refusal, dialect, &DefaultRender::default());
/// assert_eq!(answer.status(), 401);
/// assert!(answer.headers().contains_key("x-request-id"));
/// // The body is `Bytes`; in axum it becomes the right one by `answer.map(Body::from)`.
/// ```
#[derive(Clone, Debug)]
pub struct Stamps {
    request_id: RequestId,
    minted: bool,
    region: Option<Region>,
    found_region: bool,
}

impl Stamps {
    /// Finds the request's id and region; mints and publishes an id where there is none.
    pub fn open(extensions: &mut Extensions) -> Self {
        let found = RequestId::of(extensions).cloned();
        let minted = found.is_none();
        let request_id = found.unwrap_or_else(|| {
            let fresh = RequestId::mint();
            extensions.insert(fresh.clone());
            fresh
        });
        let region = Region::of(extensions).cloned();
        Self {
            request_id,
            minted,
            found_region: region.is_some(),
            region,
        }
    }

    /// Takes note of a region that the layer itself has just published.
    pub fn learn_region(&mut self, extensions: &Extensions) {
        if self.region.is_none() {
            self.region = Region::of(extensions).cloned();
        }
    }

    /// Stamps an answer of the inner service with what this layer was the first to know.
    ///
    /// A header that is already there stays.
    pub fn pass(&self, headers: &mut HeaderMap) {
        if self.minted && !headers.contains_key(REQUEST_ID) {
            headers.insert(REQUEST_ID, self.request_id.header_value().clone());
        }
        if let Some(region) = self.region.as_ref().filter(|_| !self.found_region) {
            if !headers.contains_key(REGION) {
                headers.insert(REGION, region.header_value().clone());
            }
        }
    }

    /// Renders a refusal, with every header that refusals carry, and the [`Rejection`] in the
    /// extensions of the answer.
    pub fn refuse<R: Render>(
        &self,
        rejection: Rejection,
        dialect: Dialect,
        render: &R,
    ) -> Response<Bytes> {
        #[cfg(feature = "tracing")]
        if let Some(detail) = rejection.detail() {
            tracing::error!(target: "tollgate", request_id = %self.request_id, kind = ?rejection.kind(), "{detail}");
        }
        let mut response = render.render(&rejection, dialect);
        let headers = response.headers_mut();
        for (name, value) in rejection.headers() {
            headers.insert(name, value.clone());
        }
        if let Some(wait) = rejection.retry_after() {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let seconds = millis.div_ceil(1_000).clamp(1, MAX_RETRY_SECONDS);
            headers.insert("retry-after", HeaderValue::from(seconds));
            headers.insert(
                "retry-after-ms",
                HeaderValue::from(millis.min(MAX_RETRY_MILLIS)),
            );
        }
        if let Some(retry) = rejection.should_retry() {
            let value = if retry { "true" } else { "false" };
            headers.insert("x-should-retry", HeaderValue::from_static(value));
        }
        headers.insert(REQUEST_ID, self.request_id.header_value().clone());
        if let Some(region) = &self.region {
            headers.insert(REGION, region.header_value().clone());
        }
        response.extensions_mut().insert(rejection);
        response
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REGION: HeaderName = HeaderName::from_static("x-tollgate-region");

// openai-node ignores waits of a minute and more, and would fall back to half a second.
const MAX_RETRY_SECONDS: u64 = 59;
const MAX_RETRY_MILLIS: u64 = 59_900;
