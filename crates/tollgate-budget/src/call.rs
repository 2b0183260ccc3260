//! What one call costs in the end.

use http::{Response, StatusCode};
use tollgate_core::{Rejection, UsageSlot};

use crate::{Reservation, Store, Units, cost::Plan};

/// Owns a call's reservation from the grant to the end of its answer, and settles it by what is
/// known when that end comes. It ends once, whatever ends it.
pub(crate) struct OpenCall<St: Store> {
    reservation: Option<Reservation<St>>,
    usage: UsageSlot,
    started: Units,
    is_flat: bool,
}

impl<St: Store> OpenCall<St> {
    pub(crate) fn new(reservation: Reservation<St>, plan: Plan, usage: UsageSlot) -> Self {
        Self {
            reservation: Some(reservation),
            usage,
            started: plan.started,
            is_flat: plan.is_flat,
        }
    }

    /// The inner service failed: nobody got anything.
    pub(crate) fn failed(mut self) {
        self.settle(self.usage_or(Units::ZERO));
    }

    /// An answer has begun: it is over at once unless it is a success, whose body goes on.
    ///
    /// | answer | requests | tokens |
    /// |---|---|---|
    /// | 408, 504 | 1 | those of the prompt: it was sent |
    /// | 429 and 5xx | 0 | 0: nobody read the prompt |
    /// | other 4xx and 3xx | 1 | 0 |
    pub(crate) fn answered<R>(&mut self, response: &Response<R>) {
        // Under gRPC a refusal of an inner layer is a 200.
        let refusal = response.extensions().get::<Rejection>();
        let status = refusal.map_or(response.status(), Rejection::status);
        let charged = match status {
            _ if status.is_success() || status.is_informational() => return,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => self.started,
            StatusCode::TOO_MANY_REQUESTS => Units::ZERO,
            _ if status.is_server_error() => Units::ZERO,
            _ => Units::new(self.started.requests, 0),
        };
        self.settle(self.usage_or(charged));
    }

    /// Whether the answer's body still has to tell how the call ends.
    pub(crate) fn is_open(&self) -> bool {
        self.reservation.is_some()
    }

    /// The answer has ended, one way or another.
    pub(crate) fn end(&mut self) {
        if self.is_open() {
            self.settle(self.usage_or(self.observed()));
        }
    }

    /// Prompt and observed output: never less than the caller got.
    fn observed(&self) -> Units {
        let seen = self
            .usage
            .output_pieces()
            .max(self.usage.output_bytes() / 3);
        let tokens = if self.is_flat {
            self.started.tokens.max(seen)
        } else {
            self.started.tokens.saturating_add(seen)
        };
        Units::new(self.started.requests, tokens)
    }

    /// The recorded usage, which must not be less than the output that was seen: some upstreams
    /// report zero.
    fn usage_or(&self, other: Units) -> Units {
        self.usage.usage().map_or(other, |usage| {
            let tokens = usage.total_tokens.max(self.usage.output_pieces());
            Units::new(self.started.requests, tokens)
        })
    }

    fn settle(&mut self, actual: Units) {
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(actual.capped());
        }
    }
}

impl<St: Store> Drop for OpenCall<St> {
    fn drop(&mut self) {
        self.end();
    }
}
