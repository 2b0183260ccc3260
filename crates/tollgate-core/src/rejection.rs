use std::{borrow::Cow, fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::UpstreamFault;

/// Why a request was refused, in one opaque value.
///
/// The [`kind`](Self::kind) alone decides HTTP status, OpenAI error type and code, and gRPC
/// status; the setters add what only the refusing layer knows. A refusal travels to the caller as
/// an `Ok` response and stays in that response's extensions, so that outer layers can tell it from
/// an answer of the inner service.
///
/// One pointer wide: it can sit in a future or a `Result` at no cost to the accepted path.
///
/// ```
/// use tollgate_core::{GrpcCode, Rejection, RejectionKind};
///
/// let refusal = Rejection::new(RejectionKind::InvalidRequest)
///     .with_message("'seed' must not be negative.")
///     .with_param("seed")
///     .with_code("seed_out_of_range")
///     // For the operator's log, never for the caller.
///     .with_detail("the house model takes seeds from 0");
/// assert_eq!(refusal.status(), 400);
/// assert_eq!(refusal.error_type(), "invalid_request_error");
/// assert_eq!(refusal.grpc_code(), GrpcCode::InvalidArgument);
/// ```
#[derive(Clone)]
pub struct Rejection(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: RejectionKind,
    status: StatusCode,
    error_type: Cow<'static, str>,
    code: Option<Cow<'static, str>>,
    param: Option<Cow<'static, str>>,
    message: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    should_retry: Option<bool>,
    headers: HeaderMap,
}

impl Rejection {
    /// A refusal with the status, type, code and message of its kind.
    #[must_use]
    pub fn new(kind: RejectionKind) -> Self {
        let (status, error_type, code, message) = kind.openai();
        Self(Box::new(Inner {
            kind,
            status,
            error_type: Cow::Borrowed(error_type),
            code: code.map(Cow::Borrowed),
            param: None,
            message: Cow::Borrowed(message),
            detail: None,
            retry_after: None,
            should_retry: None,
            headers: HeaderMap::new(),
        }))
    }

    /// A fact that this layer needs is absent: the stack is built wrong.
    ///
    /// The caller sees a plain 500; `fact` and `written_by`, the layer to add, go to the log.
    #[must_use]
    pub fn missing_fact(fact: &'static str, written_by: &'static str) -> Self {
        Self::new(RejectionKind::MissingFact).with_detail(format!(
            "the fact `{fact}` is missing from the request: put {written_by} outside this layer"
        ))
    }

    /// Replaces the text that the caller reads. Never put request content, keys, URLs or
    /// deployment names in it.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = message.into();
        self
    }

    /// Names the parameter at fault, OpenAI's `param`.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Replaces OpenAI's `code`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// Takes OpenAI's `code` away: it is printed as `null`.
    #[must_use]
    pub fn without_code(mut self) -> Self {
        self.0.code = None;
        self
    }

    /// Replaces OpenAI's `type`, for instance `tokens` in place of `requests`.
    #[must_use]
    pub fn with_type(mut self, error_type: impl Into<Cow<'static, str>>) -> Self {
        self.0.error_type = error_type.into();
        self
    }

    /// What the operator should know and the caller must not: it is only ever logged.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// When the same request could succeed; rendered as `retry-after` and `retry-after-ms`.
    ///
    /// Both headers stay below a minute, because the Node clients ignore longer waits; name a
    /// longer wait in the message.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Sets `x-should-retry`, which the OpenAI SDKs obey over their own table of statuses.
    #[must_use]
    pub fn with_should_retry(mut self, should_retry: bool) -> Self {
        self.0.should_retry = Some(should_retry);
        self
    }

    /// Adds a response header, such as `allow` on a 405.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The gRPC status.
    #[must_use]
    pub fn grpc_code(&self) -> GrpcCode {
        self.0.kind.grpc_code(self.0.status)
    }

    /// OpenAI's `message`.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// OpenAI's `type`.
    #[must_use]
    pub fn error_type(&self) -> &str {
        &self.0.error_type
    }

    /// OpenAI's `param`.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// OpenAI's `code`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What only the operator may read.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// When the same request could succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether clients should retry, where the status alone would mislead them.
    #[must_use]
    pub fn should_retry(&self) -> Option<bool> {
        self.0.should_retry
    }

    /// Further response headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }
}

impl From<&UpstreamFault> for Rejection {
    /// The generic rendering of an upstream's failure, for stacks without a layer that maps it.
    fn from(fault: &UpstreamFault) -> Self {
        let mut rejection = Self::new(RejectionKind::UpstreamFault)
            .with_type(fault.error_type.clone())
            .with_message(fault.message.clone());
        rejection.0.status = fault.status;
        rejection.0.code.clone_from(&fault.code);
        rejection.0.param.clone_from(&fault.param);
        rejection.0.retry_after = fault.retry_after;
        rejection.0.should_retry = fault.should_retry;
        rejection
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The message may hold the scalar that OpenAI echoes, so it stays out of logs.
        f.debug_struct("Rejection")
            .field("kind", &self.0.kind)
            .field("status", &self.0.status.as_u16())
            .field("code", &self.0.code)
            .field("detail", &self.0.detail)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request refused: {:?}", self.0.kind)
    }
}

impl std::error::Error for Rejection {}

/// The cause of a refusal; the only place where statuses, OpenAI types and gRPC codes are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The caller sent its body too slowly: 408.
    BodyTimeout,
    /// The body is larger than the cap: 413 `request_too_large`.
    BodyTooLarge,
    /// The budget has no room now, but will: 429 `rate_limit_exceeded`.
    BudgetExceeded,
    /// The request is larger than the whole budget: 429 `rate_limit_exceeded`, not to be retried.
    BudgetImpossible,
    /// The budget's store cannot decide: 503.
    BudgetUnavailable,
    /// The headers are too many or too long: 431.
    HeadersTooLarge,
    /// The request breaks a rule of the API: 400.
    InvalidRequest,
    /// The resource does not know this method: 405.
    MethodNotAllowed,
    /// The stack is built wrong, see [`Rejection::missing_fact`]: 500.
    MissingFact,
    /// The model is unknown or not for this caller, which look alike: 404 `model_not_found`.
    ModelNotFound,
    /// Nothing is served at this path, for instance an unknown region: 404.
    NotFound,
    /// Who asks is known, or need not be, and may not: 403.
    PermissionDenied,
    /// The API key is missing or wrong: 401.
    Unauthenticated,
    /// The body is not in a media type that is served: 415 `unsupported_media_type`.
    UnsupportedMediaType,
    /// The request's target is too long: 414.
    UriTooLong,
    /// The upstream gave an answer that cannot be passed on: 502 `upstream_unavailable`.
    UpstreamFailed,
    /// An [`UpstreamFault`], with the status that it names.
    UpstreamFault,
    /// The upstream did not answer in time: 504 `upstream_timeout`.
    UpstreamTimeout,
    /// No upstream can take the request now: 503 `upstream_unavailable`.
    UpstreamUnavailable,
}

impl RejectionKind {
    fn openai(self) -> (StatusCode, &'static str, Option<&'static str>, &'static str) {
        const INVALID: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        const GENERIC: &str =
            "The server had an error while processing your request. Sorry about that!";
        match self {
            Self::BodyTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                SERVER,
                None,
                "The request body did not arrive in time.",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                INVALID,
                Some("request_too_large"),
                "The request body is too large.",
            ),
            Self::BudgetExceeded => (
                StatusCode::TOO_MANY_REQUESTS,
                "requests",
                Some("rate_limit_exceeded"),
                "Rate limit reached. Please try again later.",
            ),
            Self::BudgetImpossible => (
                StatusCode::TOO_MANY_REQUESTS,
                "tokens",
                Some("rate_limit_exceeded"),
                "Request too large. The input or output tokens must be reduced in order to run \
                 successfully.",
            ),
            Self::BudgetUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                SERVER,
                None,
                "The rate limiter is unavailable. Please try again later.",
            ),
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                INVALID,
                None,
                "The request has too many headers, or they are too long.",
            ),
            Self::InvalidRequest => (
                StatusCode::BAD_REQUEST,
                INVALID,
                None,
                "The request is invalid.",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                INVALID,
                None,
                "Method not allowed. (HINT: Perhaps you meant to use a different HTTP method?)",
            ),
            Self::MissingFact => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, None, GENERIC),
            Self::ModelNotFound => (
                StatusCode::NOT_FOUND,
                INVALID,
                Some("model_not_found"),
                "The model does not exist or you do not have access to it.",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, INVALID, None, "Invalid URL."),
            Self::PermissionDenied => (
                StatusCode::FORBIDDEN,
                INVALID,
                None,
                "You are not allowed to make this request.",
            ),
            Self::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                INVALID,
                Some("invalid_api_key"),
                "Incorrect API key provided.",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                INVALID,
                Some("unsupported_media_type"),
                "The content type is not supported: send application/json.",
            ),
            Self::UriTooLong => (
                StatusCode::URI_TOO_LONG,
                INVALID,
                None,
                "The request's URL is too long.",
            ),
            Self::UpstreamFailed => (
                StatusCode::BAD_GATEWAY,
                SERVER,
                Some("upstream_unavailable"),
                GENERIC,
            ),
            Self::UpstreamFault => (StatusCode::BAD_GATEWAY, SERVER, None, GENERIC),
            Self::UpstreamTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                SERVER,
                Some("upstream_timeout"),
                "The model did not answer in time. Please try again later.",
            ),
            Self::UpstreamUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                SERVER,
                Some("upstream_unavailable"),
                "The engine is currently overloaded, please try again later.",
            ),
        }
    }

    fn grpc_code(self, status: StatusCode) -> GrpcCode {
        match self {
            Self::BodyTimeout | Self::UpstreamTimeout => GrpcCode::DeadlineExceeded,
            Self::BodyTooLarge | Self::BudgetExceeded => GrpcCode::ResourceExhausted,
            Self::BudgetImpossible
            | Self::HeadersTooLarge
            | Self::InvalidRequest
            | Self::UnsupportedMediaType
            | Self::UriTooLong => GrpcCode::InvalidArgument,
            Self::BudgetUnavailable | Self::UpstreamFailed | Self::UpstreamUnavailable => {
                GrpcCode::Unavailable
            }
            Self::MethodNotAllowed | Self::NotFound => GrpcCode::Unimplemented,
            Self::MissingFact => GrpcCode::Internal,
            Self::ModelNotFound => GrpcCode::NotFound,
            Self::PermissionDenied => GrpcCode::PermissionDenied,
            Self::Unauthenticated => GrpcCode::Unauthenticated,
            Self::UpstreamFault => match status.as_u16() {
                400 | 413 | 415 | 422 => GrpcCode::InvalidArgument,
                404 => GrpcCode::NotFound,
                408 | 504 => GrpcCode::DeadlineExceeded,
                429 => GrpcCode::ResourceExhausted,
                500 => GrpcCode::Internal,
                _ => GrpcCode::Unavailable,
            },
        }
    }
}

/// The gRPC status codes that refusals use, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum GrpcCode {
    /// 3
    InvalidArgument = 3,
    /// 4
    DeadlineExceeded = 4,
    /// 5
    NotFound = 5,
    /// 7
    PermissionDenied = 7,
    /// 8
    ResourceExhausted = 8,
    /// 12
    Unimplemented = 12,
    /// 13
    Internal = 13,
    /// 14
    Unavailable = 14,
    /// 16
    Unauthenticated = 16,
}
