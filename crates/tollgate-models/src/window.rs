//! Whether a request fits into the model's context window.

use tollgate_core::{
    ByteRule, ChatRequest, Feature, InputKind, Model, Rejection, RejectionKind, TokenCounter,
};

/// Refuses what does not fit for certain. An estimate may err, so it refuses nothing.
pub(crate) fn check<C: TokenCounter>(
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
    let (functions, split) = match functions(request, model, counter, tokens) {
        0 => (0, String::new()),
        functions => (functions, format!(", {functions} in the functions")),
    };
    let messages = tokens.saturating_sub(functions);
    let explained = match (request.output_cap(), functions) {
        (None, 0) => format!(
            "your messages resulted in {tokens} tokens. Please reduce the length of the messages."
        ),
        (None, _) => format!(
            "your messages resulted in {tokens} tokens ({messages} in the messages{split}). Please \
             reduce the length of the messages or functions."
        ),
        (Some(_), _) => format!(
            "you requested {} tokens ({messages} in the messages{split}, {output} in the \
             completion). Please reduce the length of the messages{} completion.",
            tokens.saturating_add(output),
            if functions == 0 {
                " or"
            } else {
                ", functions, or"
            },
        ),
    };
    Err(Rejection::new(RejectionKind::InvalidRequest)
        .with_param("messages")
        .with_code("context_length_exceeded")
        .with_message(format!(
            "This model's maximum context length is {window} tokens. However, {explained}"
        )))
}

/// How many of these tokens are those of tools and functions, which the API tells apart.
fn functions<C: TokenCounter>(
    request: &ChatRequest,
    model: &Model,
    counter: &C,
    tokens: u64,
) -> u64 {
    if !request.features().contains(Feature::Tools) {
        return 0;
    }
    let inputs = request.inputs();
    let mut without = ChatRequest::builder(request.model());
    for _ in 0..inputs.messages() {
        without = without.message();
    }
    for text in inputs
        .texts()
        .iter()
        .filter(|text| text.kind != InputKind::Schema)
    {
        without = without.text(text.kind, text.text.clone(), text.escaped);
    }
    for image in inputs.images() {
        without = without.image(image.clone());
    }
    for _ in 0..inputs.opaque_parts() {
        without = without.opaque_part();
    }
    let messages = counter.count(&without.build(), model).estimate;
    tokens.saturating_sub(messages)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tollgate_core::{ChatRequestBuilder, TokenBounds};

    use super::*;
    use crate::known;

    fn refused(request: ChatRequestBuilder, model: &Model) -> Rejection {
        check(&request.build(), model, &ByteRule::default()).unwrap_err()
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
        check(&ask(100_000).build(), &model, &ByteRule::default()).unwrap();
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
            check(&request.build(), &model, &looks).unwrap();
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
        let rejection = check(&ask(), &model, &Exactly(11)).unwrap_err();
        assert_eq!(
            rejection.message(),
            "This model's maximum context length is 8192 tokens. However, you requested 8203 tokens (11 in the messages, 8192 in the completion). Please reduce the length of the messages or completion."
        );

        // The count is kept for whoever asks next.
        let request = ChatRequest::builder("gpt-4")
            .text(InputKind::Content, vec![b'a'; 200], false)
            .output_cap("max_tokens", 8_000)
            .build();
        check(&request, &model, &Exactly(11)).unwrap();
        let kept = request.prompt_tokens(|_| TokenBounds::exact(0));
        assert_eq!(kept, TokenBounds::exact(11));
    }

    #[test]
    fn functions_are_told_apart_from_messages() {
        struct Bytes;
        impl TokenCounter for Bytes {
            fn bounds(&self, request: &ChatRequest, _: &Model) -> TokenBounds {
                TokenBounds::exact(request.inputs().plain_bytes())
            }
        }
        let model = Model::new("m").with_context_window(8_192);
        let ask = || {
            ChatRequest::builder("m")
                .needs(Feature::Tools, "tools")
                .message()
                .text(InputKind::Content, vec![b'a'; 8_500], false)
                .text(InputKind::Schema, vec![b'a'; 501], false)
        };
        let message = |request: ChatRequestBuilder| {
            let refusal = check(&request.build(), &model, &Bytes).unwrap_err();
            refusal.message().to_owned()
        };
        assert_eq!(
            message(ask()),
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens (8500 in the messages, 501 in the functions). Please reduce the length of the messages or functions."
        );
        assert_eq!(
            message(ask().output_cap("max_tokens", 99)),
            "This model's maximum context length is 8192 tokens. However, you requested 9100 tokens (8500 in the messages, 501 in the functions, 99 in the completion). Please reduce the length of the messages, functions, or completion."
        );
    }
}
