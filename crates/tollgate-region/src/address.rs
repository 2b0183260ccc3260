//! Where an upstream's deployments are found.

use bytes::Bytes;
use http::{Uri, uri::Authority};

/// How an upstream is addressed.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Azure { api_version: String },
    AzureV1,
    OpenAi,
}

impl Kind {
    pub(crate) const fn is_azure(&self) -> bool {
        !matches!(self, Self::OpenAi)
    }

    /// The path and query of a deployment, or `None` if the API version is not one.
    pub(crate) fn path(&self, deployment: &str) -> Option<String> {
        match self {
            Self::Azure { api_version } => {
                let is_version = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
                if api_version.is_empty() || !api_version.bytes().all(is_version) {
                    return None;
                }
                let segment = path_segment(deployment);
                Some(format!(
                    "/openai/deployments/{segment}/chat/completions?api-version={api_version}"
                ))
            }
            Self::AzureV1 => Some("/openai/v1/chat/completions".to_owned()),
            Self::OpenAi => Some("/chat/completions".to_owned()),
        }
    }

    /// Whether its API is older than `max_completion_tokens` and `stream_options`, which Azure takes
    /// since 2024-09-01-preview.
    pub(crate) fn is_old(&self) -> bool {
        let Self::Azure { api_version } = self else {
            return false;
        };
        // Versions are dates; those that are none, such as `preview`, are new.
        api_version.starts_with(|c: char| c.is_ascii_digit()) && &**api_version < "2024-09-01"
    }

    /// The `model` that has to stand in the body; `None` where the path has the last word.
    pub(crate) fn model_json(&self, deployment: &str) -> Option<Bytes> {
        let in_body = !matches!(self, Self::Azure { .. });
        in_body.then(|| serde_json::Value::from(deployment).to_string().into())
    }
}

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

    /// The same text for two spellings of one address, and for two addresses of one Azure resource,
    /// which is in one place as a whole.
    pub(crate) fn place(&self) -> String {
        let host = self.host();
        // The root's dot makes no other host.
        let host = host.strip_suffix('.').unwrap_or(&host);
        if let Some((resource, domain)) = host.split_once('.') {
            let mut services = AZURE_SERVICES.iter();
            let cloud = services.find_map(|service| domain.strip_prefix(service));
            if let Some(cloud @ ("com" | "us" | "cn")) = cloud {
                return format!("{resource}.azure.{cloud}");
            }
        }
        let default = if self.scheme == "https" { 443 } else { 80 };
        let port = self.authority.port_u16().unwrap_or(default);
        format!("{host}:{port}{}", self.prefix)
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
fn path_segment(text: &str) -> String {
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

/// Under each of them a resource has the same name (Microsoft, "Custom subdomain names for Azure AI
/// services").
const AZURE_SERVICES: [&str; 3] = [
    "cognitiveservices.azure.",
    "openai.azure.",
    "services.ai.azure.",
];

const MAX_DEPLOYMENT_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{ConfigError, Region, Upstream};

    fn eu() -> Region {
        Region::new("eu").unwrap()
    }

    fn uri(upstream: Upstream) -> String {
        let targets = upstream.deployment("m", "a/b?c#d%é..").targets().unwrap();
        targets[0].1.uri.to_string()
    }

    #[test]
    fn addresses_of_all_kinds() {
        assert_eq!(
            uri(Upstream::azure(
                "a",
                eu(),
                "https://x.openai.azure.com/",
                "k"
            )),
            "https://x.openai.azure.com/openai/deployments/a%2Fb%3Fc%23d%25%C3%A9../chat/completions?api-version=2024-10-21"
        );
        assert_eq!(
            uri(Upstream::azure("a", eu(), "http://h:8080/front", "k")
                .api_version("2025-01-01-preview")),
            "http://h:8080/front/openai/deployments/a%2Fb%3Fc%23d%25%C3%A9../chat/completions?api-version=2025-01-01-preview"
        );
        assert_eq!(
            uri(Upstream::azure_v1(
                "a",
                eu(),
                "https://x.openai.azure.com",
                "k"
            )),
            "https://x.openai.azure.com/openai/v1/chat/completions"
        );
        assert_eq!(
            uri(Upstream::openai(
                "a",
                eu(),
                "https://eu.api.openai.com/v1/",
                "k"
            )),
            "https://eu.api.openai.com/v1/chat/completions"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_deployment_is_one_path_segment_whatever_its_name(name in "\\PC{1,40}|[./%?#&\\\\;:@ a]{1,12}") {
            let upstream = Upstream::azure("a", eu(), "https://h", "k").deployment("m", &*name);
            let Ok(targets) = upstream.targets() else {
                prop_assert!(name == "." || name == "..");
                return Ok(());
            };
            let uri = &targets[0].1.uri;
            prop_assert_eq!(uri.host(), Some("h"));
            prop_assert_eq!(uri.query(), Some("api-version=2024-10-21"));
            let segments: Vec<_> = uri.path().split('/').collect();
            prop_assert_eq!(segments.len(), 6);
            let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
            prop_assert!(segments[3].bytes().all(unreserved));
            prop_assert_eq!(decoded(segments[3]), name.as_bytes());
        }
    }

    fn decoded(segment: &str) -> Vec<u8> {
        let mut rest = segment.as_bytes();
        let mut decoded = Vec::new();
        while let [first, others @ ..] = rest {
            rest = others;
            if *first == b'%' {
                let (digits, others) = others.split_at(2);
                let digits = std::str::from_utf8(digits).unwrap();
                decoded.push(u8::from_str_radix(digits, 16).unwrap());
                rest = others;
            } else {
                decoded.push(*first);
            }
        }
        decoded
    }

    #[test]
    fn a_model_in_the_body_is_one_json_string() {
        let upstream = Upstream::openai("a", eu(), "http://h/v1", "k").deployment("m", "a\"},{é");
        let target = &upstream.targets().unwrap()[0].1;
        assert_eq!(
            target.model_json.as_deref(),
            Some("\"a\\\"},{é\"".as_bytes())
        );
    }

    #[test]
    fn urls_are_checked_and_never_shown() {
        for url in [
            "",
            "x.openai.azure.com",
            "/openai",
            "ftp://h",
            "https://",
            "https://user:hunter2@h",
            "https://h/?hunter2=1",
            "https://h/#hunter2",
            "https://h h/",
        ] {
            let upstream = Upstream::azure("a", eu(), url, "k").deployment("m", "d");
            let error = upstream.targets().unwrap_err();
            assert!(matches!(error, ConfigError::IllegalUrl { .. }), "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn deployments_that_cannot_be_one_segment_are_refused() {
        let long = "d".repeat(257);
        for deployment in ["", ".", "..", "a\n", "\0", &long] {
            let upstream = Upstream::azure("a", eu(), "http://h", "k").deployment("m", deployment);
            let error = upstream.targets().unwrap_err();
            assert!(matches!(error, ConfigError::IllegalDeployment { .. }));
        }
    }
}
