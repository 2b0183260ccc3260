//! From a request to what is reserved for it.

use std::num::NonZeroU64;

use http::Extensions;
use tollgate_core::{ChatRequest, Cost, Fact, Model, Rejection, TokenBounds, TokenCounter};

use crate::Units;

/// What to ask the store for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The surest figure first. What has a second is asked again with less if there is no room,
    /// and with the prompt [counted](Plan::count) if it can be.
    pub(crate) first: Units,
    pub(crate) second: Option<Units>,
    /// What the call has cost once its prompt was read, whatever comes after.
    pub(crate) started: Units,
    pub(crate) output: Output,
}

/// What is known of the output's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// It is in the figure that somebody stated for the whole call.
    Included,
    /// The caller stated a cap.
    Stated,
    /// This many tokens are assumed for each answer.
    Assumed { each: u64, choices: u64 },
}

impl Plan {
    /// The plan for a request. `limit` is the narrowest on tokens, and `assume` says what is
    /// reserved for the output of a call that states no cap.
    pub(crate) fn of<C: TokenCounter>(
        extensions: &Extensions,
        limit: Option<NonZeroU64>,
        counter: &C,
        assume: impl FnOnce() -> u64,
    ) -> Result<Self, Rejection> {
        // What somebody states goes before what can be concluded.
        if let Some(cost) = Cost::of(extensions) {
            let first = Units::new(cost.requests, cost.tokens).capped();
            return Ok(Self {
                first,
                second: None,
                started: first,
                output: Output::Included,
            });
        }
        let chat = ChatRequest::require(extensions)?;
        let spelled;
        let model = match Model::of(extensions) {
            Some(model) => model,
            // Only with a key of the user's own: this one counts, and is no key.
            None => {
                spelled = Model::new(chat.model());
                &spelled
            }
        };
        let limit = limit.map_or(u64::MAX, NonZeroU64::get);
        let prompt = prompt_bounds(chat, model, counter, limit);
        let call = |prompt: u64, output: u64| Units::new(1, prompt.saturating_add(output)).capped();
        let choices = u64::from(chat.choices().get());
        let (first, second, output) = if let Some(cap) = chat.output_cap() {
            let most = cap.tokens.saturating_mul(choices);
            let (sure, guess) = (call(prompt.upper, most), call(prompt.estimate, most));
            (sure, (guess != sure).then_some(guess), Output::Stated)
        } else {
            let ceiling = model.max_output_tokens().map_or(u64::MAX, u64::from);
            // An idle budget must admit a call that states no cap.
            let room = limit.saturating_sub(prompt.estimate);
            let share = room.min(limit / DEFAULT_SHARE) / choices;
            let each = assume().min(ceiling).min(share);
            let most = each.saturating_mul(choices);
            let output = Output::Assumed { each, choices };
            (call(prompt.estimate, most), None, output)
        };
        Ok(Self {
            first,
            second,
            started: call(prompt.estimate, 0),
            output,
        })
    }

    /// What to ask for when the surest figure does not fit, if that would be less: the prompt's
    /// count, or its estimate where the counter knows no better.
    pub(crate) fn count<C: TokenCounter>(
        &mut self,
        extensions: &Extensions,
        counter: &C,
    ) -> Option<Units> {
        let guess = self.second.take()?;
        let (Some(chat), Some(model)) = (ChatRequest::of(extensions), Model::of(extensions)) else {
            return Some(guess);
        };
        let prompt = chat.prompt_tokens(|chat| counter.count(chat, model));
        let output = guess.tokens.saturating_sub(self.started.tokens);
        self.started = Units::new(1, prompt.estimate).capped();
        Some(Units::new(1, prompt.estimate.saturating_add(output)).capped())
    }
}

/// The prompt's bounds; counted closer if they are further apart than a thousandth of the limit.
///
/// Where limits are wide, prompts are not worth counting: reserving a few tokens too many until
/// the call ends does no harm. Where limits are narrow, few calls fit, and few are counted.
fn prompt_bounds<C: TokenCounter>(
    chat: &ChatRequest,
    model: &Model,
    counter: &C,
    limit: u64,
) -> TokenBounds {
    let bounds = counter.bounds(chat, model);
    if bounds.upper.saturating_sub(bounds.lower) <= limit / LOOSE_SHARE {
        return bounds;
    }
    // Another layer may have counted already; its count is kept only if it is closer than bounds.
    chat.prompt_tokens(|chat| counter.count(chat, model))
}

const LOOSE_SHARE: u64 = 1_000;
const DEFAULT_SHARE: u64 = 8;
