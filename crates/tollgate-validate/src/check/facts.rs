//! What the pass notes down for others, and the description made of it.

use std::{borrow::Cow, num::NonZeroU32, ops::Range};

use bytes::Bytes;
use tollgate_core::{ChatRequest, Feature, ImageDetail, ImageInput, InputKind};

use crate::{
    json::{Number, Text, Value},
    table::Param,
};

/// Notes about a body, all of them places in it.
#[derive(Debug, Default)]
pub(super) struct Gathered<'j> {
    pub(super) model: Option<Text<'j>>,
    user: Option<Text<'j>>,
    pub(super) stream: bool,
    pub(super) stream_options: bool,
    pub(super) usage_wanted: bool,
    choices: Option<NonZeroU32>,
    pub(super) max_tokens: Option<u64>,
    pub(super) max_completion_tokens: Option<u64>,

    pub(super) tools: Offer<'j>,
    pub(super) functions: Offer<'j>,
    /// Whether `parallel_tool_calls` is there, and what it says.
    pub(super) parallel_tool_calls: Option<bool>,

    pub(super) logprobs: bool,
    /// What was asked for, and the most that may be.
    pub(super) top_logprobs: Option<(i128, u32)>,
    pub(super) response_format: Option<ResponseFormat>,
    reasoning: bool,
    verbosity: bool,
    web_search: bool,
    pub(super) audio_wanted: bool,
    audio: bool,
    pub(super) bias: BiasKeys<'j>,

    messages: u32,
    pub(super) pieces: Vec<Piece>,
    pub(super) images: Vec<(Range<usize>, ImageDetail)>,
    /// Where the first image and the first audio in messages are.
    pub(super) first_image: Option<String>,
    pub(super) first_audio: Option<String>,
    pub(super) opaque_parts: u32,
}

impl<'j> Gathered<'j> {
    /// Notes about a body of this many bytes, with room for the pieces of most.
    pub(super) fn for_body_of(bytes: usize) -> Self {
        Self {
            pieces: Vec::with_capacity((bytes / BYTES_FOR_A_PIECE).clamp(8, MOST_PIECES_FORESEEN)),
            ..Self::default()
        }
    }

    /// Notes a parameter whose value is a scalar, or needs no more than its presence noted.
    pub(super) fn learn(&mut self, param: &Param, value: &Value<'j>) {
        match (param.name.as_ref(), *value) {
            ("audio", Value::Object) => self.audio = true,
            ("logprobs", Value::Bool(wanted)) => self.logprobs = wanted,
            ("max_completion_tokens", Value::Number(cap)) => {
                self.max_completion_tokens = tokens(cap);
            }
            ("max_tokens", Value::Number(cap)) => self.max_tokens = tokens(cap),
            ("n", Value::Number(n)) => {
                let n = tokens(n).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                self.choices = n.and_then(NonZeroU32::new);
            }
            ("parallel_tool_calls", Value::Bool(parallel)) => {
                self.parallel_tool_calls = Some(parallel);
            }
            ("reasoning_effort", Value::String(_)) => self.reasoning = true,
            ("stream", Value::Bool(stream)) => self.stream = stream,
            ("user", Value::String(user)) => self.user = Some(user),
            ("verbosity", Value::String(_)) => self.verbosity = true,
            ("web_search_options", Value::Object) => self.web_search = true,
            _ => {}
        }
    }

    /// Notes a message whose pieces begin at `first`. The role is always put in front of them,
    /// wherever it stands in the message, so that a reader of the pieces knows whose they are.
    pub(super) fn message(&mut self, first: usize, role: Option<Text<'j>>) {
        self.messages = self.messages.saturating_add(1);
        if let Some(role) = role {
            self.pieces.insert(first, Piece::of(InputKind::Role, role));
        }
    }

    /// The description of the request, whose pieces share these bytes.
    pub(super) fn describe(self, bytes: &Bytes) -> ChatRequest {
        let model = self.model.map(Text::unescaped).unwrap_or_default();
        let mut request = ChatRequest::builder(model)
            .stream(self.stream)
            .usage_wanted(self.usage_wanted)
            .choices(self.choices.unwrap_or(NonZeroU32::MIN))
            .reserve(self.pieces.len(), self.images.len());
        for (param, cap) in [
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_tokens", self.max_tokens),
        ] {
            if let Some(tokens) = cap {
                request = request.output_cap(param, tokens);
            }
        }
        if let Some(user) = self.user {
            request = request.user(user.unescaped());
        }
        for (feature, place) in self.features() {
            request = request.needs(feature, place);
        }
        for _ in 0..self.messages {
            request = request.message();
        }
        for piece in self.pieces {
            request = request.text(piece.kind, bytes.slice(piece.range), piece.escaped);
        }
        for (url, detail) in self.images {
            request = request.image(ImageInput::new(bytes.slice(url), detail));
        }
        for _ in 0..self.opaque_parts {
            request = request.opaque_part();
        }
        request.build()
    }

    /// What the request needs of a model, and where.
    fn features(&self) -> impl Iterator<Item = (Feature, Cow<'static, str>)> + use<> {
        let at = |needed: bool, place: &'static str| needed.then_some(Cow::Borrowed(place));
        let in_messages = |place: &Option<String>| place.clone().map(Cow::Owned);
        let format = |format| at(self.response_format == Some(format), "response_format");
        let uses = [
            (Feature::Images, in_messages(&self.first_image)),
            (Feature::Audio, in_messages(&self.first_audio)),
            (Feature::Audio, at(self.audio_wanted, "modalities")),
            (Feature::Audio, at(self.audio, "audio")),
            (Feature::Tools, at(self.tools.is_made, "tools")),
            (Feature::Tools, at(self.functions.is_made, "functions")),
            (
                Feature::ParallelTools,
                at(
                    self.parallel_tool_calls == Some(true),
                    "parallel_tool_calls",
                ),
            ),
            (Feature::Logprobs, at(self.logprobs, "logprobs")),
            (Feature::JsonObject, format(ResponseFormat::JsonObject)),
            (Feature::JsonSchema, format(ResponseFormat::JsonSchema)),
            (Feature::Reasoning, at(self.reasoning, "reasoning_effort")),
            (Feature::Verbosity, at(self.verbosity, "verbosity")),
            (
                Feature::WebSearch,
                at(self.web_search, "web_search_options"),
            ),
        ];
        let used = |(feature, place): (Feature, Option<_>)| Some((feature, place?));
        uses.into_iter().filter_map(used)
    }
}

/// Functions that the model may call, and what the caller says about the choice between them.
#[derive(Debug, Default)]
pub(super) struct Offer<'j> {
    pub(super) is_made: bool,
    pub(super) names: Vec<Text<'j>>,
    pub(super) has_choice: bool,
    pub(super) chosen: Option<Text<'j>>,
}

/// A cap of tokens, at the end of the range if it lies beyond.
fn tokens(number: Number<'_>) -> Option<u64> {
    let tokens = number.as_integer()?;
    Some(u64::try_from(tokens.max(0)).unwrap_or(u64::MAX))
}

/// A part of the prompt that is counted.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    kind: InputKind,
    range: Range<usize>,
    escaped: bool,
    in_message: bool,
}

impl Piece {
    /// The inside of a string.
    pub(super) fn of(kind: InputKind, text: Text<'_>) -> Self {
        Self {
            kind,
            range: text.range(),
            escaped: text.is_escaped(),
            in_message: true,
        }
    }

    /// Text that the caller expects in the answer.
    pub(super) fn prediction(text: Text<'_>) -> Self {
        Self {
            in_message: false,
            ..Self::of(InputKind::Content, text)
        }
    }

    /// A value as it stands.
    pub(super) fn json(kind: InputKind, range: Range<usize>) -> Self {
        Self {
            kind,
            range,
            escaped: false,
            in_message: false,
        }
    }

    /// The place of a text of a message, and whether it has escapes.
    pub(super) fn message_text(&self) -> Option<(Range<usize>, bool)> {
        let is_text = self.in_message && self.kind == InputKind::Content;
        is_text.then(|| (self.range.clone(), self.escaped))
    }
}

/// The types of `response_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    JsonObject,
    JsonSchema,
    Text,
}

impl ResponseFormat {
    pub(super) const TYPES: &'static [&'static str] = &["json_object", "json_schema", "text"];

    pub(super) fn named(name: Option<&str>) -> Option<Self> {
        match name? {
            "json_object" => Some(Self::JsonObject),
            "json_schema" => Some(Self::JsonSchema),
            _ => Some(Self::Text),
        }
    }
}

/// Which tokens are biased.
#[derive(Debug, Default)]
pub(super) struct BiasKeys<'j> {
    /// The first that is no number.
    pub(super) odd: Option<Text<'j>>,
    /// The one with the largest number.
    pub(super) largest: Option<(u64, Text<'j>)>,
}

impl<'j> BiasKeys<'j> {
    /// Notes a key, and says which token it names.
    pub(super) fn note(&mut self, key: Text<'j>) -> Option<u64> {
        let name = key.unescaped();
        let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        match name.parse::<u64>() {
            Ok(token) if digits => {
                if self.largest.is_none_or(|(largest, _)| largest < token) {
                    self.largest = Some((token, key));
                }
                Some(token)
            }
            _ => {
                self.odd = self.odd.or(Some(key));
                None
            }
        }
    }
}

// `{"role":"tool","content":"x"}`, the densest that messages get, has 30 bytes and two pieces.
const BYTES_FOR_A_PIECE: usize = 16;
// Images make bodies long, and have no pieces.
const MOST_PIECES_FORESEEN: usize = 8_192;
