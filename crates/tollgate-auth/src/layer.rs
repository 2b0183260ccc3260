use std::fmt;

use http::{
    HeaderValue,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
    request::Parts,
};
use tollgate_core::{
    Always, DefaultRender, Gate, GateLayer, Gated, Matcher, Rejection, RejectionKind, Render,
};
use tower_layer::Layer;

use crate::{ApiKeys, KeyRing, keys::MAX_KEY_BYTES};

/// Puts API-key authentication in front of a service. See the [crate docs](crate).
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct ApiKeyLayer<K = ApiKeys, M = Always, R = DefaultRender> {
    gates: GateLayer<ApiKeyGate<K>, M, R>,
}

impl<K: KeyRing> ApiKeyLayer<K> {
    /// Admits the holders of these keys. The ring is cloned with each service, so it should be
    /// cheap to clone, as [`ApiKeys`] is.
    pub fn new(keys: K) -> Self {
        Self {
            gates: GateLayer::new(ApiKeyGate { keys }),
        }
    }
}

impl<K, M, R> ApiKeyLayer<K, M, R> {
    /// Asks for a key only where this matches; other requests pass untouched, without a
    /// [`Workspace`](crate::Workspace).
    pub fn when<M2: Matcher>(self, matcher: M2) -> ApiKeyLayer<K, M2, R> {
        ApiKeyLayer {
            gates: self.gates.when(matcher),
        }
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> ApiKeyLayer<K, M, R2> {
        ApiKeyLayer {
            gates: self.gates.render(render),
        }
    }
}

impl<S, K, M, R> Layer<S> for ApiKeyLayer<K, M, R>
where
    K: Clone,
    M: Clone,
    R: Clone,
{
    type Service = Gated<S, ApiKeyGate<K>, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.gates.layer(inner)
    }
}

impl<K: fmt::Debug, M, R> fmt::Debug for ApiKeyLayer<K, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyLayer").finish_non_exhaustive()
    }
}

/// The decision that [`ApiKeyLayer`] puts in front of a service.
#[derive(Clone, Copy, Debug)]
pub struct ApiKeyGate<K> {
    keys: K,
}

impl<K: KeyRing> Gate for ApiKeyGate<K> {
    fn admit(&self, head: &mut Parts) -> Result<(), Rejection> {
        hide_credentials(head);
        let mut values = head.headers.get_all(AUTHORIZATION).iter();
        let Some(credentials) = values.next() else {
            return Err(no_key());
        };
        // Which of several a later reader would take is anybody's guess.
        if values.next().is_some() {
            return Err(wrong_key());
        }
        let key = bearer(credentials.as_bytes()).ok_or_else(no_key)?;
        let workspace = match key.len() {
            ..=MAX_KEY_BYTES => self.keys.workspace(key),
            _ => None,
        };
        head.extensions.insert(workspace.ok_or_else(wrong_key)?);
        Ok(())
    }
}

fn hide_credentials(head: &mut Parts) {
    if let http::header::Entry::Occupied(mut values) = head.headers.entry(AUTHORIZATION) {
        for value in values.iter_mut() {
            value.set_sensitive(true);
        }
    }
}

/// The token of RFC 6750's `Bearer` scheme; as in RFC 9110, the scheme's case does not matter.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = credentials.split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

fn no_key() -> Rejection {
    wrong_key().without_code().with_message(
        "You didn't provide an API key. You need to provide your API key in an Authorization \
             header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
    )
}

// RFC 9110 wants a challenge with every 401.
fn wrong_key() -> Rejection {
    Rejection::new(RejectionKind::Unauthenticated)
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        for (credentials, token) in [
            (&b"Bearer a"[..], Some(&b"a"[..])),
            (b"bearer a", Some(b"a")),
            (b"BEARER   a b ", Some(b"a b")),
            (b"Bearer \xff", Some(b"\xff")),
            (b"Bearer ", None),
            (b"Bearer    ", None),
            (b"Bearer", None),
            (b"Bearera", None),
            (b"Basic YTpi", None),
            (b"sk-acme-1", None),
            (b"", None),
        ] {
            assert_eq!(bearer(credentials), token, "{credentials:?}");
        }
    }
}
