use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use tollgate_core::{Always, ByteRule, DefaultRender, Matcher, Render, TokenCounter};
use tower_layer::Layer;

use crate::{
    Budget, ByWorkspaceAndModel, Cancel, DefaultOutput, Drain, DrainTask, FindKey, Level, Limits,
    Observe, Store,
    crowd::Crowd,
    rules::{Options, Rules},
};

/// Admits calls while their budgets have room, and settles them by what they used. See the
/// [crate docs](crate).
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct BudgetLayer<
    St,
    C = ByteRule,
    K = ByWorkspaceAndModel,
    M = Always,
    R = DefaultRender,
    D = Cancel,
> {
    rules: Rules<St, C, K>,
    matcher: M,
    render: R,
    departure: D,
}

impl<St: Store> BudgetLayer<St> {
    /// Counts in this store, under these limits.
    pub fn new(store: St, limits: Limits) -> Self {
        Self {
            rules: Rules {
                store,
                limits,
                counter: ByteRule::default(),
                key: ByWorkspaceAndModel,
                options: Options::default(),
            },
            matcher: Always::default(),
            render: DefaultRender::default(),
            departure: Cancel,
        }
    }
}

impl<St, C, K, M, R, D> BudgetLayer<St, C, K, M, R, D> {
    /// Counts prompts with this in place of the [`ByteRule`]. It should be cheap to clone.
    ///
    /// It is asked for bounds first, and for a count only where these are further apart than a
    /// thousandth of the narrowest limit on tokens.
    pub fn counter<C2: TokenCounter>(self, counter: C2) -> BudgetLayer<St, C2, K, M, R, D> {
        BudgetLayer {
            rules: Rules {
                store: self.rules.store,
                limits: self.rules.limits,
                counter,
                key: self.rules.key,
                options: self.rules.options,
            },
            matcher: self.matcher,
            render: self.render,
            departure: self.departure,
        }
    }

    /// Finds the budget of a request with this, in place of [`ByWorkspaceAndModel`].
    pub fn key<K2: FindKey>(self, key: K2) -> BudgetLayer<St, C, K2, M, R, D> {
        BudgetLayer {
            rules: Rules {
                store: self.rules.store,
                limits: self.rules.limits,
                counter: self.rules.counter,
                key,
                options: self.rules.options,
            },
            matcher: self.matcher,
            render: self.render,
            departure: self.departure,
        }
    }

    /// Charges each call to a further budget of its workspace too, or to none if one of them has
    /// no room. See [`Level`] for an example. `scope` tells this kind of budget from others in the
    /// same store; it must not be empty.
    pub fn also(mut self, scope: &'static str, level: impl Level) -> Self {
        self.rules.options.levels.push((scope, Arc::new(level)));
        self
    }

    /// Sets what is reserved for the output of calls that state no cap. Default:
    /// [`DefaultOutput::learnt(99)`](DefaultOutput::learnt).
    pub fn default_output(mut self, output: DefaultOutput) -> Self {
        self.rules.options.default_outputs.all = output;
        self
    }

    /// The same for one model, by its configured name, as the fact [`Model`](tollgate_core::Model)
    /// has it: answers of a model that reasons are longer than those of others.
    ///
    /// ```
    /// # use std::num::NonZeroU64;
    /// # use tollgate_budget::{BudgetLayer, DefaultOutput, Limits, MemoryStore, Quota};
    /// # let limits = Limits::new(Quota::tokens_per_minute(NonZeroU64::MIN));
    /// let layer = BudgetLayer::new(MemoryStore::new(), limits)
    ///     .default_output(DefaultOutput::learnt(95))
    ///     .default_output_of("o3", DefaultOutput::learnt(99).start(8_192));
    /// # let _ = layer;
    /// ```
    pub fn default_output_of(mut self, model: impl Into<Box<str>>, output: DefaultOutput) -> Self {
        let models = &mut self.rules.options.default_outputs.models;
        models.insert(model.into(), output);
        self
    }

    /// Tells the upstream what was reserved for the output of a call that states no cap, as
    /// `max_completion_tokens`. Then no output exceeds its reservation; but answers may end early.
    /// Off by default.
    ///
    /// It needs the fact [`SharedBody`](tollgate_core::SharedBody).
    pub fn cap_upstream(mut self) -> Self {
        self.rules.options.cap_upstream = true;
        self
    }

    /// Admits at most this many calls of each key at a time, each to the end of its answer. Default:
    /// any number. Counted in this process, whatever the store.
    ///
    /// One call too many is refused with 429, type `requests`, and told to come back in a second.
    pub fn concurrency(mut self, calls: NonZeroU32) -> Self {
        self.rules.options.crowd = Some(Arc::new(Crowd::new(calls.get())));
        self
    }

    /// Tells this about reservations and what becomes of them.
    pub fn observe(mut self, observer: impl Observe) -> Self {
        self.rules.options.observer = Some(Arc::new(observer));
        self
    }

    /// Only watches: counts, tells the [observer](Self::observe) what would have been refused, and
    /// lets it pass, without a charge as if it had been. Answers stay as they are.
    ///
    /// A missing fact is refused all the same: it is a mistake in the stack.
    pub fn shadow(mut self) -> Self {
        self.rules.options.shadow = true;
        self
    }

    /// When a caller leaves in the middle of an answer, reads on without it, so that the usage at
    /// the end becomes known. Default: the upstream is dropped with the caller.
    ///
    /// `executor` gets a future to run in the background, on a tokio runtime with a timer. It ends
    /// with the answer, after `max_bytes` or after `max_time`, whichever comes first. `executor` is
    /// called from destructors and must not panic: use a runtime's `Handle` in
    /// place of `tokio::spawn`. A caller that leaves before the answer begins is not waited for.
    ///
    /// Each answer's body is boxed, and its type becomes [`DrainedBody`](crate::DrainedBody).
    ///
    /// ```
    /// # use std::{num::NonZeroU64, time::Duration};
    /// # use tollgate_budget::{BudgetLayer, Limits, MemoryStore, Quota};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let quota = Quota::tokens_per_minute(NonZeroU64::MIN);
    /// let runtime = tokio::runtime::Handle::current();
    /// let spawn = move |task| drop(runtime.spawn(task));
    /// let layer = BudgetLayer::new(MemoryStore::new(), Limits::new(quota))
    ///     .drain(spawn, 1 << 20, Duration::from_secs(30));
    /// # let _ = layer;
    /// # }
    /// ```
    pub fn drain<E>(
        self,
        executor: E,
        max_bytes: u64,
        max_time: Duration,
    ) -> BudgetLayer<St, C, K, M, R, Drain<E>>
    where
        E: Fn(DrainTask) + Clone,
    {
        BudgetLayer {
            rules: self.rules,
            matcher: self.matcher,
            render: self.render,
            departure: Drain::new(executor, max_bytes, max_time),
        }
    }

    /// Decides only on requests that match; others pass untouched and cost nothing.
    pub fn when<M2: Matcher>(self, matcher: M2) -> BudgetLayer<St, C, K, M2, R, D> {
        BudgetLayer {
            rules: self.rules,
            matcher,
            render: self.render,
            departure: self.departure,
        }
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> BudgetLayer<St, C, K, M, R2, D> {
        BudgetLayer {
            rules: self.rules,
            matcher: self.matcher,
            render,
            departure: self.departure,
        }
    }
}

impl<S, St, C, K, M, R, D> Layer<S> for BudgetLayer<St, C, K, M, R, D>
where
    St: Clone,
    C: Clone,
    K: Clone,
    M: Clone,
    R: Clone,
    D: Clone,
{
    type Service = Budget<S, St, C, K, M, R, D>;

    fn layer(&self, inner: S) -> Self::Service {
        Budget {
            inner,
            rules: Arc::new(self.rules.clone()),
            matcher: self.matcher.clone(),
            render: self.render.clone(),
            departure: self.departure.clone(),
        }
    }
}

impl<St, C, K, M, R, D> fmt::Debug for BudgetLayer<St, C, K, M, R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetLayer").finish_non_exhaustive()
    }
}
