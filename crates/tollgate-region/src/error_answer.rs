//! What a caller sees of an upstream's error.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use tollgate_core::{Rejection, RejectionKind, UpstreamFault};

use crate::{
    envelope::{Envelope, names_the_vendor, speaks_of_tokens},
    target::Target,
    wait::{self, DAY, RETRY_AFTER_MS},
};

/// An upstream's error, read but not yet judged.
#[derive(Debug, Default)]
pub(crate) struct ErrorAnswer {
    status: StatusCode,
    envelope: Option<Envelope>,
    /// A body that is no error object speaks of tokens.
    speaks_of_tokens: bool,
    wait: Option<Duration>,
    should_retry: Option<bool>,
}

impl ErrorAnswer {
    /// An error of which the body is still unknown.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        Self {
            status,
            wait: wait::in_headers(headers),
            ..Self::default()
        }
    }

    /// An error that was found in an answer's first event.
    pub(crate) fn of_fault(fault: &UpstreamFault) -> Self {
        Self {
            status: fault.status,
            envelope: Some(Envelope::of_fault(fault)),
            wait: fault.retry_after,
            should_retry: fault.should_retry,
            ..Self::default()
        }
    }

    /// Adds the whole body. Of what is no error object, only what it says of rates is kept.
    pub(crate) fn with_body(mut self, body: &[u8]) -> Self {
        self.envelope = Envelope::parse(body);
        let text = match &self.envelope {
            Some(envelope) => envelope.message.as_deref(),
            None => {
                let text = std::str::from_utf8(body).ok();
                self.speaks_of_tokens = text.is_some_and(speaks_of_tokens);
                text
            }
        };
        if self.wait.is_none() {
            self.wait = text.and_then(wait::in_words);
        }
        self
    }

    /// Decides what the caller sees, and what the error says about the upstream.
    pub(crate) fn judge(self, target: &Target) -> Verdict {
        let Self {
            status,
            envelope,
            speaks_of_tokens,
            wait,
            should_retry,
        } = self;
        let is_silence = envelope.as_ref().is_some_and(Envelope::is_silence);
        let is_quota = envelope.as_ref().is_some_and(Envelope::is_quota);
        let (rejection, blame) = match status.as_u16() {
            400 | 413 | 422 => (callers_fault(status, envelope, target), Blame::Answered),
            401 | 403 => {
                let detail = detail(target, "refused its credentials", status);
                (no_access(detail), Blame::Answered)
            }
            402 => (no_quota(target, status), Blame::Busy(wait)),
            404 => (no_deployment(target, status), Blame::Upstream),
            408 => (
                Rejection::new(RejectionKind::UpstreamTimeout),
                Blame::Upstream,
            ),
            429 if is_quota => (no_quota(target, status), Blame::Busy(wait)),
            429 => {
                let is_too_large = envelope.as_ref().is_some_and(Envelope::is_too_large)
                    // What Azure says of such a call.
                    || wait.is_some_and(|wait| wait >= DAY);
                let is_about_tokens =
                    speaks_of_tokens || envelope.as_ref().is_some_and(Envelope::is_about_tokens);
                let rejection = rate_limit(is_about_tokens, wait);
                if is_too_large {
                    (rejection.with_should_retry(false), Blame::TooLarge)
                } else {
                    (rejection, Blame::Busy(wait))
                }
            }
            // The layer inside has waited for it: the upstream itself says 504 in other words.
            504 if is_silence => (
                Rejection::new(RejectionKind::UpstreamTimeout),
                Blame::Upstream,
            ),
            _ => {
                let is_servers = status.is_server_error();
                // Only for servers' errors does the text say something to a caller.
                let envelope = envelope.filter(|_| is_servers);
                let rejection = servers_fault(status, envelope, target);
                let blame = match wait {
                    Some(_) if status == 503 => Blame::Busy(wait),
                    _ if is_servers => Blame::Upstream,
                    _ => Blame::Answered,
                };
                (with_wait(rejection, wait, should_retry), blame)
            }
        };
        Verdict { rejection, blame }
    }
}

/// What an attempt's failure means to everyone.
pub(crate) struct Verdict {
    /// The answer, if this attempt is the last one.
    pub(crate) rejection: Rejection,
    pub(crate) blame: Blame,
}

impl Verdict {
    /// There are no credentials to send.
    pub(crate) fn no_credentials(target: &Target) -> Self {
        let Target {
            upstream, region, ..
        } = target;
        Self {
            rejection: no_access(format!(
                "there are no credentials for upstream `{upstream}` of region `{region}`"
            )),
            blame: Blame::Upstream,
        }
    }
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The request's, or the configuration's: another upstream would say the same, or trying it
    /// would hide a mistake of the operator's.
    Answered,
    /// Nobody's: the upstream has enough to do.
    Busy(Option<Duration>),
    /// The request's: it alone is larger than what this upstream may do in a minute. Another one
    /// may be able to, and this one is there for everybody else.
    TooLarge,
    /// Nothing can be said of it.
    Unknown,
    /// The upstream's.
    Upstream,
}

fn callers_fault(status: StatusCode, envelope: Option<Envelope>, target: &Target) -> Rejection {
    let envelope = envelope.map(|envelope| envelope.without(|text| target.is_betrayed_by(text)));
    let plain = Rejection::new(RejectionKind::InvalidRequest);
    reported(status, plain.error_type().to_owned(), &plain, envelope)
}

fn operators_fault(code: &'static str, message: &'static str) -> Rejection {
    answer(StatusCode::BAD_GATEWAY, SERVER, message).with_code(code)
}

fn no_access(detail: String) -> Rejection {
    operators_fault(
        "upstream_auth_failed",
        "The gateway is not allowed to use the model.",
    )
    .with_should_retry(false)
    .with_detail(detail)
}

fn no_deployment(target: &Target, status: StatusCode) -> Rejection {
    operators_fault(
        "upstream_deployment_not_found",
        "The model is not deployed where the gateway looks for it.",
    )
    .with_detail(detail(target, "does not know its deployment", status))
}

fn no_quota(target: &Target, status: StatusCode) -> Rejection {
    operators_fault(
        "upstream_quota_exhausted",
        "The gateway has no quota left for the model.",
    )
    .with_should_retry(false)
    .with_detail(detail(target, "has no quota left", status))
}

fn rate_limit(is_about_tokens: bool, wait: Option<Duration>) -> Rejection {
    let kind = if is_about_tokens {
        "tokens"
    } else {
        "requests"
    };
    let message = match wait {
        Some(wait) => Cow::Owned(format!(
            "Rate limit reached. Please try again in {}s.",
            wait::in_seconds(wait)
        )),
        None => Cow::Borrowed("Rate limit reached. Please try again later."),
    };
    let rejection =
        answer(StatusCode::TOO_MANY_REQUESTS, kind, message).with_code("rate_limit_exceeded");
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
        let plain = answer(status, SERVER, generic.message().to_owned());
        return match generic.code() {
            Some(code) => plain.with_code(code.to_owned()),
            None => plain,
        };
    };
    let mut envelope =
        envelope.without(|text| target.is_betrayed_by(text) || names_the_vendor(text));
    // Whatever the upstream calls it.
    envelope.error_type = None;
    reported(status, SERVER, &generic, Some(envelope))
}

/// What an error object says, and for what it does not say what is said in general.
fn reported(
    status: StatusCode,
    error_type: impl Into<Cow<'static, str>>,
    generic: &Rejection,
    envelope: Option<Envelope>,
) -> Rejection {
    let mut fault = UpstreamFault::new(status, error_type, generic.message().to_owned());
    if let Some(envelope) = envelope {
        fault.message = envelope.message.map_or(fault.message, Cow::Owned);
        fault.error_type = envelope.error_type.map_or(fault.error_type, Cow::Owned);
        fault.code = envelope.code.map(Cow::Owned);
        fault.param = envelope.param.map(Cow::Owned);
    }
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
        .with_header(RETRY_AFTER, HeaderValue::from(wait::in_seconds(wait)))
        .with_header(RETRY_AFTER_MS, HeaderValue::from(millis))
}

fn detail(target: &Target, what: &str, status: StatusCode) -> String {
    let Target {
        upstream, region, ..
    } = target;
    format!("upstream `{upstream}` of region `{region}` {what}: it answered {status}")
}

const SERVER: &str = "server_error";
const LONGEST_WORTHWHILE_WAIT: Duration = Duration::from_secs(120);
