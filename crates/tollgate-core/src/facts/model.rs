use std::{fmt, str::FromStr, sync::Arc};

use super::Fact;

/// The model that a call was resolved to: one value for the check, the budget's key, the dispatch
/// and the answer.
///
/// Written by `ModelsLayer`. Its name is the configured one, whatever the caller spelled.
///
/// ```
/// use tollgate_core::{Feature, Model};
///
/// let model = Model::new("gpt-4o")
///     .with_context_window(128_000)
///     .with_max_output_tokens(16_384)
///     .with_features([Feature::JsonObject, Feature::Tools, Feature::Images]);
/// assert!(model.features().contains(Feature::Tools));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model(Arc<ModelInner>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ModelInner {
    name: Arc<str>,
    context_window: Option<u32>,
    max_output_tokens: Option<u32>,
    features: Features,
    encoding: Option<Arc<str>>,
}

impl Model {
    /// A model of this name, about which nothing else is known.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(ModelInner {
            name: name.into(),
            context_window: None,
            max_output_tokens: None,
            features: Features::default(),
            encoding: None,
        }))
    }

    /// Sets the number of tokens that prompt and output may have together.
    #[must_use]
    pub fn with_context_window(mut self, tokens: u32) -> Self {
        Arc::make_mut(&mut self.0).context_window = Some(tokens);
        self
    }

    /// Sets the number of tokens that one output may have.
    #[must_use]
    pub fn with_max_output_tokens(mut self, tokens: u32) -> Self {
        Arc::make_mut(&mut self.0).max_output_tokens = Some(tokens);
        self
    }

    /// Sets what the model can do.
    #[must_use]
    pub fn with_features(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        Arc::make_mut(&mut self.0).features = features.into_iter().collect();
        self
    }

    /// Sets the name of the model's vocabulary, for instance `o200k_base`.
    #[must_use]
    pub fn with_encoding(mut self, encoding: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).encoding = Some(encoding.into());
        self
    }

    /// The configured name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.name
    }

    /// The configured name, to keep without a copy.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The tokens that prompt and output may have together, if configured.
    #[must_use]
    pub fn context_window(&self) -> Option<u32> {
        self.0.context_window
    }

    /// The tokens that one output may have, if configured.
    #[must_use]
    pub fn max_output_tokens(&self) -> Option<u32> {
        self.0.max_output_tokens
    }

    /// What the model can do; empty if nothing is configured.
    #[must_use]
    pub fn features(&self) -> Features {
        self.0.features
    }

    /// The name of the model's vocabulary, if configured.
    #[must_use]
    pub fn encoding(&self) -> Option<&str> {
        self.0.encoding.as_deref()
    }
}

impl Fact for Model {
    const NAME: &'static str = "Model";
    const WRITTEN_BY: &'static str = "ModelsLayer";
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that a request may ask for and a model may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Feature {
    /// Audio in or out.
    Audio,
    /// Images in user messages.
    Images,
    /// `response_format` of type `json_object`.
    JsonObject,
    /// `response_format` of type `json_schema`.
    JsonSchema,
    /// `logprobs`.
    Logprobs,
    /// More than one tool call in an answer.
    ParallelTools,
    /// `reasoning_effort`, and the limits that come with it.
    Reasoning,
    /// `tools` or the older `functions`.
    Tools,
    /// `verbosity`.
    Verbosity,
    /// `web_search_options`.
    WebSearch,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 10] = [
        Self::Audio,
        Self::Images,
        Self::JsonObject,
        Self::JsonSchema,
        Self::Logprobs,
        Self::ParallelTools,
        Self::Reasoning,
        Self::Tools,
        Self::Verbosity,
        Self::WebSearch,
    ];

    /// The name that configurations use, for instance `json_object`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Images => "images",
            Self::JsonObject => "json_object",
            Self::JsonSchema => "json_schema",
            Self::Logprobs => "logprobs",
            Self::ParallelTools => "parallel_tools",
            Self::Reasoning => "reasoning",
            Self::Tools => "tools",
            Self::Verbosity => "verbosity",
            Self::WebSearch => "web_search",
        }
    }
}

impl FromStr for Feature {
    type Err = UnknownFeature;

    /// The feature of this [`name`](Feature::name).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|feature| feature.name() == name)
            .ok_or(UnknownFeature(()))
    }
}

/// The name of no [`Feature`]; what it prints lists the names that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFeature(());

impl fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Feature::ALL.map(Feature::name).join(", ");
        write!(f, "unknown feature, expected one of {known}")
    }
}

impl std::error::Error for UnknownFeature {}

/// A set of [`Feature`]s, two bytes wide.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(u16);

impl Features {
    /// Whether the feature is in the set.
    #[must_use]
    pub fn contains(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u8) != 0
    }

    /// Adds a feature; false if it was there already.
    pub fn insert(&mut self, feature: Feature) -> bool {
        let fresh = !self.contains(feature);
        self.0 |= 1 << feature as u8;
        fresh
    }

    /// The features of the set, in alphabetical order.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut set = Self::default();
        for feature in features {
            set.insert(feature);
        }
        set
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_known_by_its_name() {
        for feature in Feature::ALL {
            assert_eq!(feature.name().parse(), Ok(feature));
        }
        let unknown = "Audio".parse::<Feature>().unwrap_err();
        assert!(unknown.to_string().ends_with("verbosity, web_search"));
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        for feature in Feature::ALL {
            let set = Features::from_iter([feature]);
            assert!(set.iter().eq([feature]));
        }
        let all: Features = Feature::ALL.into_iter().collect();
        assert!(all.iter().eq(Feature::ALL));
    }

    #[test]
    fn setters_leave_other_clones_alone() {
        let plain = Model::new("m");
        let wide = plain.clone().with_context_window(8);
        assert_eq!(plain.context_window(), None);
        assert_eq!((plain.as_str(), plain.to_string()), ("m", "m".to_owned()));
        assert_eq!(wide.context_window(), Some(8));
    }
}
