use std::fmt;

use tollgate_core::Model;

/// A vocabulary of OpenAI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// gpt-4, gpt-4-turbo, gpt-3.5-turbo and the third embeddings.
    Cl100kBase,
    /// gpt-4o and everything after it: gpt-4.1, gpt-5, gpt-oss, the o series.
    O200kBase,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 2] = [Self::Cl100kBase, Self::O200kBase];

    /// The vocabulary's name, for instance `o200k_base`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cl100kBase => "cl100k_base",
            Self::O200kBase => "o200k_base",
        }
    }

    /// The vocabulary of this name. `o200k_harmony` is [`O200kBase`](Self::O200kBase): the two
    /// differ in special tokens alone, and nothing that callers write is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "o200k_harmony" => Some(Self::O200kBase),
            _ => Self::ALL.into_iter().find(|known| known.name() == name),
        }
    }

    /// The vocabulary of a model: the configured one or, if none is configured, the one that
    /// OpenAI publishes for models of this name. `None` if neither is known.
    #[must_use]
    pub fn of_model(model: &Model) -> Option<Self> {
        match model.encoding() {
            Some(name) => Self::from_name(name),
            None => Self::of_model_name(model.name()),
        }
    }

    fn of_model_name(name: &str) -> Option<Self> {
        let mut families = FAMILIES.iter();
        let (_, encoding) = families.find(|(prefix, _)| name.starts_with(prefix))?;
        Some(*encoding)
    }
}

// Longer prefixes first.
const FAMILIES: &[(&str, Encoding)] = &[
    ("gpt-4o", Encoding::O200kBase),
    ("gpt-4.1", Encoding::O200kBase),
    ("gpt-4.5", Encoding::O200kBase),
    ("gpt-4", Encoding::Cl100kBase),
    ("gpt-3.5", Encoding::Cl100kBase),
    ("gpt-35", Encoding::Cl100kBase),
    ("gpt-5", Encoding::O200kBase),
    ("gpt-oss", Encoding::O200kBase),
    ("chatgpt-4o", Encoding::O200kBase),
    ("o1", Encoding::O200kBase),
    ("o3", Encoding::O200kBase),
    ("o4", Encoding::O200kBase),
    ("text-embedding-3", Encoding::Cl100kBase),
];

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_encoding_counts_before_the_name() {
        let of = |name: &str| Encoding::of_model(&Model::new(name));
        assert_eq!(of("gpt-4o-mini"), Some(Encoding::O200kBase));
        assert_eq!(of("gpt-4.1-nano"), Some(Encoding::O200kBase));
        assert_eq!(of("gpt-4-turbo"), Some(Encoding::Cl100kBase));
        assert_eq!(of("gpt-35-turbo"), Some(Encoding::Cl100kBase));
        assert_eq!(of("gpt-oss-120b"), Some(Encoding::O200kBase));
        assert_eq!(of("text-embedding-3-small"), Some(Encoding::Cl100kBase));
        assert_eq!(of("house-model"), None);

        let configured =
            |encoding: &str| Encoding::of_model(&Model::new("gpt-4").with_encoding(encoding));
        assert_eq!(configured("o200k_base"), Some(Encoding::O200kBase));
        assert_eq!(configured("o200k_harmony"), Some(Encoding::O200kBase));
        assert_eq!(configured("p50k_base"), None);
    }
}
