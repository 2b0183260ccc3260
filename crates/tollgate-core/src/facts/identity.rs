use std::{cell::RefCell, cmp::Ordering, fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::Fact;

/// Who is calling: the tenant that budgets, allow-lists and bills belong to.
///
/// Written by `ApiKeyLayer` or by your own authentication. Never derived from anything that the
/// client may choose freely.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workspace(Arc<str>);

impl Workspace {
    /// A workspace of this name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Fact for Workspace {
    const NAME: &'static str = "Workspace";
    const WRITTEN_BY: &'static str = "ApiKeyLayer, or your own authentication,";
}

impl fmt::Display for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a call must be answered, for instance `eu`.
///
/// Written by `RegionLayer` from the path or the credential, never from a header or body that the
/// client controls. One pointer wide; its name is a legal header value by construction.
#[derive(Clone)]
pub struct Region(Arc<RegionName>);

struct RegionName {
    text: Box<str>,
    header: HeaderValue,
}

impl Region {
    /// A region of this name, or `None` unless the name is 1 to 64 ASCII letters, digits, `-`,
    /// `_` and `.`; `"eu".parse::<Region>()` says the same in an error.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let legal = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !legal {
            return None;
        }
        Some(Self(Arc::new(RegionName {
            text: name.into(),
            header: HeaderValue::from_str(name).ok()?,
        })))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The name as a header value; cloning it is cheap.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.0.header
    }
}

impl Fact for Region {
    const NAME: &'static str = "Region";
    const WRITTEN_BY: &'static str = "RegionLayer";
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Region {}

impl std::hash::Hash for Region {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Region {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Region {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl FromStr for Region {
    type Err = IllegalRegion;

    fn from_str(name: &str) -> Result<Self, IllegalRegion> {
        Self::new(name).ok_or(IllegalRegion(()))
    }
}

/// A text is no [`Region`]'s name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalRegion(());

impl fmt::Display for IllegalRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a region's name is 1 to 64 ASCII letters, digits, `-`, `_` and `.`")
    }
}

impl std::error::Error for IllegalRegion {}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Region").field(&self.as_str()).finish()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of one call, printed as `x-request-id` on its answer.
///
/// Minted from 128 random bits by the first layer that finds none; one pointer wide. A header of the client's is not
/// trusted; a host that assigns ids itself inserts [`RequestId::from_header`] in its own
/// middleware.
///
/// ```
/// use http::Request;
/// use tollgate_core::RequestId;
/// use tower::ServiceBuilder;
///
/// // Behind a proxy that sets the header itself, and outside all Tollgate layers: each of them
/// // would already have minted an id.
/// let stack = ServiceBuilder::new().map_request(|mut request: Request<()>| {
///     if let Some(id) = RequestId::from_header(request.headers()) {
///         request.extensions_mut().insert(id);
///     }
///     request
/// });
/// # let _ = stack;
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<HeaderValue>);

impl RequestId {
    /// A fresh id: `req_` and 32 hexadecimal digits.
    ///
    /// # Panics
    ///
    /// If the operating system has no source of randomness.
    #[must_use]
    pub fn mint() -> Self {
        let text = FRESH.with_borrow_mut(Fresh::next);
        let header = HeaderValue::from_maybe_shared(text);
        Self(Arc::new(
            header.expect("hexadecimal digits are legal in a header"),
        ))
    }

    /// The `x-request-id` that a host has set or vouches for, if it is visible ASCII of at most
    /// 128 bytes.
    #[must_use]
    pub fn from_header(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get("x-request-id")?;
        (1..=128).contains(&value.len()).then_some(())?;
        value.to_str().ok()?;
        Some(Self(Arc::new(value.clone())))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header value; cloning it is cheap.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.0
    }
}

impl Fact for RequestId {
    const NAME: &'static str = "RequestId";
    const WRITTEN_BY: &'static str = "any Tollgate layer";
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

thread_local! {
    static FRESH: RefCell<Fresh> = const { RefCell::new(Fresh(Bytes::new())) };
}

/// The next ids, one behind the other: asking the operating system for randomness takes longer than
/// all else here, and ids that share their memory are not allocated one by one.
struct Fresh(Bytes);

impl Fresh {
    fn next(&mut self) -> Bytes {
        if self.0.is_empty() {
            let mut random = [[0; 16]; IDS_AT_ONCE];
            getrandom::fill(random.as_flattened_mut())
                .expect("the operating system provides randomness");
            let mut text = Vec::with_capacity(IDS_AT_ONCE * ID_BYTES);
            for random in random {
                text.extend_from_slice(b"req_");
                for byte in random {
                    text.push(HEX[usize::from(byte >> 4)]);
                    text.push(HEX[usize::from(byte & 15)]);
                }
            }
            self.0 = text.into();
        }
        self.0.split_to(ID_BYTES)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const ID_BYTES: usize = 4 + 32;
/// An id that is kept keeps the memory of all.
const IDS_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_distinct_and_legal() {
        let ids: Vec<RequestId> = (0..100).map(|_| RequestId::mint()).collect();
        for id in &ids {
            assert_eq!(id.as_str().len(), 36);
            assert!(id.as_str().starts_with("req_"));
        }
        let distinct: HashSet<&RequestId> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn only_plain_ids_are_taken_over() {
        let mut headers = HeaderMap::new();
        assert!(RequestId::from_header(&headers).is_none());
        headers.insert("x-request-id", HeaderValue::from_static("abc-1"));
        assert_eq!(RequestId::from_header(&headers).unwrap().as_str(), "abc-1");
        headers.insert("x-request-id", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(RequestId::from_header(&headers).is_none());
        headers.insert(
            "x-request-id",
            HeaderValue::from_str(&"a".repeat(129)).unwrap(),
        );
        assert!(RequestId::from_header(&headers).is_none());
    }

    #[test]
    fn region_names_are_one_plain_path_segment() {
        for legal in ["eu", "us-east_1", "EU.2"] {
            assert_eq!(Region::new(legal).unwrap().as_str(), legal);
            assert_eq!(legal.parse(), Ok(Region::new(legal).unwrap()));
        }
        for illegal in ["", "e u", "eu/", "é", "eu\n", &"e".repeat(65)] {
            assert!(Region::new(illegal).is_none(), "{illegal:?}");
            assert!(illegal.parse::<Region>().is_err(), "{illegal:?}");
        }
        assert!(Region::new("eu") < Region::new("us"));
    }
}
