//! What one call costs in the end.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use tollgate_core::{Rejection, UsageSlot};

use crate::{
    Ending, Key, Observe, Reservation, Store, Units,
    cost::{Output, Plan},
    crowd::Permit,
    outputs::Outputs,
};

/// Owns a call's reservation from the grant to the end of its answer, and settles it by what is
/// known when that end comes. It ends once, whatever ends it.
pub(crate) struct OpenCall<St: Store> {
    open: Option<Open<St>>,
    usage: UsageSlot,
    reserved: Units,
    started: Units,
    output: Output,
    /// Bytes of the answer that were passed on.
    passed: u64,
}

struct Open<St: Store> {
    reservation: Reservation<St>,
    ends: Ends,
}

/// Who else takes part in a call's end.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) observer: Option<(Arc<dyn Observe>, Key<'static>)>,
    pub(crate) learner: Option<Learner>,
    pub(crate) permit: Option<Permit>,
}

/// Who learns how long the answer was.
pub(crate) struct Learner {
    pub(crate) outputs: Arc<Outputs>,
    pub(crate) key: u64,
    /// The upstream was told not to say more than is assumed.
    pub(crate) is_capped: bool,
}

impl<St: Store> OpenCall<St> {
    pub(crate) fn new(
        reservation: Reservation<St>,
        reserved: Units,
        plan: Plan,
        usage: UsageSlot,
        ends: Ends,
    ) -> Self {
        Self {
            open: Some(Open { reservation, ends }),
            usage,
            reserved,
            started: plan.started,
            output: plan.output,
            passed: 0,
        }
    }

    /// The inner service failed: nobody got anything.
    pub(crate) fn failed(mut self) {
        self.settle(|_| Units::ZERO);
    }

    /// An answer has begun: the call is over at once unless it is a success, whose body goes on.
    pub(crate) fn answered<R>(&mut self, response: &Response<R>) {
        // Under gRPC a refusal of an inner layer is a 200.
        let refusal = response.extensions().get::<Rejection>();
        let stated = refusal.map(Rejection::status);
        let stated = stated.or_else(|| grpc_status(response.headers()));
        self.judge(stated.unwrap_or(response.status()));
    }

    /// A frame of the answer goes by.
    pub(crate) fn passes(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.passed = self.passed.saturating_add(data.len() as u64);
        } else if self.passed == 0 {
            // Some gRPC servers fail in trailers although nothing came before them.
            if let Some(status) = frame.trailers_ref().and_then(grpc_status) {
                self.judge(status);
            }
        }
    }

    fn judge(&mut self, status: StatusCode) {
        if status.is_success() || status.is_informational() {
            return;
        }
        self.settle(|call| match status {
            // It was sent, and may have been read.
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => call.started,
            StatusCode::TOO_MANY_REQUESTS => Units::ZERO,
            _ if status.is_server_error() => Units::ZERO,
            _ => Units::new(call.started.requests, 0),
        });
    }

    /// Whether the answer's body still has to tell how the call ends.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The answer has ended, one way or another.
    pub(crate) fn end(&mut self) {
        self.settle(Self::observed);
    }

    /// Prompt and observed output: never less than the caller got, as far as somebody counts it. If
    /// nobody does, what the answer's bytes may hold, but for that no more than was reserved: most of
    /// an answer's bytes are not the model's.
    fn observed(&self) -> Units {
        let seen = if self.usage.is_watched() {
            let bytes = self.usage.output_bytes();
            self.usage.output_pieces().max(bytes / BYTES_OF_TOKEN)
        } else {
            let room = self.reserved.saturating_sub(self.started);
            room.tokens.min(self.passed / BYTES_OF_TOKEN)
        };
        let tokens = match self.output {
            Output::Included => self.started.tokens.max(seen),
            _ => self.started.tokens.saturating_add(seen),
        };
        Units::new(self.started.requests, tokens)
    }

    /// Settles by the usage if it was recorded, otherwise by what `unknown` says.
    fn settle(&mut self, unknown: impl FnOnce(&Self) -> Units) {
        let Some(Open { reservation, ends }) = self.open.take() else {
            return;
        };
        let Ends {
            observer,
            learner,
            permit,
        } = ends;
        let usage = self.usage.usage();
        let actual = match usage {
            // Some upstreams report zero, and some report as they go, so that a caller who leaves
            // has got more since: no usage is less than the output that was seen.
            Some(usage) => {
                let seen = self.usage.output_pieces();
                let seen = usage.prompt_tokens.saturating_add(seen);
                Units::new(self.started.requests, usage.total_tokens.max(seen))
            }
            None => unknown(self),
        };
        let actual = actual.capped();
        let settled = reservation.settle(actual);
        if let (Some(learner), Some(usage)) = (learner, usage) {
            if let Output::Assumed { each, choices } = self.output {
                learner.learn(usage.completion_tokens.div_ceil(choices), each);
            }
        }
        drop(permit);
        if let Some((observer, key)) = observer {
            let ending = Ending {
                reserved: self.reserved,
                actual,
                usage,
                estimate: self.started.tokens,
                settled,
            };
            observer.ended(&key, &ending);
        }
    }
}

impl Learner {
    fn learn(&self, tokens: u64, assumed: u64) {
        // An answer that was cut would have been longer. Were it learnt as it is, no answer could
        // ever again be longer than those before it.
        let is_cut = self.is_capped && tokens >= assumed;
        let tokens = if is_cut {
            tokens.saturating_mul(2)
        } else {
            tokens
        };
        self.outputs.learn(self.key, tokens);
    }
}

/// What a failed gRPC call would have been under HTTP.
fn grpc_status(headers: &HeaderMap) -> Option<StatusCode> {
    Some(match headers.get("grpc-status")?.as_bytes() {
        b"0" => return None,
        // CANCELLED, DEADLINE_EXCEEDED
        b"1" | b"4" => StatusCode::GATEWAY_TIMEOUT,
        // RESOURCE_EXHAUSTED
        b"8" => StatusCode::TOO_MANY_REQUESTS,
        // UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS
        b"2" | b"13" | b"14" | b"15" => StatusCode::BAD_GATEWAY,
        _ => StatusCode::BAD_REQUEST,
    })
}

/// English has about four bytes to a token, Chinese three.
const BYTES_OF_TOKEN: u64 = 3;

impl<St: Store> Drop for OpenCall<St> {
    fn drop(&mut self) {
        self.end();
    }
}
