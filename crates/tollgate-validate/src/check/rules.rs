//! The rules across parameters, which hold for a request whose parameters are good by themselves.

use super::facts::{Gathered, Offer, Piece, ResponseFormat};
use crate::{errors, json::Text, policy::Policy};

use tollgate_core::Rejection;

impl Gathered<'_> {
    /// The first broken rule, in the order of the parameters.
    pub(super) fn rules(&self, policy: &Policy, json: &str) -> Result<(), Rejection> {
        self.tool_rules()?;
        self.logprob_rules()?;
        if self.response_format == Some(ResponseFormat::JsonObject) && !self.says_json(json) {
            return Err(errors::no_word_json());
        }
        if self.max_tokens.is_some() && self.max_completion_tokens.is_some() {
            return Err(errors::both_output_caps());
        }
        self.bias_rule(policy)?;
        if self.stream_options && !self.stream {
            return Err(errors::stream_options_without_stream());
        }
        Ok(())
    }

    fn tool_rules(&self) -> Result<(), Rejection> {
        self.functions.rules("function_call", "functions")?;
        self.tools.rules("tool_choice", "tools")?;
        if self.parallel_tool_calls.is_some() && !self.tools.is_made {
            return Err(errors::needs(
                "parallel_tool_calls",
                "'tools' are specified",
            ));
        }
        Ok(())
    }

    fn logprob_rules(&self) -> Result<(), Rejection> {
        match self.top_logprobs {
            Some((asked, max)) if asked > i128::from(max) => {
                Err(errors::top_logprobs_too_high(max))
            }
            Some(_) if !self.logprobs => {
                Err(errors::needs("top_logprobs", "'logprobs' is enabled"))
            }
            _ => Ok(()),
        }
    }

    fn bias_rule(&self, policy: &Policy) -> Result<(), Rejection> {
        let model = self.model.map(Text::unescaped).unwrap_or_default();
        let most = || (policy.largest_token)(&model);
        if let Some(odd) = self.bias.odd {
            return Err(errors::logit_bias_key(odd, most()));
        }
        if let Some((token, key)) = self.bias.largest {
            if let Some(most) = most().filter(|most| token > u64::from(*most)) {
                return Err(errors::logit_bias_key(key, Some(most)));
            }
        }
        Ok(())
    }

    /// Whether any message has the word, in any case and whatever its role.
    fn says_json(&self, json: &str) -> bool {
        let mut texts = self.pieces.iter().filter_map(Piece::message_text);
        texts.any(|(range, escaped)| {
            let raw = json.get(range.clone()).unwrap_or_default();
            let has_word = |text: &str| {
                let mut windows = text.as_bytes().windows(4);
                windows.any(|window| window.eq_ignore_ascii_case(b"json"))
            };
            has_word(raw) || (escaped && has_word(&Text::new(raw, range.start, true).unescaped()))
        })
    }
}

impl Offer<'_> {
    fn rules(&self, choice: &'static str, offer: &'static str) -> Result<(), Rejection> {
        if self.has_choice && !self.is_made {
            return Err(errors::needs(choice, &format!("'{offer}' are specified")));
        }
        match self.chosen {
            Some(chosen) if !self.names.iter().any(|name| name.same_as(chosen)) => {
                Err(errors::undeclared(choice, offer, chosen))
            }
            _ => Ok(()),
        }
    }
}
