use std::{env, fmt, sync::Arc};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::ConfigError;

/// A key or a token that cannot be printed.
///
/// It has no `Display`, its `Debug` shows nothing, and the header it becomes is marked sensitive.
/// One pointer wide; clones share the text.
///
/// ```
/// use tollgate_region::Secret;
///
/// assert_eq!(format!("{:?}", Secret::new("sk-upstream")), "Secret(..)");
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Inner>);

struct Inner {
    text: Box<str>,
    /// Made once, because every attempt sends one; `None` if the text cannot be sent.
    headers: Option<Headers>,
}

struct Headers {
    /// A token has none: it is never sent as a key.
    key: Option<HeaderValue>,
    bearer: HeaderValue,
}

impl Secret {
    /// An API key: Azure reads it from `api-key`, OpenAI as a bearer token.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self::hide(text.into(), false)
    }

    /// A token, for instance Entra's: every kind of upstream gets it in `authorization`, as a
    /// bearer token.
    pub fn token(text: impl Into<Box<str>>) -> Self {
        Self::hide(text.into(), true)
    }

    /// The API key in an environment variable, without the space around it.
    ///
    /// # Errors
    ///
    /// If the variable is unset, empty, or not UTF-8.
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        let text = env::var(variable).unwrap_or_default();
        match text.trim() {
            "" => Err(ConfigError::MissingVariable {
                variable: variable.to_owned(),
            }),
            text => Ok(Self::new(text)),
        }
    }

    fn hide(text: Box<str>, is_token: bool) -> Self {
        let headers = Headers::new(&text, is_token);
        Self(Arc::new(Inner { text, headers }))
    }

    /// The header that shows this secret to an upstream, or `None` if it is empty or not visible
    /// ASCII.
    pub(crate) fn header(&self, is_azure: bool) -> Option<(HeaderName, HeaderValue)> {
        let headers = self.0.headers.as_ref()?;
        Some(match &headers.key {
            Some(key) if is_azure => (HeaderName::from_static("api-key"), key.clone()),
            _ => (AUTHORIZATION, headers.bearer.clone()),
        })
    }

    pub(crate) fn occurs_in(&self, text: &str) -> bool {
        text.contains(&*self.0.text)
    }
}

impl Headers {
    fn new(text: &str, is_token: bool) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let sensitive = |text: &str| {
            let mut value = HeaderValue::from_str(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        Some(Self {
            key: sensitive(text).filter(|_| !is_token),
            bearer: sensitive(&format!("Bearer {text}"))?,
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}
