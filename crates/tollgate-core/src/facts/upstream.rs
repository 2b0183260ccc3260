use std::{borrow::Cow, time::Duration};

use http::StatusCode;

use super::Fact;

/// An upstream's failure that became known before anything was sent to the caller.
///
/// It rides in the extensions of an `Ok` response, which has been rendered as a
/// [`Rejection`](crate::Rejection) already. A layer outside that knows the upstreams may fail over
/// on the fault or map it; nobody else has to look. The texts are the upstream's: they must not name
/// its keys, hosts or deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamFault {
    /// The HTTP status that fits.
    pub status: StatusCode,
    /// OpenAI's `type`.
    pub error_type: Cow<'static, str>,
    /// OpenAI's `code`.
    pub code: Option<Cow<'static, str>>,
    /// OpenAI's `param`.
    pub param: Option<Cow<'static, str>>,
    /// OpenAI's `message`.
    pub message: Cow<'static, str>,
    /// When the upstream said to come back.
    pub retry_after: Option<Duration>,
    /// Whether a client should try again, where the status alone would mislead it.
    pub should_retry: Option<bool>,
}

impl UpstreamFault {
    /// A fault of this status, type and message; the rest unknown.
    #[must_use]
    pub fn new(
        status: StatusCode,
        error_type: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error_type: error_type.into(),
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
            should_retry: None,
        }
    }

    /// Sets OpenAI's `code`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Names the parameter at fault, OpenAI's `param`.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Sets when the upstream said to come back.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Sets whether a client should try again, where the status alone would mislead it.
    #[must_use]
    pub const fn with_should_retry(mut self, should_retry: bool) -> Self {
        self.should_retry = Some(should_retry);
        self
    }
}

/// What the configuration of an upstream says about the answers of one attempt.
///
/// Written by `UpstreamLayer` into each attempt's extensions, and read by the layers inside, above
/// all `SseLayer`, whose own settings hold where it is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptSettings {
    /// Whether streams are asked for their usage; some servers refuse `stream_options`.
    pub ask_usage: bool,
    /// The longest silence between two pieces of an answer; `None` leaves it to the layer.
    pub idle_timeout: Option<Duration>,
}

impl AttemptSettings {
    /// Asks for usage, and leaves the silence to the layer.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ask_usage: true,
            idle_timeout: None,
        }
    }

    /// Sets whether streams are asked for their usage.
    #[must_use]
    pub const fn ask_usage(mut self, ask: bool) -> Self {
        self.ask_usage = ask;
        self
    }

    /// Sets the longest silence between two pieces of an answer.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }
}

impl Default for AttemptSettings {
    fn default() -> Self {
        Self::new()
    }
}

impl Fact for AttemptSettings {
    const NAME: &'static str = "AttemptSettings";
    const WRITTEN_BY: &'static str = "UpstreamLayer";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rejection;

    #[test]
    fn what_a_fault_says_is_what_its_refusal_says() {
        let wait = Duration::from_secs(3);
        let fault = UpstreamFault::new(StatusCode::TOO_MANY_REQUESTS, "tokens", "Slower, please.")
            .with_code("rate_limit_exceeded")
            .with_param("messages")
            .with_retry_after(wait)
            .with_should_retry(false);
        let rejection = Rejection::from(&fault);
        assert_eq!(rejection.code(), Some("rate_limit_exceeded"));
        assert_eq!(rejection.without_code().code(), None);
        let rejection = Rejection::from(&fault);
        assert_eq!(rejection.param(), Some("messages"));
        assert_eq!(rejection.retry_after(), Some(wait));
        assert_eq!(rejection.should_retry(), Some(false));
    }
}
