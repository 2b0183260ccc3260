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
