//! What is accepted, absorbed and refused.

use std::{borrow::Cow, fmt, sync::Arc};

use tollgate_core::{ChatRequest, Rejection, SharedBody};

use crate::{
    json::Text,
    table::{Kind, OPENAI, Param, RESTRICTED, Verdict},
};

/// The parameter table and the rules beside it.
///
/// Three presets share one table and differ in four parameters:
///
/// | | [`strict`](Self::strict) | [`compatible`](Self::compatible), the default | [`openai`](Self::openai) |
/// |---|---|---|---|
/// | `n` | refused | 1 is absorbed, more is refused | accepted |
/// | `parallel_tool_calls` | refused | true is absorbed, false is refused | accepted |
/// | `service_tier` | refused | `auto` and `default` are absorbed, others are refused | accepted |
/// | `stream_options` | refused | absorbed; `include_usage` is [`usage_wanted`](ChatRequest::usage_wanted) | accepted |
///
/// A streaming handler of your own looks for `usage_wanted`, because
/// an absorbed `stream_options` is no longer in the body that it reads; `SseLayer` does so by itself.
///
/// What is absorbed is checked like everything else and then taken out of the body. Null means
/// absent, for every parameter but `model` and `messages`; one that is absorbed or refused is taken
/// out, because upstreams that do not know a parameter refuse its null as well.
///
/// ```
/// use tollgate_core::{Rejection, RejectionKind};
/// use tollgate_validate::Policy;
///
/// let policy = Policy::compatible()
///     .accept("n")
///     .refuse("logit_bias")
///     .absorb("metadata")
///     .remove("audio") // then unknown, like any other word
///     .rule("user", |json| match json.len() {
///         ..=66 => Ok(()),
///         _ => Err(Rejection::new(RejectionKind::InvalidRequest)
///             .with_message("'user' must have at most 64 bytes.")
///             .with_param("user")),
///     })
///     .request_rule(|request, _body| match request.output_cap() {
///         Some(_) => Ok(()),
///         None => Err(Rejection::new(RejectionKind::InvalidRequest)
///             .with_message("State 'max_tokens'.")
///             .with_param("max_tokens")),
///     });
/// # let _ = policy;
/// ```
#[derive(Clone)]
pub struct Policy {
    /// In the order in which faults are reported.
    params: Vec<Param>,
    /// Places in `params`, sorted by the lengths of their names, which are cheap to compare, and
    /// by the names.
    by_name: Vec<usize>,
    pub(crate) allow_unknown: bool,
    pub(crate) max_values: usize,
    pub(crate) largest_token: fn(&str) -> Option<u32>,
    pub(crate) request_rules: Vec<Arc<RequestRule>>,
}

/// A rule of the user's about a request that is fine otherwise.
pub(crate) type RequestRule =
    dyn Fn(&ChatRequest, &SharedBody) -> Result<(), Rejection> + Send + Sync;

impl Policy {
    /// Refuses what the documented service refuses, even in the spelling that changes nothing.
    #[must_use]
    pub fn strict() -> Self {
        RESTRICTED
            .iter()
            .fold(Self::openai(), |policy, (name, _)| policy.refuse(*name))
    }

    /// Refuses what would change the answer, and absorbs what SDKs send by themselves.
    #[must_use]
    pub fn compatible() -> Self {
        RESTRICTED
            .iter()
            .fold(Self::openai(), |policy, (name, verdict)| {
                policy.verdict(Cow::Borrowed(*name), *verdict)
            })
    }

    /// Accepts what OpenAI's API does, for an upstream that takes all of it.
    #[must_use]
    pub fn openai() -> Self {
        let params = OPENAI.map(|(name, kind)| Param::new(name, kind));
        let mut policy = Self {
            params: params.into(),
            by_name: Vec::new(),
            allow_unknown: false,
            max_values: 262_144,
            largest_token,
            request_rules: Vec::new(),
        };
        policy.index();
        policy
    }

    /// Adds a parameter, or replaces the one of that name.
    #[must_use]
    pub fn param(mut self, param: Param) -> Self {
        match self.params.iter_mut().find(|p| p.name == param.name) {
            Some(place) => *place = param,
            None => self.params.push(param),
        }
        self.index();
        self
    }

    /// Accepts a parameter; one that is not in the table is added and may have any value.
    #[must_use]
    pub fn accept(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.verdict(name.into(), Verdict::Accept)
    }

    /// Takes a parameter out of the body, whatever its value; its name is reported to the caller.
    #[must_use]
    pub fn absorb(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.verdict(name.into(), Verdict::Absorb)
    }

    /// Refuses a parameter as unsupported, whatever its value.
    #[must_use]
    pub fn refuse(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.verdict(name.into(), Verdict::Refuse)
    }

    /// Forgets a parameter: it is then unknown.
    #[must_use]
    pub fn remove(mut self, name: &str) -> Self {
        self.params.retain(|param| param.name != name);
        self.index();
        self
    }

    /// Adds a rule about the JSON text of a parameter's value, see [`Param::rule`].
    #[must_use]
    pub fn rule<F>(mut self, name: impl Into<Cow<'static, str>>, rule: F) -> Self
    where
        F: Fn(&str) -> Result<(), Rejection> + Send + Sync + 'static,
    {
        self.entry(name.into()).rules.push(Arc::new(rule));
        self
    }

    /// Adds a rule about a request that has passed everything else, see [`ChatRequest`]. It may set
    /// and remove members of the body.
    #[must_use]
    pub fn request_rule<F>(mut self, rule: F) -> Self
    where
        F: Fn(&ChatRequest, &SharedBody) -> Result<(), Rejection> + Send + Sync + 'static,
    {
        self.request_rules.push(Arc::new(rule));
        self
    }

    /// Passes on parameters that are not in the table.
    ///
    /// Names that differ from the table's in case alone stay refused, because some upstreams take
    /// them for the same.
    #[must_use]
    pub fn allow_unknown(mut self) -> Self {
        self.allow_unknown = true;
        self
    }

    /// Limits the number of JSON values in a body, containers included. Default: 262,144. Of the
    /// members that are passed on unread, in objects within each other, no more than 16,384 are
    /// compared at a time; a body that has more is refused too.
    #[must_use]
    pub fn max_values(mut self, values: usize) -> Self {
        self.max_values = values;
        self
    }

    /// Sets the largest token number that `logit_bias` may name for a model, in the caller's
    /// spelling; `None` leaves it to the upstream. Default: 100,257 for gpt-4 and gpt-3.5-turbo,
    /// 201,087 for gpt-4o, gpt-4.1 and the o series.
    #[must_use]
    pub fn largest_token(mut self, largest: fn(&str) -> Option<u32>) -> Self {
        self.largest_token = largest;
        self
    }

    /// The table, in the order in which faults are reported.
    #[must_use]
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The place of a parameter in the table.
    pub(crate) fn find(&self, name: Text<'_>) -> Option<usize> {
        let name = name.unescaped();
        let place = self
            .by_name
            .binary_search_by_key(&by_length(&name), |place| {
                by_length(&self.params[*place].name)
            })
            .ok()?;
        Some(self.by_name[place])
    }

    /// Whether some reader might take this unknown name for one in the table.
    pub(crate) fn has_twin(&self, name: &str) -> bool {
        self.params.iter().any(|p| folded(&p.name).eq(folded(name)))
    }

    fn verdict(mut self, name: Cow<'static, str>, verdict: Verdict) -> Self {
        self.entry(name).verdict = verdict;
        self
    }

    fn entry(&mut self, name: Cow<'static, str>) -> &mut Param {
        let place = match self.params.iter().position(|p| p.name == name) {
            Some(place) => place,
            None => {
                self.params.push(Param::new(name, Kind::Any));
                self.index();
                self.params.len() - 1
            }
        };
        &mut self.params[place]
    }

    fn index(&mut self) {
        self.by_name = (0..self.params.len()).collect();
        self.by_name
            .sort_by_key(|place| by_length(&self.params[*place].name));
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::compatible()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("params", &self.params)
            .field("allow_unknown", &self.allow_unknown)
            .field("max_values", &self.max_values)
            .finish_non_exhaustive()
    }
}

fn by_length(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// What the API is known to check for one vocabulary; for the other, of which it is not known, what
/// lies beyond its last special token.
fn largest_token(model: &str) -> Option<u32> {
    let is_of = |families: &[&str]| families.iter().any(|family| model.starts_with(family));
    if model == "gpt-4" || is_of(&["gpt-4-", "gpt-35-turbo", "gpt-3.5-turbo"]) {
        Some(100_257)
    } else if is_of(&["gpt-4o", "chatgpt-4o", "gpt-4.1", "o1", "o3", "o4-mini"]) {
        Some(201_087)
    } else {
        None
    }
}

/// Case folded as by readers that ignore case, which know two letters beyond ASCII that fold into
/// it: the Kelvin sign and the long s.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|c| match c {
        '\u{212A}' => 'k',
        '\u{17F}' => 's',
        c => c.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_at_its_place() {
        let policy = Policy::strict().accept("zzz").remove("audio");
        assert_eq!(policy.params().len(), 37);
        for (place, param) in policy.params().iter().enumerate() {
            let json = format!("\"{}\"", param.name);
            let mut scanner = crate::json::Scanner::new(&json, 1);
            let Ok(crate::json::Value::String(name)) = scanner.value() else {
                panic!("a string");
            };
            assert_eq!(policy.find(name), Some(place));
        }
    }

    #[test]
    fn twins_are_seen_through() {
        let policy = Policy::strict();
        for twin in ["MODEL", "max_to\u{212A}ens", "mes\u{17F}ages", "n"] {
            assert!(policy.has_twin(twin), "{twin}");
        }
        assert!(!policy.has_twin("top_k"));
    }
}
