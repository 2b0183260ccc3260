use tollgate_core::{Feature, Model};

/// The published figures of a model of OpenAI's, under its own name or the one that Azure uses.
///
/// `None` for names that are not in the catalogue. Names without a date stand for the snapshot
/// that both vendors serve under them today: `gpt-4o` for 2024-11-20, `gpt-4` for 0613,
/// `gpt-35-turbo` for 0125. Figures change with snapshots: a deployment of another one wants
/// another name here, or its own figures.
///
/// ```
/// let model = tollgate_models::known("gpt-4o-mini").unwrap();
/// assert_eq!(model.context_window(), Some(128_000));
/// assert_eq!(model.encoding(), Some("o200k_base"));
/// ```
#[must_use]
pub fn known(name: &str) -> Option<Model> {
    let family = FAMILIES
        .iter()
        .find(|family| family.names.contains(&name))?;
    Some(
        Model::new(name)
            .with_context_window(family.context_window)
            .with_max_output_tokens(family.max_output_tokens)
            .with_features(
                family
                    .features
                    .iter()
                    .flat_map(|group| group.iter().copied()),
            )
            .with_encoding(family.encoding),
    )
}

struct Family {
    names: &'static [&'static str],
    context_window: u32,
    max_output_tokens: u32,
    features: &'static [&'static [Feature]],
    encoding: &'static str,
}

const O200K: &str = "o200k_base";
const CL100K: &str = "cl100k_base";

// What models gained, roughly in the order in which they gained it.
const TOOLS: &[Feature] = &[Feature::Tools, Feature::Logprobs];
const JSON_MODE: &[Feature] = &[Feature::JsonObject, Feature::ParallelTools];
const IMAGES: &[Feature] = &[Feature::Images];
const JSON_SCHEMA: &[Feature] = &[Feature::JsonSchema];
const REASONING: &[Feature] = &[Feature::Reasoning];
const REASONING_TOOLS: &[Feature] = &[Feature::Tools, Feature::JsonObject, Feature::JsonSchema];
const VERBOSITY: &[Feature] = &[Feature::Verbosity];

// From the model pages of the OpenAI platform and of Azure OpenAI.
const FAMILIES: &[Family] = &[
    Family {
        names: &["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"],
        context_window: 128_000,
        max_output_tokens: 16_384,
        features: &[TOOLS, JSON_MODE, IMAGES, JSON_SCHEMA],
        encoding: O200K,
    },
    Family {
        names: &["gpt-4o-2024-05-13"],
        context_window: 128_000,
        max_output_tokens: 4_096,
        features: &[TOOLS, JSON_MODE, IMAGES],
        encoding: O200K,
    },
    Family {
        names: &["gpt-4o-mini", "gpt-4o-mini-2024-07-18"],
        context_window: 128_000,
        max_output_tokens: 16_384,
        features: &[TOOLS, JSON_MODE, IMAGES, JSON_SCHEMA],
        encoding: O200K,
    },
    Family {
        names: &["gpt-4", "gpt-4-0613"],
        context_window: 8_192,
        max_output_tokens: 8_192,
        features: &[TOOLS],
        encoding: CL100K,
    },
    Family {
        names: &["gpt-4-32k", "gpt-4-32k-0613"],
        context_window: 32_768,
        max_output_tokens: 32_768,
        features: &[TOOLS],
        encoding: CL100K,
    },
    Family {
        names: &[
            "gpt-4-1106-preview",
            "gpt-4-0125-preview",
            "gpt-4-turbo-preview",
        ],
        context_window: 128_000,
        max_output_tokens: 4_096,
        features: &[TOOLS, JSON_MODE],
        encoding: CL100K,
    },
    Family {
        names: &["gpt-4-turbo", "gpt-4-turbo-2024-04-09"],
        context_window: 128_000,
        max_output_tokens: 4_096,
        features: &[TOOLS, JSON_MODE, IMAGES],
        encoding: CL100K,
    },
    Family {
        names: &["gpt-35-turbo-0613", "gpt-3.5-turbo-0613"],
        context_window: 4_096,
        max_output_tokens: 4_096,
        features: &[TOOLS],
        encoding: CL100K,
    },
    Family {
        names: &[
            "gpt-35-turbo-16k",
            "gpt-35-turbo-16k-0613",
            "gpt-3.5-turbo-16k",
            "gpt-3.5-turbo-16k-0613",
        ],
        context_window: 16_384,
        max_output_tokens: 4_096,
        features: &[TOOLS],
        encoding: CL100K,
    },
    Family {
        names: &[
            "gpt-35-turbo",
            "gpt-35-turbo-0125",
            "gpt-35-turbo-1106",
            "gpt-3.5-turbo",
            "gpt-3.5-turbo-0125",
            "gpt-3.5-turbo-1106",
        ],
        context_window: 16_385,
        max_output_tokens: 4_096,
        features: &[TOOLS, JSON_MODE],
        encoding: CL100K,
    },
    Family {
        names: &[
            "gpt-4.1",
            "gpt-4.1-2025-04-14",
            "gpt-4.1-mini",
            "gpt-4.1-mini-2025-04-14",
            "gpt-4.1-nano",
            "gpt-4.1-nano-2025-04-14",
        ],
        context_window: 1_047_576,
        max_output_tokens: 32_768,
        features: &[TOOLS, JSON_MODE, IMAGES, JSON_SCHEMA],
        encoding: O200K,
    },
    Family {
        names: &[
            "o1",
            "o1-2024-12-17",
            "o3",
            "o3-2025-04-16",
            "o4-mini",
            "o4-mini-2025-04-16",
        ],
        context_window: 200_000,
        max_output_tokens: 100_000,
        features: &[REASONING, REASONING_TOOLS, IMAGES],
        encoding: O200K,
    },
    Family {
        names: &["o3-mini", "o3-mini-2025-01-31"],
        context_window: 200_000,
        max_output_tokens: 100_000,
        features: &[REASONING, REASONING_TOOLS],
        encoding: O200K,
    },
    Family {
        names: &["o1-preview", "o1-preview-2024-09-12"],
        context_window: 128_000,
        max_output_tokens: 32_768,
        features: &[REASONING],
        encoding: O200K,
    },
    Family {
        names: &["o1-mini", "o1-mini-2024-09-12"],
        context_window: 128_000,
        max_output_tokens: 65_536,
        features: &[REASONING],
        encoding: O200K,
    },
    Family {
        // Which of them give logprobs has changed between snapshots: the upstream decides.
        names: &[
            "gpt-5",
            "gpt-5-2025-08-07",
            "gpt-5-mini",
            "gpt-5-mini-2025-08-07",
            "gpt-5-nano",
            "gpt-5-nano-2025-08-07",
        ],
        context_window: 400_000,
        max_output_tokens: 128_000,
        features: &[REASONING, VERBOSITY, TOOLS, JSON_MODE, IMAGES, JSON_SCHEMA],
        encoding: O200K,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_is_in_two_families() {
        let mut seen = HashSet::new();
        for name in FAMILIES.iter().flat_map(|family| family.names) {
            assert!(seen.insert(name), "{name}");
            assert_eq!(known(name).unwrap().as_str(), *name);
        }
        assert_eq!(known("gpt-9"), None);
        assert_eq!(known(""), None);
    }

    #[test]
    fn figures_of_the_four_everyday_models() {
        use Feature::{Images, JsonObject, JsonSchema, Logprobs, ParallelTools, Tools};
        let all = [
            Images,
            JsonObject,
            JsonSchema,
            Logprobs,
            ParallelTools,
            Tools,
        ];
        for (name, window, output, features, encoding) in [
            ("gpt-4o", 128_000, 16_384, &all[..], O200K),
            ("gpt-4o-mini", 128_000, 16_384, &all, O200K),
            ("gpt-4", 8_192, 8_192, &[Logprobs, Tools], CL100K),
            (
                "gpt-35-turbo",
                16_385,
                4_096,
                &[JsonObject, Logprobs, ParallelTools, Tools],
                CL100K,
            ),
        ] {
            let model = known(name).unwrap();
            assert_eq!(model.context_window(), Some(window), "{name}");
            assert_eq!(model.max_output_tokens(), Some(output), "{name}");
            assert!(
                model.features().iter().eq(features.iter().copied()),
                "{name}"
            );
            assert_eq!(model.encoding(), Some(encoding), "{name}");
        }
    }

    #[test]
    fn an_output_fits_its_window() {
        for family in FAMILIES {
            assert!(family.max_output_tokens <= family.context_window);
        }
    }
}
