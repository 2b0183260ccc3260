//! Which headers travel, both ways: only those on a list.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_TYPE, USER_AGENT,
    },
};
use tollgate_core::RequestId;

use crate::{ConfigError, residency::is_outside, target::Target};

/// The headers that travel besides the usual ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded {
    pub(crate) to_upstream: Vec<HeaderName>,
    pub(crate) to_caller: Vec<HeaderName>,
}

impl Forwarded {
    /// What of the caller's headers every attempt carries.
    pub(crate) fn request(&self, headers: &HeaderMap, id: Option<&RequestId>) -> Outgoing {
        let mut kept = keep(
            headers,
            &[ACCEPT, CONTENT_TYPE, USER_AGENT],
            &self.to_upstream,
        );
        // One, whatever the caller sent: it has been read as one.
        let json = HeaderValue::from_static("application/json");
        let content_type = kept.get(CONTENT_TYPE).cloned().unwrap_or(json);
        kept.insert(CONTENT_TYPE, content_type);
        // Its absence would leave the encoding to the upstream (RFC 9110, section 12.5.3).
        kept.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Outgoing {
            headers: kept,
            id: id.map(|id| id.header_value().clone()),
        }
    }

    /// What of an upstream's headers the caller sees.
    pub(crate) fn response(&self, headers: &HeaderMap) -> HeaderMap {
        const USUAL: [HeaderName; 6] = [
            CACHE_CONTROL,
            CONTENT_ENCODING,
            CONTENT_LENGTH,
            CONTENT_TYPE,
            HeaderName::from_static("openai-processing-ms"),
            // From the layer inside that frames streams.
            HeaderName::from_static("x-accel-buffering"),
        ];
        keep(headers, &USUAL, &self.to_caller)
    }
}

/// The headers of a call's attempts.
#[derive(Clone)]
pub(crate) struct Outgoing {
    headers: HeaderMap,
    id: Option<HeaderValue>,
}

impl Outgoing {
    /// The headers for this target, or `None` if there are no credentials for it now.
    pub(crate) fn for_target(mut self, target: &Target) -> Option<HeaderMap> {
        let secret = target.credentials.current()?;
        let (name, value) = secret.header(target.is_azure)?;
        self.headers.insert(name, value);
        if let Some(id) = self.id {
            // By these names both vendors let a call be found in their logs.
            let name = match target.is_azure {
                true => AZURE_REQUEST_ID,
                false => OPENAI_REQUEST_ID,
            };
            self.headers.insert(name, id);
        }
        Some(self.headers)
    }
}

/// Refuses to forward what is not the caller's or not the upstream's to say.
pub(crate) fn check_forwardable(name: &HeaderName) -> Result<(), ConfigError> {
    const NEVER: [&str; 27] = [
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "location",
        // They choose who pays, with the operator's key.
        "openai-organization",
        "openai-project",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "retry-after",
        "retry-after-ms",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-api-key",
        "x-client-request-id",
        "x-request-id",
    ];
    const NEVER_PREFIX: [&str; 4] = ["x-forwarded-", "x-ms-", "x-ratelimit-", "x-tollgate-"];
    let text = name.as_str();
    if NEVER.contains(&text) || NEVER_PREFIX.iter().any(|prefix| text.starts_with(prefix)) {
        return Err(ConfigError::IllegalHeader {
            header: text.to_owned(),
        });
    }
    Ok(())
}

/// Whether an answer says that it comes from a place where it must not come from.
pub(crate) fn is_misplaced(headers: &HeaderMap, target: &Target) -> bool {
    let place = headers.get(AZURE_REGION);
    place.is_some_and(|place| {
        let place = place.to_str().unwrap_or_default();
        is_outside(place, &target.region, &target.locations)
    })
}

fn keep(headers: &HeaderMap, usual: &[HeaderName], more: &[HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(usual.len() + more.len() + 3);
    let has_options = headers.contains_key(CONNECTION);
    for (name, value) in headers {
        let is_listed = usual.contains(name) || more.contains(name);
        if is_listed && !(has_options && is_hop_by_hop(headers, name)) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Whether the sender meant this header for its neighbour alone (RFC 9110, section 7.6.1). The
/// headers that are always so are on no list.
fn is_hop_by_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    let options = headers.get_all(CONNECTION).into_iter();
    let mut options = options.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    options.any(|option| {
        let option = option.trim_ascii();
        option.eq_ignore_ascii_case(name.as_str().as_bytes())
    })
}

const AZURE_REGION: HeaderName = HeaderName::from_static("x-ms-region");
const AZURE_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const OPENAI_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn what_a_connection_names_stays_on_it() {
        let headers = headers(&[
            ("connection", "close, User-Agent"),
            ("user-agent", "curl"),
            ("accept", "*/*"),
        ]);
        let kept = Forwarded::default().request(&headers, None).headers;
        assert!(!kept.contains_key("user-agent"));
        assert!(!kept.contains_key("connection"));
        assert_eq!(kept["accept"], "*/*");
    }

    #[test]
    fn headers_with_a_meaning_of_their_own_cannot_be_forwarded() {
        for never in [
            "authorization",
            "x-forwarded-for",
            "x-ms-region",
            "te",
            "x-tollgate-region",
        ] {
            let name = HeaderName::from_static(never);
            assert!(check_forwardable(&name).is_err(), "{never}");
        }
        assert!(check_forwardable(&HeaderName::from_static("traceparent")).is_ok());
    }
}
