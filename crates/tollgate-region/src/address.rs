use http::{Uri, uri::Authority};

/// Where an upstream's paths begin.
pub(crate) struct BaseUrl {
    scheme: &'static str,
    authority: Authority,
    prefix: String,
}

impl BaseUrl {
    pub(crate) fn parse(url: &str) -> Option<Self> {
        // `Uri` drops a fragment without a word.
        if url.contains('#') {
            return None;
        }
        let uri: Uri = url.parse().ok()?;
        let scheme = match uri.scheme_str()? {
            "http" => "http",
            "https" => "https",
            _ => return None,
        };
        let authority = uri.authority()?.clone();
        if authority.as_str().contains('@') || authority.host().is_empty() || uri.query().is_some()
        {
            return None;
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Some(Self {
            scheme,
            authority,
            prefix,
        })
    }

    /// The host in lower case.
    pub(crate) fn host(&self) -> String {
        self.authority.host().to_ascii_lowercase()
    }

    /// The same text for two spellings of one address.
    pub(crate) fn place(&self) -> String {
        let default = if self.scheme == "https" { 443 } else { 80 };
        let port = self.authority.port_u16().unwrap_or(default);
        format!("{}:{port}{}", self.host(), self.prefix)
    }

    pub(crate) fn join(&self, path: &str) -> Option<Uri> {
        let path_and_query = format!("{}{path}", self.prefix);
        Uri::builder()
            .scheme(self.scheme)
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
            .ok()
    }
}

pub(crate) fn is_deployment(name: &str) -> bool {
    (1..=MAX_DEPLOYMENT_BYTES).contains(&name.len())
        && !name.chars().any(char::is_control)
        && name != "."
        && name != ".."
}

/// One path segment that decodes to this text: all but RFC 3986's unreserved characters encoded.
pub(crate) fn path_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

const MAX_DEPLOYMENT_BYTES: usize = 256;
