use std::fmt;

use http::request::Parts;
use tollgate_core::{
    Always, ByteRule, ChatRequest, DefaultRender, Fact, Gate, GateLayer, Gated, Matcher, Rejection,
    RejectionKind, Render, SharedBody, TokenCounter, Workspace,
};
use tower_layer::Layer;

use crate::{Models, capabilities};

/// Resolves and checks the model of each request. See the [crate docs](crate).
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct ModelsLayer<C = ByteRule, M = Always, R = DefaultRender> {
    gate: ModelsGate<C>,
    matcher: M,
    render: R,
}

impl ModelsLayer {
    /// Serves these models.
    pub fn new(models: Models) -> Self {
        Self {
            gate: ModelsGate {
                models,
                counter: ByteRule::default(),
            },
            matcher: Always::default(),
            render: DefaultRender::default(),
        }
    }
}

impl<C, M, R> ModelsLayer<C, M, R> {
    /// Counts prompts with this, for the context window. The default, [`ByteRule`], notices only
    /// gross excess. The counter is cloned with each service, so it should be cheap to clone.
    ///
    /// It is asked for bounds, and for a count only where they leave the decision open. It must
    /// bound the work of one count: the count is made where the request is being decided on.
    pub fn counter<C2: TokenCounter>(self, counter: C2) -> ModelsLayer<C2, M, R> {
        ModelsLayer {
            gate: ModelsGate {
                models: self.gate.models,
                counter,
            },
            matcher: self.matcher,
            render: self.render,
        }
    }

    /// Decides only on requests that match; others pass untouched, without a
    /// [`Model`](crate::Model).
    pub fn when<M2: Matcher>(self, matcher: M2) -> ModelsLayer<C, M2, R> {
        ModelsLayer {
            gate: self.gate,
            matcher,
            render: self.render,
        }
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> ModelsLayer<C, M, R2> {
        ModelsLayer {
            gate: self.gate,
            matcher: self.matcher,
            render,
        }
    }
}

impl<S, C, M, R> Layer<S> for ModelsLayer<C, M, R>
where
    C: TokenCounter + Clone,
    M: Matcher + Clone,
    R: Render + Clone,
{
    type Service = Gated<S, ModelsGate<C>, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        GateLayer::new(self.gate.clone())
            .when(self.matcher.clone())
            .render(self.render.clone())
            .layer(inner)
    }
}

impl<C, M, R> fmt::Debug for ModelsLayer<C, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelsLayer")
            .field("models", &self.gate.models)
            .finish_non_exhaustive()
    }
}

/// The decision that [`ModelsLayer`] puts in front of a service.
#[derive(Clone, Debug)]
pub struct ModelsGate<C> {
    models: Models,
    counter: C,
}

impl<C: TokenCounter> Gate for ModelsGate<C> {
    fn admit(&self, head: &mut Parts) -> Result<(), Rejection> {
        let extensions = &mut head.extensions;
        let request = ChatRequest::require(extensions)?;
        let workspace = if self.models.need_workspace() {
            Some(Workspace::require(extensions)?)
        } else {
            Workspace::of(extensions)
        };
        let resolved = self
            .models
            .find(request.model(), workspace)
            .ok_or_else(|| not_found(request.model()))?;
        let body = SharedBody::of(extensions);
        capabilities::check(request, body, &resolved.model, &self.counter)?;

        let respelled = request.model() != &**resolved.model.name();
        if let Some(body) = body.filter(|_| respelled) {
            body.set("model", resolved.json.clone())
                .map_err(|closed| misplaced(&closed))?;
        }
        let model = resolved.model.clone();
        extensions.insert(model);
        Ok(())
    }
}

/// The same answer for what does not exist and what is not the caller's.
pub(crate) fn not_found(name: &str) -> Rejection {
    let echo: String = name.chars().take(MAX_ECHO_CHARS).collect();
    let more = if echo.len() < name.len() { "…" } else { "" };
    Rejection::new(RejectionKind::ModelNotFound).with_message(format!(
        "The model `{echo}{more}` does not exist or you do not have access to it."
    ))
}

const MAX_ECHO_CHARS: usize = 128;

fn misplaced(closed: &tollgate_core::EditsClosed) -> Rejection {
    Rejection::new(RejectionKind::MissingFact).with_detail(format!(
        "the body's model cannot be replaced by the one that an alias names, because {closed}: \
         put ModelsLayer outside whatever reads the body"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_not_echoed_whole() {
        let rejection = not_found(&"é".repeat(1 << 20));
        assert_eq!(
            rejection.message().chars().filter(|c| *c == 'é').count(),
            128
        );
        assert_eq!(
            not_found("gpt-9").message(),
            "The model `gpt-9` does not exist or you do not have access to it."
        );
    }
}
