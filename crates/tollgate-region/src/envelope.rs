use std::borrow::Cow;

use serde_json::Value;
use tollgate_core::UpstreamFault;

/// OpenAI's error object, as far as an upstream's error is one: it says something, or what it is
/// about.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) message: Option<String>,
    pub(crate) error_type: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
}

impl Envelope {
    pub(crate) fn of_fault(fault: &UpstreamFault) -> Self {
        let code = fault.code.clone().map(Cow::into_owned);
        Self {
            message: Some(fault.message.clone().into_owned()),
            error_type: Some(fault.error_type.clone().into_owned()),
            code: code.filter(|code| is_telling(code)),
            param: fault.param.clone().map(Cow::into_owned),
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        // As .NET writes it.
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let mut body: Value = serde_json::from_slice(body).ok()?;
        let error = body.get_mut("error")?;
        let text = |value: Option<&mut Value>| match value.map(Value::take) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let envelope = Self {
            message: text(error.get_mut("message")).filter(|message| !message.is_empty()),
            error_type: text(error.get_mut("type")).filter(|kind| !kind.is_empty()),
            code: text(error.get_mut("code")).filter(|code| is_telling(code)),
            param: text(error.get_mut("param")),
        };
        Some(envelope).filter(|envelope| envelope.message.is_some() || envelope.code.is_some())
    }

    pub(crate) fn is_quota(&self) -> bool {
        let texts = [&self.code, &self.error_type];
        let mut texts = texts.into_iter().flatten();
        texts.any(|text| text == "insufficient_quota")
    }

    pub(crate) fn is_about_tokens(&self) -> bool {
        self.error_type.as_deref() == Some("tokens")
            || self.message.as_deref().is_some_and(speaks_of_tokens)
    }

    /// Whether one request is larger than the quota, in OpenAI's words.
    pub(crate) fn is_too_large(&self) -> bool {
        let message = self.message.as_deref();
        message.is_some_and(|message| message.starts_with("Request too large"))
    }

    /// Whether the upstream never began to answer, as `SseLayer` tells it.
    pub(crate) fn is_silence(&self) -> bool {
        self.code.as_deref() == Some("upstream_timeout")
    }

    /// The same without the texts of which this is true.
    pub(crate) fn without(self, is_hidden: impl Fn(&str) -> bool) -> Self {
        let shown = |text: Option<String>| text.filter(|text| !is_hidden(text));
        Self {
            message: shown(self.message),
            error_type: shown(self.error_type),
            code: shown(self.code),
            param: shown(self.param),
        }
    }
}

/// Whether a rate limit counts tokens, in the words of both vendors.
pub(crate) fn speaks_of_tokens(text: &str) -> bool {
    const WORDS: [&str; 3] = ["token rate", "tokens per", "(tpm)"];
    let text = text.to_ascii_lowercase();
    WORDS.iter().any(|words| text.contains(words))
}

/// Whether a text is a vendor's own, or leads to it.
pub(crate) fn names_the_vendor(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    VENDORS.iter().any(|vendor| text.contains(vendor))
}

/// A code that says more than the status: the SDKs choke on numbers, and a number in quotes only
/// repeats the status.
fn is_telling(code: &str) -> bool {
    !code.is_empty() && !code.bytes().all(|b| b.is_ascii_digit())
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

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
    fn only_an_error_object_that_says_something_is_one() {
        for other in [
            "",
            "<html>",
            "null",
            "[]",
            r#"{"statusCode":401,"message":"m"}"#,
            r#"{"error":"m"}"#,
            r#"{"error":{"message":7}}"#,
            r#"{"error":{"message":"","code":"","type":"t","param":"p"}}"#,
            r#"{"error":{"message":"m"}"#,
            &"[".repeat(60_000),
        ] {
            assert!(Envelope::parse(other.as_bytes()).is_none(), "{other:.40}");
        }
        assert!(Envelope::parse(b"{\"error\":{\"message\":\"\xff\"}}").is_none());
        let odd = br#"{"error":{"message":"m","type":{},"code":7,"param":["a"]}}"#;
        let odd = Envelope::parse(odd).unwrap();
        assert!(odd.error_type.is_none() && odd.code.is_none() && odd.param.is_none());
        let silent = br#"{"error":{"message":null,"code":"content_filter","param":"prompt"}}"#;
        let silent = Envelope::parse(silent).unwrap();
        assert_eq!(silent.code.as_deref(), Some("content_filter"));
        assert!(silent.message.is_none() && silent.param.is_some());
        let marked = "\u{feff}{\"error\":{\"message\":\"m\"}}".as_bytes();
        assert!(Envelope::parse(marked).is_some());
    }
}
