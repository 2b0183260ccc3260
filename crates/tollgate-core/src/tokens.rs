use std::{iter::Sum, sync::Arc};

use crate::{ChatRequest, InputKind, Model, TokenInputs};

/// Counts the tokens of a prompt.
///
/// Layers ask for bounds first, because they often decide without counting. Implementations must
/// bound their work by the size of the request and must not block.
///
/// ```
/// use tollgate_core::{ChatRequest, Model, TokenBounds, TokenCounter};
///
/// /// For a model that reads bytes: each is a token.
/// struct Bytewise;
///
/// impl TokenCounter for Bytewise {
///     fn bounds(&self, request: &ChatRequest, _: &Model) -> TokenBounds {
///         let inputs = request.inputs();
///         let (plain, escaped) = (inputs.plain_bytes(), inputs.escaped_bytes());
///         // What JSON escapes is shorter than it is written.
///         TokenBounds::new(plain, plain + escaped, plain + escaped)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    note = "a counter is a type that implements `TokenCounter::bounds`, such as `ByteRule`, or the \
            `Estimator` and the `ExactCounter` of `tollgate-tokens`"
)]
pub trait TokenCounter {
    /// Bounds and an estimate of the prompt's tokens for this model.
    fn bounds(&self, request: &ChatRequest, model: &Model) -> TokenBounds;

    /// The closest that this counter comes to the true number, for a decision that the bounds
    /// leave open; exact if `lower == upper`.
    ///
    /// It may cost far more than [`bounds`](Self::bounds), up to a cap that the implementation
    /// documents. By default it is the bounds.
    fn count(&self, request: &ChatRequest, model: &Model) -> TokenBounds {
        self.bounds(request, model)
    }
}

impl<C: TokenCounter + ?Sized> TokenCounter for Arc<C> {
    fn bounds(&self, request: &ChatRequest, model: &Model) -> TokenBounds {
        (**self).bounds(request, model)
    }

    fn count(&self, request: &ChatRequest, model: &Model) -> TokenBounds {
        (**self).count(request, model)
    }
}

/// What is known about a prompt's number of tokens: `lower <= true <= upper`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenBounds {
    /// It has at least this many.
    pub lower: u64,
    /// The best guess.
    pub estimate: u64,
    /// It has at most this many.
    pub upper: u64,
}

impl TokenBounds {
    /// Bounds around an estimate, which is moved between them if need be.
    #[must_use]
    pub fn new(lower: u64, estimate: u64, upper: u64) -> Self {
        let upper = upper.max(lower);
        Self {
            lower,
            estimate: estimate.clamp(lower, upper),
            upper,
        }
    }

    /// A count that is exact.
    #[must_use]
    pub const fn exact(tokens: u64) -> Self {
        Self {
            lower: tokens,
            estimate: tokens,
            upper: tokens,
        }
    }
}

/// Of parts of a prompt. What would overflow stays at the most there is.
impl Sum for TokenBounds {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::exact(0), |sum, part| {
            Self::new(
                sum.lower.saturating_add(part.lower),
                sum.estimate.saturating_add(part.estimate),
                sum.upper.saturating_add(part.upper),
            )
        })
    }
}

/// The byte rule: no vocabulary, no work, and never more than a small factor off.
///
/// A token of the `cl100k_base` and `o200k_base` vocabularies has 1 to 128 bytes. English has
/// about four bytes to a token and Chinese about three, so a third of the bytes errs high for
/// both. A message adds at most [`MESSAGE_OVERHEAD`](Self::MESSAGE_OVERHEAD) tokens of framing and
/// the answer's priming [`PRIMING`](Self::PRIMING) more, as published in the OpenAI cookbook.
///
/// Images are charged [`IMAGE_UPPER`](Self::IMAGE_UPPER) and other parts
/// [`OPAQUE_PART`](Self::OPAQUE_PART): their bytes are never counted as text. Tools, functions and
/// response formats are not shown to the model as they stand: twice their bytes bound them.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByteRule;

impl ByteRule {
    /// Tokens of framing for each message.
    pub const MESSAGE_OVERHEAD: u64 = 4;
    /// Tokens that open the answer.
    pub const PRIMING: u64 = 3;
    /// Tokens for an image of which nothing is known: a large one at high detail for gpt-4o, 85 +
    /// 8 × 170.
    pub const IMAGE_UPPER: u64 = 1_445;
    /// Tokens for an image at low detail for gpt-4o.
    pub const IMAGE_LOWER: u64 = 85;
    /// Tokens for audio and files.
    pub const OPAQUE_PART: u64 = 1_000;

    /// Bounds of the texts and the framing alone.
    #[must_use]
    pub fn text(inputs: &TokenInputs) -> TokenBounds {
        let framing = u64::from(inputs.messages()) * Self::MESSAGE_OVERHEAD + Self::PRIMING;
        let bytes = inputs.plain_bytes().saturating_add(inputs.escaped_bytes());
        let (mut json_bytes, mut json_framing) = (0_u64, 0_u64);
        for input in inputs.texts() {
            let framing = match input.kind {
                InputKind::Schema | InputKind::ToolChoice => {
                    json_bytes = json_bytes.saturating_add(input.text.len() as u64);
                    SCHEMA_FRAMING
                }
                InputKind::ToolCall => CALL_FRAMING,
                _ => continue,
            };
            json_framing = json_framing.saturating_add(framing);
        }
        // An escape makes six bytes of at least one; schemas are certain of nothing.
        let fewest_bytes = inputs.plain_bytes().saturating_sub(json_bytes);
        let fewest_bytes = fewest_bytes.saturating_add(inputs.escaped_bytes() / 6);
        TokenBounds::new(
            Self::PRIMING + fewest_bytes / 128,
            framing.saturating_add(bytes.div_ceil(3)),
            framing
                .saturating_add(bytes)
                .saturating_add(json_bytes)
                .saturating_add(json_framing),
        )
    }
}

// No rendering is known that takes more.
const SCHEMA_FRAMING: u64 = 64;
const CALL_FRAMING: u64 = 8;

impl TokenCounter for ByteRule {
    fn bounds(&self, request: &ChatRequest, _model: &Model) -> TokenBounds {
        let inputs = request.inputs();
        let text = Self::text(inputs);
        let images = inputs.images().len() as u64;
        let opaque = u64::from(inputs.opaque_parts()) * Self::OPAQUE_PART;
        TokenBounds::new(
            text.lower.saturating_add(images * Self::IMAGE_LOWER),
            text.estimate
                .saturating_add(images * Self::IMAGE_UPPER)
                .saturating_add(opaque),
            text.upper
                .saturating_add(images * Self::IMAGE_UPPER)
                .saturating_add(opaque),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageDetail, ImageInput};

    #[test]
    fn bounds_hold_for_known_counts() {
        // Measured by OpenAI's tokenizer: one user message "hello world" is 9 tokens.
        let request = ChatRequest::builder("gpt-4o")
            .message()
            .text(InputKind::Role, "user", false)
            .text(InputKind::Content, "hello world", false)
            .build();
        let bounds = ByteRule.bounds(&request, &Model::new("gpt-4o"));
        assert!(bounds.lower <= 9 && 9 <= bounds.upper, "{bounds:?}");
        assert!((9..=18).contains(&bounds.estimate), "{bounds:?}");
    }

    #[test]
    fn a_picture_is_not_text() {
        let url = vec![b'A'; 5 << 20];
        let request = ChatRequest::builder("gpt-4o")
            .message()
            .image(ImageInput::new(url, ImageDetail::High))
            .build();
        let bounds = ByteRule.bounds(&request, &Model::new("gpt-4o"));
        assert_eq!(bounds.upper, 4 + 3 + 1_445);
    }

    #[test]
    fn a_function_may_cost_more_than_its_bytes() {
        // Measured by OpenAI: 31 tokens, of which 8 are the message.
        let request = ChatRequest::builder("gpt-4")
            .message()
            .text(InputKind::Role, "user", false)
            .text(InputKind::Content, "hello", false)
            .text(InputKind::Schema, r#"{"name":"foo"}"#, false)
            .build();
        let bounds = ByteRule.bounds(&request, &Model::new("gpt-4"));
        assert!(bounds.lower <= 31 && 31 <= bounds.upper, "{bounds:?}");

        // A megabyte of blanks between two brackets is no token for certain.
        let blank = format!("[{}]", " ".repeat(1 << 20));
        let request = ChatRequest::builder("gpt-4").text(InputKind::Schema, blank, false);
        let bounds = ByteRule.bounds(&request.build(), &Model::new("gpt-4"));
        assert_eq!(bounds.lower, 3);
    }

    #[test]
    fn the_largest_request_does_not_overflow() {
        assert_eq!(TokenBounds::new(5, 1, 2), TokenBounds::exact(5));
        let bounds = TokenBounds::new(1, u64::MAX, 7);
        assert_eq!(bounds.estimate, 7);
    }
}
