use std::borrow::Cow;

use serde_json::Value;
use tollgate_core::UpstreamFault;

use crate::target::Target;

/// OpenAI's error object, as far as an upstream's error is one.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) message: String,
    pub(crate) error_type: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
}

impl Envelope {
    pub(crate) fn of_fault(fault: &UpstreamFault) -> Self {
        let code = fault.code.clone().map(Cow::into_owned);
        Self {
            message: fault.message.clone().into_owned(),
            error_type: Some(fault.error_type.clone().into_owned()),
            code: code.filter(|code| is_telling(code)),
            param: fault.param.clone().map(Cow::into_owned),
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut body: Value = serde_json::from_slice(body).ok()?;
        let error = body.get_mut("error")?;
        let text = |value: Option<&mut Value>| match value.map(Value::take) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Some(Self {
            message: text(error.get_mut("message"))?,
            error_type: text(error.get_mut("type")).filter(|kind| !kind.is_empty()),
            code: text(error.get_mut("code")).filter(|code| is_telling(code)),
            param: text(error.get_mut("param")),
        })
    }

    pub(crate) fn is_quota(&self) -> bool {
        let texts = [&self.code, &self.error_type];
        let mut texts = texts.into_iter().flatten();
        texts.any(|text| text == "insufficient_quota")
    }

    pub(crate) fn is_about_tokens(&self) -> bool {
        const WORDS: [&str; 3] = ["token rate", "tokens per", "(tpm)"];
        let message = self.message.to_ascii_lowercase();
        let is_type = self.error_type.as_deref() == Some("tokens");
        is_type || WORDS.iter().any(|words| message.contains(words))
    }

    /// Whether one request is larger than the quota, in OpenAI's words.
    pub(crate) fn is_too_large(&self) -> bool {
        self.message.starts_with("Request too large")
    }

    /// Whether the upstream never began to answer, as `SseLayer` tells it.
    pub(crate) fn is_silence(&self) -> bool {
        self.code.as_deref() == Some("upstream_timeout")
    }

    pub(crate) fn betrays(&self, target: &Target) -> bool {
        let more = [&self.error_type, &self.code, &self.param];
        let mut texts = more.into_iter().flatten().chain([&self.message]);
        texts.any(|text| target.is_betrayed_by(text))
    }

    pub(crate) fn names_the_vendor(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        VENDORS.iter().any(|vendor| message.contains(vendor))
    }
}

/// A code that says more than the status: the SDKs choke on numbers, and a number in quotes only
/// repeats the status.
fn is_telling(code: &str) -> bool {
    !code.is_empty() && !code.bytes().all(|b| b.is_ascii_digit())
}

const VENDORS: [&str; 9] = [
    "apim",
    "azure",
    "cloudflare",
    "cognitive",
    "http://",
    "https://",
    "microsoft",
    "nginx",
    "openai",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_object_with_a_message_is_one() {
        for other in [
            "",
            "<html>",
            "null",
            "[]",
            r#"{"statusCode":401,"message":"m"}"#,
            r#"{"error":"m"}"#,
            r#"{"error":{"message":7}}"#,
            r#"{"error":{"message":"m"}"#,
            &"[".repeat(60_000),
        ] {
            assert!(Envelope::parse(other.as_bytes()).is_none(), "{other:.40}");
        }
        assert!(Envelope::parse(b"{\"error\":{\"message\":\"\xff\"}}").is_none());
        let odd = br#"{"error":{"message":"m","type":{},"code":7,"param":["a"]}}"#;
        let odd = Envelope::parse(odd).unwrap();
        assert!(odd.error_type.is_none() && odd.code.is_none() && odd.param.is_none());
    }
}
