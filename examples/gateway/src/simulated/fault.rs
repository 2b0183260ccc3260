//! Azure's errors, in the shapes in which they are seen on the wire.

use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::{json_response, script::Script};

/// An error answer of the simulated upstream.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    error: Value,
    retry_after: Option<HeaderValue>,
}

impl Fault {
    pub(super) fn access_denied() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            json!({
                "code": "401",
                "message": "Access denied due to invalid subscription key or wrong API endpoint. \
                            Make sure to provide a valid key for an active subscription and use a \
                            correct regional API endpoint for your resource.",
            }),
        )
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            json!({
                "message": message,
                "type": "invalid_request_error",
                "param": null,
                "code": null,
            }),
        )
    }

    pub(super) fn deployment_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            json!({
                "code": "DeploymentNotFound",
                "message": "The API deployment for this resource does not exist. If you created \
                            the deployment within the last 5 minutes, please wait a moment and \
                            try again.",
            }),
        )
    }

    pub(super) fn resource_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            json!({"code": "404", "message": "Resource not found"}),
        )
    }

    /// The error that `!status` asks for.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::content_filtered(),
            401 => Self::access_denied(),
            404 => Self::deployment_not_found(),
            429 => Self::rate_limited(),
            number => {
                let message = "The server had an error while processing your request. Sorry \
                               about that!";
                Self::new(
                    status,
                    json!({"code": number.to_string(), "message": message}),
                )
            }
        }
    }

    pub(super) fn into_response(self) -> Response<Script> {
        let mut response = json_response(self.status, &json!({"error": self.error}));
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert("retry-after", wait);
        }
        response
    }

    fn content_filtered() -> Self {
        let safe = json!({"filtered": false, "severity": "safe"});
        Self::new(
            StatusCode::BAD_REQUEST,
            json!({
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's \
                            content management policy. Please modify your prompt and retry.",
                "type": null,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {
                        "hate": safe,
                        "jailbreak": {"filtered": true, "detected": true},
                        "self_harm": safe,
                        "sexual": safe,
                        "violence": safe,
                    },
                },
            }),
        )
    }

    fn rate_limited() -> Self {
        let fault = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            json!({
                "code": "429",
                "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI \
                            API version 2024-10-21 have exceeded token rate limit of your current \
                            OpenAI S0 pricing tier. Please retry after 2 seconds.",
            }),
        );
        Self {
            retry_after: Some(HeaderValue::from_static("2")),
            ..fault
        }
    }

    fn new(status: StatusCode, error: Value) -> Self {
        Self {
            status,
            error,
            retry_after: None,
        }
    }
}
