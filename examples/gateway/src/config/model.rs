use serde::{Deserialize, Deserializer, de::Error};
use tollgate::{Encoding, Feature, Model, known};

use super::BudgetOverride;

/// A model that may be asked for.
///
/// A name that is known brings its figures along; each key overrides one of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The vocabulary that its tokens are counted in.
    #[serde(default, deserialize_with = "encoding")]
    pub encoding: Option<Encoding>,
    /// Tokens of prompt and answer together.
    pub context_window: Option<u32>,
    /// Tokens of one answer.
    pub max_output_tokens: Option<u32>,
    /// What the model can do.
    pub features: Option<Vec<FeatureName>>,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What differs from the common budget.
    #[serde(default)]
    pub budget: BudgetOverride,
}

/// A [`Feature`] by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureName(pub Feature);

impl ModelConfig {
    /// The model of this public name, from what is configured and what is known about the name.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Model {
        // Nothing is withheld from a name that nobody knows: its upstream decides.
        let unknown = || Model::new(name).with_features(Feature::ALL);
        let mut model = known(name).unwrap_or_else(unknown);
        if let Some(encoding) = self.encoding {
            model = model.with_encoding(encoding.name());
        }
        if let Some(tokens) = self.context_window {
            model = model.with_context_window(tokens);
        }
        if let Some(tokens) = self.max_output_tokens {
            model = model.with_max_output_tokens(tokens);
        }
        if let Some(features) = &self.features {
            model = model.with_features(features.iter().map(|name| name.0));
        }
        model
    }
}

impl<'de> Deserialize<'de> for FeatureName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let feature = Feature::ALL.into_iter().find(|f| f.name() == name);
        feature.map(Self).ok_or_else(|| {
            let known: Vec<_> = Feature::ALL.into_iter().map(Feature::name).collect();
            D::Error::custom(format!(
                "unknown feature `{name}`, expected one of {}",
                known.join(", ")
            ))
        })
    }
}

fn encoding<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Encoding>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = Encoding::ALL.map(Encoding::name).join(", ");
    let unknown = || {
        D::Error::custom(format!(
            "unknown encoding `{name}`, expected one of {known}"
        ))
    };
    Encoding::from_name(&name).map(Some).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_brings_its_figures() {
        let model = ModelConfig::default().resolve("gpt-4o");
        assert_eq!(model.context_window(), Some(128_000));
        assert_eq!(model.max_output_tokens(), Some(16_384));
        assert_eq!(model.encoding(), Some("o200k_base"));
        assert!(model.features().contains(Feature::JsonSchema));
        let old = ModelConfig::default().resolve("gpt-4");
        assert!(!old.features().contains(Feature::JsonObject));
    }

    #[test]
    fn each_key_overrides_one_figure() {
        let config: ModelConfig =
            toml::from_str("context_window = 9\nfeatures = [\"audio\"]").unwrap();
        let model = config.resolve("gpt-4o");
        assert_eq!(model.context_window(), Some(9));
        assert_eq!(model.max_output_tokens(), Some(16_384));
        assert!(model.features().iter().eq([Feature::Audio]));
    }

    #[test]
    fn nothing_is_withheld_from_an_unknown_name() {
        let model = ModelConfig::default().resolve("llama");
        assert_eq!(model.context_window(), None);
        assert!(model.features().iter().eq(Feature::ALL));
    }

    #[test]
    fn features_are_spelt_as_the_library_spells_them() {
        let error = toml::from_str::<ModelConfig>("features = [\"vision\"]").unwrap_err();
        assert!(error.message().contains("json_object"), "{error}");
    }
}
