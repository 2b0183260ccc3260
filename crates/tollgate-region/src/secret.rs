use std::fmt;

use http::HeaderValue;

/// A key that cannot be printed.
///
/// It has no `Display`, its `Debug` shows nothing, and the header it becomes is marked sensitive.
///
/// ```
/// use tollgate_region::Secret;
///
/// assert_eq!(format!("{:?}", Secret::new("sk-upstream")), "Secret(..)");
/// ```
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides this text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The header value of these credentials, or `None` if the key is empty or not visible ASCII.
    pub(crate) fn header(&self, scheme: &str) -> Option<HeaderValue> {
        if self.0.is_empty() || !self.0.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let mut value = HeaderValue::from_str(&format!("{scheme}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(crate) fn occurs_in(&self, text: &str) -> bool {
        text.contains(&*self.0)
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
