use tollgate_core::{
    ByteRule, ChatRequest, Feature, Model, Rejection, RejectionKind, SharedBody, TokenCounter,
};

use crate::values;

/// Refuses what the model is known to be unable to do; one error, in the order in which OpenAI
/// reports them.
pub(crate) fn check<C: TokenCounter>(
    request: &ChatRequest,
    body: Option<&SharedBody>,
    model: &Model,
    counter: &C,
) -> Result<(), Rejection> {
    features(request, body, model)?;
    if let Some(body) = body {
        values::temperature(body, model)?;
    }
    output_cap(request, model)?;
    context_window(request, model, counter)
}

fn features(
    request: &ChatRequest,
    body: Option<&SharedBody>,
    model: &Model,
) -> Result<(), Rejection> {
    let offered = model.features();
    if offered.iter().next().is_none() {
        return Ok(());
    }
    for feature in ORDER {
        if !request.features().contains(feature) || offered.contains(feature) {
            continue;
        }
        let place = request.first_use(feature).unwrap_or_default();
        if let Some(rejection) = refusal(feature, place, body) {
            return Err(rejection);
        }
    }
    Ok(())
}

// Messages come before parameters. `ParallelTools` is a permission, not a demand.
const ORDER: [Feature; 9] = [
    Feature::Images,
    Feature::Audio,
    Feature::Tools,
    Feature::Logprobs,
    Feature::JsonObject,
    Feature::JsonSchema,
    Feature::Reasoning,
    Feature::Verbosity,
    Feature::WebSearch,
];

fn refusal(feature: Feature, place: &str, body: Option<&SharedBody>) -> Option<Rejection> {
    let invalid = |message: String, param: &str| {
        let rejection = Rejection::new(RejectionKind::InvalidRequest).with_message(message);
        if param.is_empty() {
            rejection
        } else {
            rejection.with_param(param.to_owned())
        }
    };
    let unsupported = |param: &str| {
        let message = format!("Unsupported parameter: '{param}' is not supported with this model.");
        invalid(message, param).with_code(Some("unsupported_parameter".into()))
    };
    let response_format = |kind: &str| {
        let message = format!(
            "Invalid parameter: 'response_format' of type '{kind}' is not supported with this \
             model."
        );
        invalid(message, "response_format")
    };
    let in_message = place.starts_with("messages");
    Some(match feature {
        Feature::Audio if in_message => invalid(
            "Content blocks are expected to be either text or image_url type.".to_owned(),
            place,
        ),
        Feature::Audio => unsupported(or(place, "audio")),
        Feature::Images => invalid(
            "Invalid content type. image_url is only supported by certain models.".to_owned(),
            or(place, "messages"),
        ),
        Feature::JsonObject => response_format("json_object"),
        Feature::JsonSchema => response_format("json_schema"),
        Feature::Logprobs => unsupported(or(place, "logprobs")),
        // The upstream names no parameter here but in its message.
        Feature::Reasoning => invalid(
            "Unrecognized request argument supplied: reasoning_effort".to_owned(),
            "",
        ),
        Feature::Tools => unsupported(or(place, "tools")),
        Feature::Verbosity => return values::verbosity(body),
        Feature::WebSearch => invalid(
            "Unknown parameter: 'web_search_options'.".to_owned(),
            "web_search_options",
        )
        .with_code(Some("unknown_parameter".into())),
        _ => return None,
    })
}

fn output_cap(request: &ChatRequest, model: &Model) -> Result<(), Rejection> {
    let Some(cap) = request.output_cap() else {
        return Ok(());
    };
    let invalid = Rejection::new(RejectionKind::InvalidRequest).with_param(cap.param);
    if cap.param == "max_tokens" && model.features().contains(Feature::Reasoning) {
        return Err(invalid
            .with_code(Some("unsupported_parameter".into()))
            .with_message(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                 'max_completion_tokens' instead.",
            ));
    }
    match model.max_output_tokens() {
        Some(most) if cap.tokens > u64::from(most) => Err(invalid.with_message(format!(
            "{param} is too large: {tokens}. This model supports at most {most} completion \
             tokens, whereas you provided {tokens}.",
            param = cap.param,
            tokens = cap.tokens,
        ))),
        _ => Ok(()),
    }
}

/// Refuses what does not fit for certain. An estimate may err, so it refuses nothing.
fn context_window<C: TokenCounter>(
    request: &ChatRequest,
    model: &Model,
    counter: &C,
) -> Result<(), Rejection> {
    let Some(window) = model.context_window().map(u64::from) else {
        return Ok(());
    };
    let output = request.output_cap().map_or(0, |cap| cap.tokens);
    let room = window.saturating_sub(output);
    let inputs = request.inputs();
    let is_text = inputs.images().is_empty() && inputs.opaque_parts() == 0;
    // Most prompts fit by their bytes alone, and need not be looked at.
    if is_text && ByteRule::text(inputs).upper <= room {
        return Ok(());
    }
    let mut prompt = counter.bounds(request, model);
    if prompt.lower <= room && prompt.upper > room {
        let closer = counter.count(request, model);
        // What was dear to learn is kept for the budget; mere bounds are not, because its own
        // counter may know better.
        if closer != prompt {
            prompt = request.prompt_tokens(|_| closer);
        }
    }
    if prompt.lower <= room {
        return Ok(());
    }

    if prompt.lower < prompt.upper {
        // Callers shorten their prompts by what they read here.
        prompt = counter.count(request, model);
    }
    let tokens = prompt.estimate;
    let explained = match request.output_cap() {
        Some(_) => format!(
            "you requested {} tokens ({tokens} in the messages, {output} in the completion). \
             Please reduce the length of the messages or completion.",
            tokens.saturating_add(output),
        ),
        None => format!(
            "your messages resulted in {tokens} tokens. Please reduce the length of the messages."
        ),
    };
    Err(Rejection::new(RejectionKind::InvalidRequest)
        .with_param("messages")
        .with_code(Some("context_length_exceeded".into()))
        .with_message(format!(
            "This model's maximum context length is {window} tokens. However, {explained}"
        )))
}

fn or<'a>(place: &'a str, fallback: &'a str) -> &'a str {
    if place.is_empty() { fallback } else { place }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tollgate_core::{ChatRequestBuilder, InputKind, TokenBounds};

    use super::*;
    use crate::known;

    fn refused(request: ChatRequestBuilder, model: &Model) -> Rejection {
        check(&request.build(), None, model, &ByteRule::default()).unwrap_err()
    }

    fn what(rejection: &Rejection) -> (Option<&str>, Option<&str>, &str) {
        (rejection.param(), rejection.code(), rejection.message())
    }

    #[test]
    fn each_missing_feature_has_its_error() {
        let gpt_4 = known("gpt-4").unwrap();
        let o1_mini = known("o1-mini").unwrap();
        let unsupported = Some("unsupported_parameter");
        for (feature, place, model, param, code, message) in [
            (
                Feature::JsonObject,
                "response_format",
                &gpt_4,
                Some("response_format"),
                None,
                "Invalid parameter: 'response_format' of type 'json_object' is not supported with this model.",
            ),
            (
                Feature::JsonSchema,
                "response_format",
                &gpt_4,
                Some("response_format"),
                None,
                "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            ),
            (
                Feature::Images,
                "messages.[1].content.[1].type",
                &gpt_4,
                Some("messages.[1].content.[1].type"),
                None,
                "Invalid content type. image_url is only supported by certain models.",
            ),
            (
                Feature::Audio,
                "messages.[0].content.[0].type",
                &gpt_4,
                Some("messages.[0].content.[0].type"),
                None,
                "Content blocks are expected to be either text or image_url type.",
            ),
            (
                Feature::Audio,
                "modalities",
                &gpt_4,
                Some("modalities"),
                unsupported,
                "Unsupported parameter: 'modalities' is not supported with this model.",
            ),
            (
                Feature::Tools,
                "functions",
                &o1_mini,
                Some("functions"),
                unsupported,
                "Unsupported parameter: 'functions' is not supported with this model.",
            ),
            (
                Feature::Logprobs,
                "logprobs",
                &o1_mini,
                Some("logprobs"),
                unsupported,
                "Unsupported parameter: 'logprobs' is not supported with this model.",
            ),
            (
                Feature::Reasoning,
                "reasoning_effort",
                &gpt_4,
                None,
                None,
                "Unrecognized request argument supplied: reasoning_effort",
            ),
            (
                Feature::WebSearch,
                "web_search_options",
                &gpt_4,
                Some("web_search_options"),
                Some("unknown_parameter"),
                "Unknown parameter: 'web_search_options'.",
            ),
        ] {
            let request = ChatRequest::builder("m").needs(feature, place);
            let rejection = refused(request, model);
            assert_eq!(what(&rejection), (param, code, message));
            assert_eq!(rejection.status(), 400);
        }
    }

    #[test]
    fn messages_are_reported_before_parameters() {
        let request = ChatRequest::builder("m")
            .needs(Feature::WebSearch, "web_search_options")
            .needs(Feature::JsonObject, "response_format")
            .needs(Feature::Images, "messages.[0].content.[0].type")
            .output_cap("max_tokens", 1 << 40);
        let rejection = refused(request, &known("gpt-4").unwrap());
        assert_eq!(rejection.param(), Some("messages.[0].content.[0].type"));
    }

    #[test]
    fn what_is_not_configured_is_not_checked() {
        let mut request = ChatRequest::builder("m").output_cap("max_tokens", u64::MAX);
        for feature in Feature::ALL {
            request = request.needs(feature, "somewhere");
        }
        check(
            &request.build(),
            None,
            &Model::new("m"),
            &ByteRule::default(),
        )
        .unwrap();

        let parallel = ChatRequest::builder("m").needs(Feature::ParallelTools, "x");
        let gpt_4 = known("gpt-4").unwrap();
        check(&parallel.build(), None, &gpt_4, &ByteRule::default()).unwrap();
    }

    #[test]
    fn an_output_cap_may_be_as_large_as_the_models() {
        let model = known("gpt-4o").unwrap();
        let ask = |tokens| ChatRequest::builder("m").output_cap("max_completion_tokens", tokens);
        check(&ask(16_384).build(), None, &model, &ByteRule::default()).unwrap();
        assert_eq!(
            what(&refused(ask(16_385), &model)),
            (
                Some("max_completion_tokens"),
                None,
                "max_completion_tokens is too large: 16385. This model supports at most 16384 completion tokens, whereas you provided 16385."
            )
        );
    }

    #[test]
    fn reasoning_models_want_the_other_cap() {
        let model = known("o3").unwrap();
        let old = ChatRequest::builder("m").output_cap("max_tokens", 5);
        assert_eq!(
            refused(old, &model).message(),
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        );
        let new = ChatRequest::builder("m").output_cap("max_completion_tokens", 5);
        check(&new.build(), None, &model, &ByteRule::default()).unwrap();
    }

    #[test]
    fn only_what_is_certain_exceeds_the_window() {
        let model = Model::new("m").with_context_window(1_000);
        let ask = |bytes: usize| {
            ChatRequest::builder("m")
                .message()
                .text(InputKind::Content, vec![b'a'; bytes], false)
        };
        // Far above the window by the estimate, not above it for certain.
        check(&ask(100_000).build(), None, &model, &ByteRule::default()).unwrap();
        let rejection = refused(ask(128_000), &model);
        assert_eq!(rejection.param(), Some("messages"));
        assert_eq!(rejection.code(), Some("context_length_exceeded"));
        assert_eq!(
            rejection.message(),
            "This model's maximum context length is 1000 tokens. However, your messages resulted in 42674 tokens. Please reduce the length of the messages."
        );
    }

    #[test]
    fn what_fits_by_its_bytes_is_not_looked_at() {
        struct Looks(Cell<u32>);
        impl TokenCounter for Looks {
            fn bounds(&self, _: &ChatRequest, _: &Model) -> TokenBounds {
                self.0.set(self.0.get() + 1);
                TokenBounds::exact(1)
            }
        }
        let model = Model::new("m").with_context_window(1_000);
        let looks = Looks(Cell::new(0));
        // One message and the answer's priming take 7 tokens at most.
        for (bytes, looked) in [(493, 0), (494, 1)] {
            let request = ChatRequest::builder("m")
                .output_cap("max_tokens", 500)
                .message()
                .text(InputKind::Content, vec![b'a'; bytes], false);
            check(&request.build(), None, &model, &looks).unwrap();
            assert_eq!(looks.0.get(), looked);
        }
    }

    #[test]
    fn the_stated_cap_counts_against_the_window() {
        struct Exactly(u64);
        impl TokenCounter for Exactly {
            fn bounds(&self, _: &ChatRequest, _: &Model) -> TokenBounds {
                TokenBounds::new(0, 1, u64::MAX)
            }
            fn count(&self, _: &ChatRequest, _: &Model) -> TokenBounds {
                TokenBounds::exact(self.0)
            }
        }
        let model = known("gpt-4").unwrap();
        let ask = || {
            ChatRequest::builder("gpt-4")
                .output_cap("max_tokens", 8_192)
                .build()
        };
        let rejection = check(&ask(), None, &model, &Exactly(11)).unwrap_err();
        assert_eq!(
            rejection.message(),
            "This model's maximum context length is 8192 tokens. However, you requested 8203 tokens (11 in the messages, 8192 in the completion). Please reduce the length of the messages or completion."
        );

        // The count is kept for whoever asks next.
        let request = ChatRequest::builder("gpt-4")
            .text(InputKind::Content, vec![b'a'; 200], false)
            .output_cap("max_tokens", 8_000)
            .build();
        check(&request, None, &model, &Exactly(11)).unwrap();
        let kept = request.prompt_tokens(|_| TokenBounds::exact(0));
        assert_eq!(kept, TokenBounds::exact(11));
    }
}
