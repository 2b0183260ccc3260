//! What one call costs in the end.

use std::sync::Arc;

use http::{Response, StatusCode};
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
        let status = refusal.map_or(response.status(), Rejection::status);
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

    /// Prompt and observed output: never less than the caller got.
    fn observed(&self) -> Units {
        let seen = self
            .usage
            .output_pieces()
            .max(self.usage.output_bytes() / 3);
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

impl<St: Store> Drop for OpenCall<St> {
    fn drop(&mut self) {
        self.end();
    }
}
