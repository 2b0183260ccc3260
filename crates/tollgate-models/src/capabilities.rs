use tollgate_core::{
    ChatRequest, Feature, Model, Rejection, RejectionKind, SharedBody, TokenCounter,
};

use crate::{known, values, window};

/// Refuses what the model is known to be unable to do; one error, in the order in which OpenAI
/// reports them.
pub(crate) fn check<C: TokenCounter>(
    request: &ChatRequest,
    body: Option<&SharedBody>,
    model: &Model,
    counter: &C,
) -> Result<(), Rejection> {
    values::developer_role(request, model)?;
    features(request, body, model)?;
    if let Some(body) = body {
        values::temperature(body, model)?;
    }
    output_cap(request, model)?;
    window::check(request, model, counter)
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
        invalid(message, param).with_code("unsupported_parameter")
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
        .with_code("unknown_parameter"),
        _ => return None,
    })
}

fn output_cap(request: &ChatRequest, model: &Model) -> Result<(), Rejection> {
    let Some(cap) = request.output_cap() else {
        return Ok(());
    };
    let invalid = || Rejection::new(RejectionKind::InvalidRequest).with_param(cap.param);
    // Other servers take it for models that reason: only of those of the catalogue is it known.
    let wants_other =
        || model.features().contains(Feature::Reasoning) && known(model.name()).is_some();
    if cap.param == "max_tokens" && wants_other() {
        return Err(invalid().with_code("unsupported_parameter").with_message(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                 'max_completion_tokens' instead.",
        ));
    }
    match model.max_output_tokens() {
        Some(most) if cap.tokens > u64::from(most) => Err(invalid().with_message(format!(
            "{param} is too large: {tokens}. This model supports at most {most} completion \
             tokens, whereas you provided {tokens}.",
            param = cap.param,
            tokens = cap.tokens,
        ))),
        _ => Ok(()),
    }
}

fn or<'a>(place: &'a str, fallback: &'a str) -> &'a str {
    if place.is_empty() { fallback } else { place }
}

#[cfg(test)]
mod tests {
    use tollgate_core::{ByteRule, ChatRequestBuilder};

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
    fn of_a_model_that_nobody_knows_either_cap_is_taken() {
        let model = Model::new("llama").with_features(Feature::ALL);
        for param in ["max_tokens", "max_completion_tokens"] {
            let request = ChatRequest::builder("llama").output_cap(param, 5).build();
            check(&request, None, &model, &ByteRule::default()).unwrap();
        }
    }
}
