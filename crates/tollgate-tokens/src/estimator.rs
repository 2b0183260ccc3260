use std::{collections::BTreeMap, fmt, sync::Arc};

use tollgate_core::{
    ByteRule, ChatRequest, ImageInput, InputKind, Model, TokenBounds, TokenCounter, TokenInputs,
};

use crate::{
    Encoding, ImageRule, images,
    scan::Scan,
    schemas,
    texts::{Survey, UNKNOWN},
};

/// Bounds and a calibrated estimate, without a vocabulary. See the [crate docs](crate).
///
/// Cloning is cheap.
#[derive(Clone)]
pub struct Estimator(Arc<Settings>);

#[derive(Clone)]
struct Settings {
    byte_cap: usize,
    image_rules: BTreeMap<Box<str>, ImageRule>,
    unsized_image_tokens: Option<u64>,
}

impl Estimator {
    /// With the published rules and the default cap.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Settings {
            byte_cap: DEFAULT_BYTE_CAP,
            image_rules: BTreeMap::new(),
            unsized_image_tokens: None,
        }))
    }

    /// Sets how many bytes of text are looked at for one request. Default: 256 KiB, which takes
    /// about half a millisecond. What is beyond is taken to be like what was seen.
    #[must_use]
    pub fn byte_cap(mut self, bytes: usize) -> Self {
        self.settings().byte_cap = bytes;
        self
    }

    /// Sets what images cost on the model of this name, the configured one. Default: the rule that
    /// OpenAI publishes for models whose names begin like this one, or gpt-4o's.
    #[must_use]
    pub fn image_rule(mut self, model: impl Into<Box<str>>, rule: ImageRule) -> Self {
        self.settings().image_rules.insert(model.into(), rule);
        self
    }

    /// Sets the estimate for an image whose size is unknown: one on the web, or in a format that
    /// is not read. Default: the most that an image can cost on the model.
    ///
    /// The most is little on gpt-4o (1,445) and much on gpt-4o-mini (48,169), where one picture
    /// may outweigh a minute's budget. The upper bound remains the most.
    #[must_use]
    pub fn unsized_image_tokens(mut self, tokens: u64) -> Self {
        self.settings().unsized_image_tokens = Some(tokens);
        self
    }

    /// Bounds and an estimate of one text's tokens.
    ///
    /// The estimate weighs what a text is made of: words by their length and letters, digits,
    /// punctuation, characters by their script. Its error on texts of 200 bytes to 2 KB that the
    /// weights were not fitted to, in the median and in the worst of a hundred:
    ///
    /// | | `cl100k_base` | `o200k_base` |
    /// |---|---|---|
    /// | English, source code, JSON | 8.2 %, 20.6 % | 5.6 %, 17.2 % |
    /// | 23 other languages | 4.3 %, 24.6 % | 5.4 %, 23.1 % |
    ///
    /// It errs high by 3 to 6 % on the whole. Far from what was fitted (rare languages, random
    /// letters, long runs) it may be off by half; the bounds hold for whatever there is.
    #[must_use]
    pub fn text(&self, text: &str, encoding: Encoding) -> TokenBounds {
        Scan::of(text, encoding)
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }

    #[cfg(feature = "exact")]
    pub(crate) fn cap(&self) -> usize {
        self.0.byte_cap
    }

    /// Bounds of what stands around the texts: framing, images, audio and files.
    pub(crate) fn frame(&self, inputs: &TokenInputs, model: &Model) -> TokenBounds {
        let opaque = u64::from(inputs.opaque_parts()).saturating_mul(ByteRule::OPAQUE_PART);
        [
            framing(inputs, model),
            TokenBounds::new(0, opaque, opaque),
            self.images(inputs.images(), model),
        ]
        .into_iter()
        .sum()
    }

    fn images(&self, images: &[ImageInput], model: &Model) -> TokenBounds {
        if images.is_empty() {
            return TokenBounds::exact(0);
        }
        let configured = self.0.image_rules.get(model.as_str()).copied();
        let known = configured.or_else(|| ImageRule::of_model(model.name()));
        let rule = known.unwrap_or(ImageRule::tiles(85, 170));
        let mut budget = HEADER_BUDGET;
        let each = images.iter().map(|image| {
            let size = images::image_size_within(&image.url, &mut budget);
            let bounds = rule.bounds(size, image.detail);
            let lower = if known.is_some() { bounds.lower } else { 0 };
            let estimate = match (size, self.0.unsized_image_tokens) {
                (None, Some(tokens)) => tokens,
                _ => bounds.estimate,
            };
            TokenBounds::new(lower, estimate, bounds.upper)
        });
        each.sum()
    }

    /// Bounds of the texts, but for schemas and choices.
    fn texts(&self, inputs: &TokenInputs, encoding: Option<Encoding>) -> TokenBounds {
        let mut survey = Survey::new(encoding, self.0.byte_cap);
        for input in inputs.texts() {
            if !schemas::is_schema(input) {
                survey.add(input);
            }
        }
        survey.bounds()
    }
}

impl TokenCounter for Estimator {
    fn bounds(&self, request: &ChatRequest, model: &Model) -> TokenBounds {
        let inputs = request.inputs();
        [
            self.frame(inputs, model),
            self.texts(inputs, Encoding::of_model(model)),
            schemas::byte_bounds(inputs),
        ]
        .into_iter()
        .sum()
    }

    /// The same, but that tools, functions and response formats are read and not only measured, if
    /// they fit under the cap.
    fn count(&self, request: &ChatRequest, model: &Model) -> TokenBounds {
        let inputs = request.inputs();
        let encoding = Encoding::of_model(model);
        let formula = encoding.unwrap_or(UNKNOWN);
        let estimate = |text: &str| Scan::of(text, formula).estimate;
        [
            self.frame(inputs, model),
            self.texts(inputs, encoding),
            schemas::bounds(inputs, formula, self.0.byte_cap, &estimate),
        ]
        .into_iter()
        .sum()
    }
}

impl Default for Estimator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Estimator")
            .field("byte_cap", &self.0.byte_cap)
            .finish_non_exhaustive()
    }
}

/// The OpenAI cookbook's figures for every model since 2023, and for the one before; of other models
/// they are a guess.
///
/// The answer of a function was seen to cost two tokens less, and an earlier call of one three
/// more. What calls of tools cost is not published.
fn framing(inputs: &TokenInputs, model: &Model) -> TokenBounds {
    let (mut names, mut function_roles, mut call_texts) = (0, 0, 0);
    for input in inputs.texts() {
        match input.kind {
            InputKind::Name => names += 1,
            InputKind::Role if input.text == "function" => function_roles += 1,
            InputKind::ToolCall => call_texts += 1,
            _ => {}
        }
    }
    let messages = u64::from(inputs.messages());
    let framing = match model.as_str() {
        // A name takes the place of the role there.
        "gpt-3.5-turbo-0301" | "gpt-35-turbo-0301" => {
            (PRIMING + OLD_MESSAGE * messages).saturating_sub(names)
        }
        _ => PRIMING + MESSAGE * messages + NAME * names,
    };
    let framing = framing.saturating_sub(FUNCTION_ROLE * function_roles);
    let is_known = Encoding::of_model(model).is_some();
    TokenBounds::new(
        if is_known { framing } else { 0 },
        framing + (CALL * call_texts).div_ceil(TEXTS_OF_CALL),
        framing + MOST_CALL_TEXT * call_texts,
    )
}

const DEFAULT_BYTE_CAP: usize = 256 << 10;
const HEADER_BUDGET: usize = 1 << 20;

const PRIMING: u64 = 3;
const MESSAGE: u64 = 3;
const OLD_MESSAGE: u64 = 4;
const NAME: u64 = 1;
const FUNCTION_ROLE: u64 = 2;
const CALL: u64 = 3;
const TEXTS_OF_CALL: u64 = 2;
const MOST_CALL_TEXT: u64 = 8;
