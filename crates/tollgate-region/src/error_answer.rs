//! What a caller sees of an upstream's error.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tollgate_core::{Rejection, RejectionKind, UpstreamFault};

use crate::target::Target;

/// An upstream's error, read but not yet judged.
#[derive(Debug, Default)]
pub(crate) struct ErrorAnswer {
    status: StatusCode,
    envelope: Option<Envelope>,
    wait: Option<Duration>,
    should_retry: Option<bool>,
}

/// OpenAI's error object, as far as it is one.
#[derive(Debug, Default)]
struct Envelope {
    message: String,
    error_type: Option<String>,
    code: Option<String>,
    param: Option<String>,
}

impl ErrorAnswer {
    /// An error of which the body is still unknown.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        Self {
            status,
            wait: wait(headers),
            ..Self::default()
        }
    }

    /// An error that was found in an answer's first event.
    pub(crate) fn of_fault(fault: &UpstreamFault) -> Self {
        Self {
            status: fault.status,
            envelope: Some(Envelope {
                message: fault.message.clone().into_owned(),
                error_type: Some(fault.error_type.clone().into_owned()),
                code: fault
                    .code
                    .clone()
                    .map(Cow::into_owned)
                    .filter(|code| is_telling(code)),
                param: fault.param.clone().map(Cow::into_owned),
            }),
            wait: fault.retry_after,
            should_retry: fault.should_retry,
        }
    }

    /// Adds the whole body. What is no error object is forgotten.
    pub(crate) fn with_body(mut self, body: &[u8]) -> Self {
        self.envelope = Envelope::parse(body);
        if self.wait.is_none() {
            let message = self.envelope.as_ref().map(|envelope| &*envelope.message);
            self.wait = message.and_then(wait_in_words);
        }
        self
    }

    /// Decides what the caller sees, and what the error says about the upstream.
    pub(crate) fn judge(self, target: &Target) -> Verdict {
        let Self {
            status,
            wait,
            should_retry,
            ..
        } = self;
        let mut envelope = self.envelope;
        match status.as_u16() {
            400 | 413 | 422 => Verdict {
                rejection: callers_fault(status, envelope, target),
                blame: Blame::Caller,
            },
            401 | 403 => Verdict {
                rejection: operators_fault(
                    "upstream_auth_failed",
                    "The gateway is not allowed to use the model.",
                )
                .with_should_retry(false)
                .with_detail(detail(target, "refused its credentials", status)),
                blame: Blame::Operator,
            },
            404 => Verdict {
                rejection: operators_fault(
                    "upstream_deployment_not_found",
                    "The model is not deployed where the gateway looks for it.",
                )
                .with_detail(detail(
                    target,
                    "does not know its deployment",
                    status,
                )),
                blame: Blame::Upstream,
            },
            408 => Verdict {
                rejection: Rejection::new(RejectionKind::UpstreamTimeout),
                blame: Blame::Upstream,
            },
            402 | 429 if status == 402 || envelope.as_ref().is_some_and(Envelope::is_quota) => {
                Verdict {
                    rejection: operators_fault(
                        "upstream_quota_exhausted",
                        "The gateway has no quota left for the model.",
                    )
                    .with_should_retry(false)
                    .with_detail(detail(target, "has no quota left", status)),
                    blame: Blame::Busy(wait),
                }
            }
            429 => Verdict {
                rejection: rate_limit(envelope.as_ref(), wait),
                blame: Blame::Busy(wait),
            },
            _ => {
                // Only for servers' errors does the text say something to a caller.
                envelope = envelope.filter(|_| status.is_server_error());
                let blame = match wait {
                    Some(_) if status == 503 => Blame::Busy(wait),
                    _ if status.is_server_error() => Blame::Upstream,
                    _ => Blame::Operator,
                };
                Verdict {
                    rejection: with_wait(
                        servers_fault(status, envelope, target),
                        wait,
                        should_retry,
                    ),
                    blame,
                }
            }
        }
    }
}

/// What an attempt's failure means to everyone.
pub(crate) struct Verdict {
    /// The answer, if this attempt is the last one.
    pub(crate) rejection: Rejection,
    pub(crate) blame: Blame,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The request's: another upstream would say the same.
    Caller,
    /// The configuration's: another upstream may do better, but trying there would hide it.
    Operator,
    /// Nobody's: the upstream has enough to do.
    Busy(Option<Duration>),
    /// The upstream's.
    Upstream,
}

impl Envelope {
    fn parse(body: &[u8]) -> Option<Self> {
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

    fn is_quota(&self) -> bool {
        let quota = |text: &Option<String>| text.as_deref() == Some("insufficient_quota");
        quota(&self.code) || quota(&self.error_type)
    }

    fn is_about_tokens(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.error_type.as_deref() == Some("tokens")
            || ["token rate", "tokens per", "(tpm)"]
                .iter()
                .any(|words| message.contains(words))
    }

    fn betrays(&self, target: &Target) -> bool {
        let texts = [
            Some(&self.message),
            self.error_type.as_ref(),
            self.code.as_ref(),
            self.param.as_ref(),
        ];
        texts
            .into_iter()
            .flatten()
            .any(|text| target.is_betrayed_by(text))
    }

    fn names_the_vendor(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        VENDORS.iter().any(|vendor| message.contains(vendor))
    }
}

fn callers_fault(status: StatusCode, envelope: Option<Envelope>, target: &Target) -> Rejection {
    let envelope = envelope.filter(|envelope| !envelope.betrays(target));
    let Some(envelope) = envelope else {
        let plain = Rejection::new(RejectionKind::InvalidRequest);
        return answer(
            status,
            plain.error_type().to_owned(),
            plain.message().to_owned(),
        );
    };
    let kind = envelope.error_type.unwrap_or_else(|| INVALID.to_owned());
    let mut fault = UpstreamFault::new(status, kind, envelope.message);
    fault.code = envelope.code.map(Cow::Owned);
    fault.param = envelope.param.map(Cow::Owned);
    Rejection::from(&fault)
}

fn operators_fault(code: &'static str, message: &'static str) -> Rejection {
    answer(StatusCode::BAD_GATEWAY, SERVER, message).with_code(Cow::Borrowed(code))
}

fn rate_limit(envelope: Option<&Envelope>, wait: Option<Duration>) -> Rejection {
    let kind = match envelope.is_some_and(Envelope::is_about_tokens) {
        true => "tokens",
        false => "requests",
    };
    let message = match wait {
        Some(wait) => Cow::Owned(format!(
            "Rate limit reached. Please try again in {}s.",
            seconds(wait)
        )),
        None => Cow::Borrowed("Rate limit reached. Please try again later."),
    };
    let rejection = answer(StatusCode::TOO_MANY_REQUESTS, kind, message)
        .with_code(Cow::Borrowed("rate_limit_exceeded"));
    with_wait(rejection, wait, None)
}

fn servers_fault(status: StatusCode, envelope: Option<Envelope>, target: &Target) -> Rejection {
    let status = match status {
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => status,
        _ => StatusCode::BAD_GATEWAY,
    };
    let generic = match status {
        StatusCode::SERVICE_UNAVAILABLE => RejectionKind::UpstreamUnavailable,
        _ => RejectionKind::UpstreamFailed,
    };
    let generic = Rejection::new(generic);
    let Some(envelope) = envelope else {
        let code = generic.code().map(|code| Cow::Owned(code.to_owned()));
        return answer(status, SERVER, generic.message().to_owned()).with_code(code);
    };
    if envelope.betrays(target) || envelope.names_the_vendor() {
        return answer(status, SERVER, generic.message().to_owned());
    }
    let mut fault = UpstreamFault::new(status, SERVER, envelope.message);
    fault.code = envelope.code.map(Cow::Owned);
    fault.param = envelope.param.map(Cow::Owned);
    Rejection::from(&fault)
}

fn answer(
    status: StatusCode,
    error_type: impl Into<Cow<'static, str>>,
    message: impl Into<Cow<'static, str>>,
) -> Rejection {
    Rejection::from(&UpstreamFault::new(status, error_type, message))
}

/// Puts the upstream's own wait on an answer: unlike a wait of the gateway's, it is not made to
/// fit what clients honour.
fn with_wait(
    rejection: Rejection,
    wait: Option<Duration>,
    should_retry: Option<bool>,
) -> Rejection {
    let should_retry = match wait {
        Some(wait) if wait > LONGEST_WORTHWHILE_WAIT => Some(false),
        _ => should_retry,
    };
    let rejection = match should_retry {
        Some(should_retry) => rejection.with_should_retry(should_retry),
        None => rejection,
    };
    let Some(wait) = wait else { return rejection };
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    rejection
        .with_header(RETRY_AFTER, HeaderValue::from(seconds(wait)))
        .with_header(RETRY_AFTER_MS, HeaderValue::from(millis))
}

fn detail(target: &Target, what: &str, status: StatusCode) -> String {
    let Target {
        upstream, region, ..
    } = target;
    format!("upstream `{upstream}` of region `{region}` {what}: it answered {status}")
}

/// A code that says more than the status: the SDKs choke on numbers, and a number in quotes only
/// repeats the status.
fn is_telling(code: &str) -> bool {
    !code.is_empty() && !code.bytes().all(|b| b.is_ascii_digit())
}

/// The wait in the headers, the finer one first. Dates are not understood; no upstream sends them.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number(&RETRY_AFTER_MS).map(|ms| ms / 1_000.0);
    let seconds = seconds.or_else(|| number(&RETRY_AFTER))?;
    bounded(seconds)
}

/// Azure's "Please retry after 7 seconds.", for fronts that lose the header.
fn wait_in_words(message: &str) -> Option<Duration> {
    let (_, after) = message.split_once("retry after ")?;
    let (number, rest) = after.split_once(' ')?;
    let in_seconds = rest.starts_with("second");
    bounded(number.parse().ok().filter(|_| in_seconds)?)
}

fn bounded(seconds: f64) -> Option<Duration> {
    let seconds = Some(seconds).filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::from_secs_f64(seconds.min(LONGEST_WAIT)))
}

fn seconds(wait: Duration) -> u64 {
    let up = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(up).max(1)
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const LONGEST_WORTHWHILE_WAIT: Duration = Duration::from_secs(120);
/// A day, in seconds.
const LONGEST_WAIT: f64 = 86_400.0;
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

    fn wait_of(name: &'static str, value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        wait(&headers)
    }

    #[test]
    fn waits_are_numbers_within_reason() {
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(wait_of("retry-after", "7"), secs(7));
        assert_eq!(wait_of("retry-after", "0"), secs(0));
        assert_eq!(wait_of("retry-after", "1e9"), secs(86_400));
        assert_eq!(wait_of("retry-after", "inf"), secs(86_400));
        assert_eq!(
            wait_of("retry-after-ms", "182"),
            Some(Duration::from_millis(182))
        );
        for odd in ["-1", "NaN", "", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(wait_of("retry-after", odd), None, "{odd}");
        }
        assert_eq!(wait_in_words("Please retry after 26 seconds. Or"), secs(26));
        assert_eq!(wait_in_words("retry after lunch with seconds"), None);
        assert_eq!(wait_in_words("retry after"), None);
    }

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
