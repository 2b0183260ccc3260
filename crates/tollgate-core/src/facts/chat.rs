use std::{
    borrow::Cow,
    num::NonZeroU32,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use super::{Fact, Feature, Features};
use crate::TokenBounds;

/// What a chat completion request asks for, as far as anyone but the upstream needs to know.
///
/// Written by `ValidateLayer` from JSON, or by whoever decodes another protocol: a gRPC handler
/// that inserts one gets allow-lists and budgets without JSON. One pointer wide.
///
/// ```
/// use tollgate_core::{ChatRequest, InputKind};
///
/// let request = ChatRequest::builder("gpt-4o")
///     .stream(true)
///     .output_cap("max_tokens", 256)
///     .message()
///     .text(InputKind::Content, "Why is the sky dark at night?", false)
///     .build();
/// assert_eq!(request.model(), "gpt-4o");
/// assert_eq!(request.output_cap().unwrap().tokens, 256);
/// ```
#[derive(Clone, Debug)]
pub struct ChatRequest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facts: ChatRequestBuilder,
    prompt_tokens: OnceLock<TokenBounds>,
}

impl ChatRequest {
    /// Starts the description of a request for this model, in the caller's spelling.
    pub fn builder(model: impl Into<Arc<str>>) -> ChatRequestBuilder {
        ChatRequestBuilder {
            model: model.into(),
            stream: false,
            usage_wanted: false,
            output_cap: None,
            choices: NonZeroU32::MIN,
            user: None,
            features: Features::default(),
            first_uses: Vec::new(),
            inputs: TokenInputs::default(),
        }
    }

    /// The model as the caller spelled it. For decisions use the [`Model`](crate::Model) fact.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.0.facts.model
    }

    /// Whether the answer is to be streamed.
    #[must_use]
    pub fn stream(&self) -> bool {
        self.0.facts.stream
    }

    /// Whether the caller asked to see the usage of a stream.
    #[must_use]
    pub fn usage_wanted(&self) -> bool {
        self.0.facts.usage_wanted
    }

    /// The largest output cap that the caller stated, and the parameter that stated it.
    #[must_use]
    pub fn output_cap(&self) -> Option<&OutputCap> {
        self.0.facts.output_cap.as_ref()
    }

    /// How many answers are asked for, `n`.
    #[must_use]
    pub fn choices(&self) -> NonZeroU32 {
        self.0.facts.choices
    }

    /// The end user that the caller named.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.0.facts.user.as_deref()
    }

    /// What the request needs of a model.
    #[must_use]
    pub fn features(&self) -> Features {
        self.0.facts.features
    }

    /// The path of the first member that needs this feature, in OpenAI's notation, for instance
    /// `messages.[1].content.[0].type`.
    #[must_use]
    pub fn first_use(&self, feature: Feature) -> Option<&str> {
        let mut uses = self.0.facts.first_uses.iter();
        uses.find(|(used, _)| *used == feature)
            .map(|(_, path)| path.as_ref())
    }

    /// What the prompt consists of, for counting.
    #[must_use]
    pub fn inputs(&self) -> &TokenInputs {
        &self.0.facts.inputs
    }

    /// The bounds of the prompt's tokens, computed by the first caller and kept.
    pub fn prompt_tokens(&self, count: impl FnOnce(&Self) -> TokenBounds) -> TokenBounds {
        *self.0.prompt_tokens.get_or_init(|| count(self))
    }
}

impl Fact for ChatRequest {
    const NAME: &'static str = "ChatRequest";
    const WRITTEN_BY: &'static str = "ValidateLayer";
}

/// Collects the facts of a [`ChatRequest`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ChatRequestBuilder {
    model: Arc<str>,
    stream: bool,
    usage_wanted: bool,
    output_cap: Option<OutputCap>,
    choices: NonZeroU32,
    user: Option<Box<str>>,
    features: Features,
    first_uses: Vec<(Feature, Cow<'static, str>)>,
    inputs: TokenInputs,
}

impl ChatRequestBuilder {
    /// Whether the answer is to be streamed. Default: no.
    pub fn stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// Whether the caller asked to see the usage of a stream. Default: no.
    pub fn usage_wanted(mut self, wanted: bool) -> Self {
        self.usage_wanted = wanted;
        self
    }

    /// States an output cap in tokens; of several the largest counts, because it is unknown which
    /// one the upstream obeys.
    pub fn output_cap(mut self, param: &'static str, tokens: u64) -> Self {
        if self
            .output_cap
            .as_ref()
            .is_none_or(|cap| cap.tokens < tokens)
        {
            self.output_cap = Some(OutputCap { param, tokens });
        }
        self
    }

    /// How many answers are asked for. Default: 1.
    pub fn choices(mut self, choices: NonZeroU32) -> Self {
        self.choices = choices;
        self
    }

    /// The end user that the caller names.
    pub fn user(mut self, user: impl Into<Box<str>>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Notes that the request needs a feature, and where; the first place is kept.
    pub fn needs(mut self, feature: Feature, path: impl Into<Cow<'static, str>>) -> Self {
        if self.features.insert(feature) {
            self.first_uses.push((feature, path.into()));
        }
        self
    }

    /// Begins a further message.
    pub fn message(mut self) -> Self {
        self.inputs.messages = self.inputs.messages.saturating_add(1);
        self
    }

    /// Adds text of the prompt. `escaped`: it is the inside of a JSON string, in which there may be
    /// escapes.
    pub fn text(mut self, kind: InputKind, text: impl Into<Bytes>, escaped: bool) -> Self {
        let text = text.into();
        let bytes = text.len() as u64;
        let total = if escaped {
            &mut self.inputs.escaped_bytes
        } else {
            &mut self.inputs.plain_bytes
        };
        *total = total.saturating_add(bytes);
        self.inputs.texts.push(TokenInput {
            kind,
            text,
            escaped,
        });
        self
    }

    /// Adds an image.
    pub fn image(mut self, image: ImageInput) -> Self {
        self.inputs.images.push(image);
        self
    }

    /// Adds a part that cannot be counted as text: audio, a file.
    pub fn opaque_part(mut self) -> Self {
        self.inputs.opaque_parts = self.inputs.opaque_parts.saturating_add(1);
        self
    }

    /// Makes room for this many texts and images that are still to come.
    pub fn reserve(mut self, texts: usize, images: usize) -> Self {
        self.inputs.texts.reserve_exact(texts);
        self.inputs.images.reserve_exact(images);
        self
    }

    /// The finished facts.
    #[must_use]
    pub fn build(self) -> ChatRequest {
        ChatRequest(Arc::new(Inner {
            facts: self,
            prompt_tokens: OnceLock::new(),
        }))
    }
}

/// A stated limit of an answer's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputCap {
    /// The parameter that stated it, `max_tokens` or `max_completion_tokens`.
    pub param: &'static str,
    /// Tokens for each answer.
    pub tokens: u64,
}

/// What a prompt consists of: pieces of the request body, shared and not copied.
#[derive(Clone, Debug, Default)]
pub struct TokenInputs {
    messages: u32,
    texts: Vec<TokenInput>,
    images: Vec<ImageInput>,
    opaque_parts: u32,
    plain_bytes: u64,
    escaped_bytes: u64,
}

impl TokenInputs {
    /// How many messages there are.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// The texts, in the order of the body.
    #[must_use]
    pub fn texts(&self) -> &[TokenInput] {
        &self.texts
    }

    /// The images, in the order of the body.
    #[must_use]
    pub fn images(&self) -> &[ImageInput] {
        &self.images
    }

    /// How many parts are neither text nor image.
    #[must_use]
    pub fn opaque_parts(&self) -> u32 {
        self.opaque_parts
    }

    /// Bytes of text that stands as it is.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Bytes of text that still has its JSON escapes; unescaped it is between a sixth of this and
    /// this.
    #[must_use]
    pub fn escaped_bytes(&self) -> u64 {
        self.escaped_bytes
    }
}

/// One text of a prompt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenInput {
    /// What the text is to the model.
    pub kind: InputKind,
    /// The bytes, valid UTF-8 if they come from `ValidateLayer`.
    pub text: Bytes,
    /// Whether the bytes still have their JSON escapes.
    pub escaped: bool,
}

/// What a text is to the model.
///
/// A message's role comes before its other texts, wherever it stands in the body. JSON is passed as
/// it stands, with `escaped` false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputKind {
    /// Text of a message: its content or the text of one of its parts, refusals included.
    Content,
    /// The name of a message's author.
    Name,
    /// The role of a message.
    Role,
    /// One element of `tools` or of `functions`, or the value of `response_format`, as raw JSON.
    Schema,
    /// Half of a call in an earlier answer, of `tool_calls` or of `function_call`: each has two
    /// texts, the function's name and the arguments. Ids are not texts of the prompt.
    ToolCall,
    /// The value of `tool_choice` or `function_call`, as raw JSON.
    ToolChoice,
}

/// One image of a prompt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageInput {
    /// The URL or data URL as it stands in the body, JSON escapes included.
    pub url: Bytes,
    /// The resolution that the caller asked for.
    pub detail: ImageDetail,
}

impl ImageInput {
    /// An image at this URL.
    #[must_use]
    pub fn new(url: impl Into<Bytes>, detail: ImageDetail) -> Self {
        Self {
            url: url.into(),
            detail,
        }
    }
}

/// The resolution at which a model looks at an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageDetail {
    /// The model's choice.
    #[default]
    Auto,
    /// A fixed, small number of tokens.
    Low,
    /// By the size of the image, which the newest models are also shown unshrunk.
    High,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_output_cap_counts() {
        let request = ChatRequest::builder("m")
            .output_cap("max_tokens", 1)
            .output_cap("max_completion_tokens", 50_000)
            .output_cap("max_tokens", 7)
            .build();
        let cap = request.output_cap().unwrap();
        assert_eq!((cap.param, cap.tokens), ("max_completion_tokens", 50_000));
    }

    #[test]
    fn a_feature_keeps_its_first_place() {
        let request = ChatRequest::builder("m")
            .needs(Feature::Tools, "tools")
            .needs(Feature::Tools, "functions")
            .build();
        assert_eq!(request.first_use(Feature::Tools), Some("tools"));
        assert_eq!(request.first_use(Feature::Images), None);
    }
}
