//! The parameter table: what a chat completion request may say, in the order in which OpenAI
//! reports faults.

use std::{borrow::Cow, fmt, sync::Arc};

use tollgate_core::Rejection;

/// One parameter: its name, what its value must be, and what becomes of it.
///
/// ```
/// use tollgate_validate::{Kind, Param, Policy, Verdict};
///
/// // An upstream's own parameter, sampling temperatures for the cautious, and no stored answers.
/// let policy = Policy::compatible()
///     .param(Param::new("top_k", Kind::Integer { min: 1, max: 500 }))
///     .param(Param::new("temperature", Kind::Decimal { min: 0.0, max: 1.0 }))
///     .param(Param::new("store", Kind::Boolean).verdict(Verdict::Refuse));
/// # let _ = policy;
/// ```
#[derive(Clone)]
pub struct Param {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: Kind,
    pub(crate) verdict: Verdict,
    pub(crate) rules: Vec<Arc<ValueRule>>,
}

/// A rule of the user's about the JSON text of one value.
pub(crate) type ValueRule = dyn Fn(&str) -> Result<(), Rejection> + Send + Sync;

impl Param {
    /// An accepted parameter of this kind.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            verdict: Verdict::Accept,
            rules: Vec::new(),
        }
    }

    /// Sets what becomes of it.
    #[must_use]
    pub fn verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// Adds a rule about its value, which is handed over as JSON text once every parameter has passed
    /// the check of its kind. Null, which means absent, is not handed over.
    #[must_use]
    pub fn rule<F>(mut self, rule: F) -> Self
    where
        F: Fn(&str) -> Result<(), Rejection> + Send + Sync + 'static,
    {
        self.rules.push(Arc::new(rule));
        self
    }
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Param")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("verdict", &self.verdict)
            .field("rules", &self.rules.len())
            .finish()
    }
}

/// What becomes of a parameter that is present and not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is checked and passed on.
    Accept,
    /// It is checked and taken out of the body.
    Absorb,
    /// It is taken out of the body if it has one of these values, and refused otherwise.
    AbsorbOnly(&'static [Plain]),
    /// It is refused, whatever its value: 400 `unsupported_parameter`.
    Refuse,
}

/// A value to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plain {
    /// `true` or `false`.
    Bool(bool),
    /// An integer, in any spelling.
    Integer(i64),
    /// A string.
    Text(&'static str),
}

/// What the value of a parameter must be. All bounds are inclusive; lengths of strings are in
/// characters.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// Any JSON value.
    Any,
    /// `audio`: an object with `voice` and `format`.
    Audio,
    /// `true` or `false`.
    Boolean,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// An array of these strings.
    Choices(&'static [&'static str]),
    /// A number.
    Decimal {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// `function_call`: `none`, `auto` or an object with `name`.
    FunctionCall,
    /// `functions`: function definitions.
    Functions {
        /// The most.
        max: usize,
    },
    /// A number without fraction: `3`, and `3.0` too.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// `logit_bias`: numbers from -100 to 100 by the numbers of tokens.
    LogitBias {
        /// The most entries.
        max: usize,
    },
    /// `messages`: the conversation, with the rules about calls and their answers.
    Messages {
        /// The most.
        max: usize,
    },
    /// `metadata`: at most 16 strings of at most 512 characters, by keys of at most 64.
    Metadata,
    /// `model`: required, a string that is not empty.
    Model,
    /// An object.
    Object,
    /// `prediction`: an object with `type` `content`, and `content`.
    Prediction,
    /// `response_format`: an object with `type`, and `json_schema` if that is the type.
    ResponseFormat,
    /// `stream_options`: an object with `include_usage` and `include_obfuscation`.
    StreamOptions,
    /// A string.
    Text {
        /// The most characters.
        max: usize,
    },
    /// `stop`: a string, or an array of strings.
    Texts {
        /// The most strings.
        max: usize,
    },
    /// `tool_choice`: `none`, `auto`, `required` or an object.
    ToolChoice,
    /// `tools`: function tools.
    Tools {
        /// The most.
        max: usize,
    },
    /// `top_logprobs`: an integer from 0.
    TopLogprobs {
        /// The largest.
        max: u32,
    },
}

/// OpenAI's parameters in the order in which its faults are reported, as measured at the live
/// endpoint; the last three are in no known order.
pub(crate) const OPENAI: [(&str, Kind); 37] = [
    ("model", Kind::Model),
    ("messages", Kind::Messages { max: 2_048 }),
    ("functions", Kind::Functions { max: 128 }),
    ("function_call", Kind::FunctionCall),
    ("tools", Kind::Tools { max: 128 }),
    ("tool_choice", Kind::ToolChoice),
    ("parallel_tool_calls", Kind::Boolean),
    ("max_completion_tokens", AT_LEAST_ONE),
    ("n", Kind::Integer { min: 1, max: 128 }),
    ("temperature", Kind::Decimal { min: 0.0, max: 2.0 }),
    ("top_p", Kind::Decimal { min: 0.0, max: 1.0 }),
    ("presence_penalty", PENALTY),
    ("frequency_penalty", PENALTY),
    ("logprobs", Kind::Boolean),
    ("top_logprobs", Kind::TopLogprobs { max: 20 }),
    ("user", ANY_TEXT),
    ("seed", ANY_INTEGER),
    ("moderation", Kind::Object),
    ("safety_identifier", Kind::Text { max: 64 }),
    ("prompt_cache_key", Kind::Text { max: 64 }),
    (
        "prompt_cache_retention",
        Kind::Choice(&["in_memory", "in-memory", "24h"]),
    ),
    ("prompt_cache_options", Kind::Object),
    ("response_format", Kind::ResponseFormat),
    (
        "service_tier",
        Kind::Choice(&["auto", "default", "flex", "scale", "priority", "fast"]),
    ),
    ("max_tokens", AT_LEAST_ONE),
    (
        "reasoning_effort",
        Kind::Choice(&["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    ),
    ("logit_bias", Kind::LogitBias { max: 300 }),
    ("stop", Kind::Texts { max: 4 }),
    ("stream", Kind::Boolean),
    ("stream_options", Kind::StreamOptions),
    ("store", Kind::Boolean),
    ("metadata", Kind::Metadata),
    ("prediction", Kind::Prediction),
    ("verbosity", Kind::Choice(&["low", "medium", "high"])),
    ("modalities", Kind::Choices(&["text", "audio"])),
    ("audio", Kind::Audio),
    ("web_search_options", Kind::Object),
];

/// What the documented service refuses, and what the spelling is that today's SDKs send by
/// themselves and that changes nothing.
pub(crate) const RESTRICTED: [(&str, Verdict); 4] = [
    (
        "parallel_tool_calls",
        Verdict::AbsorbOnly(&[Plain::Bool(true)]),
    ),
    ("n", Verdict::AbsorbOnly(&[Plain::Integer(1)])),
    (
        "service_tier",
        Verdict::AbsorbOnly(&[Plain::Text("auto"), Plain::Text("default")]),
    ),
    ("stream_options", Verdict::Absorb),
];

const AT_LEAST_ONE: Kind = Kind::Integer {
    min: 1,
    max: i64::MAX,
};
const ANY_INTEGER: Kind = Kind::Integer {
    min: i64::MIN,
    max: i64::MAX,
};
const ANY_TEXT: Kind = Kind::Text { max: usize::MAX };
const PENALTY: Kind = Kind::Decimal {
    min: -2.0,
    max: 2.0,
};
