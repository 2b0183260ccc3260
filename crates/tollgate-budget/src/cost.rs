//! From a request to what is reserved for it.

use std::num::NonZeroU64;

use http::Extensions;
use tollgate_core::{ChatRequest, Cost, Fact, Model, Rejection, TokenBounds, TokenCounter};

use crate::{Limit, Units};

/// What to ask the store for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The surest figure first. What has a second is asked again with less if there is no room.
    pub(crate) first: Units,
    pub(crate) second: Option<Units>,
    /// What the call has cost once its prompt was read, whatever comes after.
    pub(crate) started: Units,
    /// Whether `started` already holds everything, outputs too.
    pub(crate) is_flat: bool,
}

impl Plan {
    /// The plan for a request; `limit` is the one that its tokens are measured by.
    pub(crate) fn of<C: TokenCounter>(
        extensions: &Extensions,
        limit: Limit,
        counter: &C,
        default_output: u64,
    ) -> Result<Self, Rejection> {
        // What somebody states goes before what can be concluded.
        if let Some(cost) = Cost::of(extensions) {
            let first = Units::new(cost.requests, cost.tokens).capped();
            return Ok(Self {
                first,
                second: None,
                started: first,
                is_flat: true,
            });
        }
        let chat = ChatRequest::require(extensions)?;
        let model;
        let model = match Model::of(extensions) {
            Some(model) => model,
            // Only with a key of the user's own; it is counted for this model, not keyed by it.
            None => {
                model = Model::new(chat.model());
                &model
            }
        };
        let limit = limit.tokens.map_or(u64::MAX, NonZeroU64::get);
        let bounds = chat_bounds(chat, model, counter, limit);
        let started = Units::new(1, bounds.estimate).capped();
        let with = |prompt: u64, output: u64| Units::new(1, prompt.saturating_add(output)).capped();

        let choices = u64::from(chat.choices().get());
        let plan = if let Some(cap) = chat.output_cap() {
            let output = cap.tokens.saturating_mul(choices);
            let (sure, guess) = (with(bounds.upper, output), with(bounds.estimate, output));
            Self {
                first: sure,
                second: (guess != sure).then_some(guess),
                started,
                is_flat: false,
            }
        } else {
            let ceiling = model.max_output_tokens().map_or(u64::MAX, u64::from);
            let output = default_output.min(ceiling).saturating_mul(choices);
            // An idle budget must admit a call that states no cap.
            let room = limit.saturating_sub(bounds.estimate);
            Self {
                first: with(bounds.estimate, output.min(limit / DEFAULT_SHARE).min(room)),
                second: None,
                started,
                is_flat: false,
            }
        };
        Ok(plan)
    }
}

/// The prompt's bounds; counted closer if they are further apart than a thousandth of the limit.
///
/// Where limits are wide, prompts are not worth counting: reserving a few tokens too many until
/// the call ends does no harm. Where limits are narrow, few calls fit, and few are counted.
fn chat_bounds<C: TokenCounter>(
    chat: &ChatRequest,
    model: &Model,
    counter: &C,
    limit: u64,
) -> TokenBounds {
    let bounds = counter.bounds(chat, model);
    if bounds.upper - bounds.lower <= limit / LOOSE_SHARE {
        return bounds;
    }
    // Another layer may have counted already; its count is kept only if it is closer than bounds.
    chat.prompt_tokens(|chat| counter.count(chat, model))
}

const LOOSE_SHARE: u64 = 1_000;
const DEFAULT_SHARE: u64 = 8;
