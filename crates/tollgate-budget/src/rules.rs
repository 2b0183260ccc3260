//! What decides on a call: everything between a request's head and the store.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use http::request::Parts;
use tollgate_core::{
    Fact, Model, Rejection, RejectionKind, RequestId, SharedBody, TokenCounter, UsageSlot,
};

use crate::{
    Charge, Denial, FindKey, Key, Level, Limits, Observe, Quota, Reservation, Span, Standings,
    Store, StoreError, Units, WindowSpec,
    call::{Ends, Learner, OpenCall},
    cost::{Output, Plan},
    crowd::Crowd,
    headers,
    outputs::{DefaultOutputs, Outputs},
};

#[derive(Clone)]
pub(crate) struct Rules<St, C, K> {
    pub(crate) store: St,
    pub(crate) limits: Limits,
    pub(crate) counter: C,
    pub(crate) key: K,
    pub(crate) options: Options,
}

#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) levels: Vec<(&'static str, Arc<dyn Level>)>,
    pub(crate) observer: Option<Arc<dyn Observe>>,
    pub(crate) crowd: Option<Arc<Crowd>>,
    pub(crate) default_outputs: DefaultOutputs,
    pub(crate) outputs: Arc<Outputs>,
    pub(crate) random: RandomState,
    pub(crate) cap_upstream: bool,
    pub(crate) shadow: bool,
}

/// What was found out about a request before the store was asked, and how much it was asked for.
pub(crate) struct Asked {
    plan: Plan,
    cost: Units,
    quotas: Quotas,
    ends: Ends,
}

/// The quotas of the key, and of the levels beside it.
struct Quotas {
    own: Quota,
    levels: Vec<(&'static str, Cow<'static, str>, Quota)>,
}

/// What to do with a call: wait for the store, or let it pass uncounted because the layer only
/// watches, or refuse it.
pub(crate) type Verdict<Reserve> = Result<Option<(Reserve, Asked)>, Rejection>;

impl<St, C, K> Rules<St, C, K>
where
    St: Store,
    C: TokenCounter,
    K: FindKey,
{
    pub(crate) fn begin(&self, head: &Parts) -> Verdict<St::Reserve> {
        let key = self.key.find(head)?;
        match self.examine(head, &key)? {
            Some(asked) => Ok(Some(self.ask(&key, asked))),
            None => Ok(None),
        }
    }

    fn examine(&self, head: &Parts, key: &Key<'_>) -> Result<Option<Asked>, Rejection> {
        let options = &self.options;
        let hash = || options.random.hash_one((key.workspace(), key.name()));

        let permit = match &options.crowd {
            Some(crowd) => match crowd.enter(hash()) {
                Some(permit) => Some(permit),
                None => return self.crowded(head, key, crowd.limit()),
            },
            None => None,
        };
        let quotas = Quotas {
            own: self.limits.quota(key),
            levels: self.levels(head),
        };
        let rule = options.default_outputs.of(Model::of(&head.extensions));
        let assume = || options.outputs.foresee(hash(), rule);
        let plan = Plan::of(&head.extensions, quotas.narrowest(), &self.counter, assume)?;
        if let Output::Assumed { each, .. } = plan.output {
            if options.cap_upstream {
                let body = SharedBody::require(&head.extensions)?;
                if !options.shadow {
                    write_cap(body, each)?;
                }
            }
        }
        let learns = rule.is_learnt() && matches!(plan.output, Output::Assumed { .. });
        let ends = Ends {
            observer: None,
            learner: learns.then(|| Learner {
                outputs: Arc::clone(&options.outputs),
                key: hash(),
                is_capped: options.cap_upstream && !options.shadow,
            }),
            permit,
        };
        Ok(Some(Asked {
            plan,
            cost: plan.first,
            quotas,
            ends,
        }))
    }

    fn levels(&self, head: &Parts) -> Vec<(&'static str, Cow<'static, str>, Quota)> {
        let levels = self.options.levels.iter();
        let found = levels.filter_map(|(scope, level)| {
            let (name, quota) = level.find(head)?;
            Some((*scope, name, quota))
        });
        found.collect()
    }

    fn crowded(&self, head: &Parts, key: &Key<'_>, limit: u32) -> Result<Option<Asked>, Rejection> {
        if let Some(observer) = &self.options.observer {
            observer.crowded(key, limit);
        }
        if self.options.shadow {
            return Ok(None);
        }
        Err(headers::refuse_crowd(limit, Model::of(&head.extensions)))
    }

    fn ask(&self, key: &Key<'_>, asked: Asked) -> (St::Reserve, Asked) {
        let reserve = asked.quotas.windows(key, |windows| {
            let charge = Charge::new(key.workspace(), windows, asked.cost);
            self.store.reserve(&charge)
        });
        (reserve, asked)
    }

    /// The store has granted what was asked.
    ///
    /// In a box, because answers are moved through every layer outside.
    pub(crate) fn open(&self, head: &mut Parts, held: St::Held, asked: Asked) -> Box<OpenCall<St>> {
        let Asked {
            plan,
            cost,
            mut ends,
            ..
        } = asked;
        let reservation = Reservation::new(self.store.clone(), held, plan.started);
        if let Some(observer) = &self.options.observer {
            if let Ok(key) = self.key.find(head) {
                observer.reserved(&key, cost);
                ends.observer = Some((Arc::clone(observer), key.into_owned()));
            }
        }
        let usage = UsageSlot::new();
        head.extensions.insert(usage.clone());
        Box::new(OpenCall::new(reservation, cost, plan, usage, ends))
    }

    /// The store has no room: ask for less, or refuse.
    pub(crate) fn denied(
        &self,
        head: &Parts,
        denial: &Denial,
        mut asked: Asked,
    ) -> Verdict<St::Reserve> {
        let key = self.key.find(head)?;
        if let Some(cost) = asked.plan.count(&head.extensions, &self.counter) {
            return Ok(Some(self.ask(&key, Asked { cost, ..asked })));
        }
        let span = asked.quotas.windows(&key, |windows| {
            let window = windows.get(denial.window)?;
            if let Some(observer) = &self.options.observer {
                observer.denied(&key, window, denial);
            }
            Some(window.span)
        });
        // The store has refused for a reason that it was not asked about.
        let span = span.unwrap_or(Span::Minute);
        if self.options.shadow {
            return Ok(None);
        }
        Err(headers::refuse(
            denial,
            span,
            asked.cost.of(denial.dimension),
            Model::of(&head.extensions),
            spread(head, denial.spread),
        ))
    }

    /// The store cannot decide.
    pub(crate) fn failed(&self, head: &Parts, error: &StoreError) -> Verdict<St::Reserve> {
        if let (Some(observer), Ok(key)) = (&self.options.observer, self.key.find(head)) {
            observer.failed(&key, error);
        }
        if self.options.shadow {
            return Ok(None);
        }
        Err(Rejection::new(RejectionKind::BudgetUnavailable)
            .with_detail(format!("the store of budgets failed: {error}"))
            .with_retry_after(Duration::from_secs(1)))
    }

    /// What to print on the answer of an admitted call.
    pub(crate) fn printed(&self, standings: Standings) -> Option<Standings> {
        (!self.options.shadow).then_some(standings)
    }
}

impl Quotas {
    /// The least limit on tokens.
    fn narrowest(&self) -> Option<NonZeroU64> {
        let levels = self.levels.iter().map(|(_, _, quota)| quota);
        let quotas = levels.chain([&self.own]);
        quotas
            .flat_map(|quota| [quota.minute().tokens, quota.second().tokens])
            .flatten()
            .min()
    }

    fn windows<T>(&self, key: &Key<'_>, with: impl FnOnce(&[WindowSpec<'_>]) -> T) -> T {
        // The usual case, without an allocation.
        if self.levels.is_empty() && self.own.second().is_none() {
            let window = WindowSpec::new("", key.name(), Span::Minute, self.own.minute());
            return with(&[window]);
        }
        let levels = self.levels.iter();
        let levels = levels.map(|(scope, name, quota)| (*scope, &**name, quota));
        let all = [("", key.name(), &self.own)].into_iter().chain(levels);
        let windows: Vec<_> = all
            .flat_map(|(scope, name, quota)| {
                [
                    WindowSpec::new(scope, name, Span::Minute, quota.minute()),
                    WindowSpec::new(scope, name, Span::Second, quota.second()),
                ]
            })
            // What nobody limits by the minute is counted: a limit may be set while it is used.
            .filter(|window| window.span == Span::Minute || !window.limit.is_none())
            .collect();
        with(&windows)
    }
}

/// Tells the upstream what was reserved for a call that states no cap.
fn write_cap(body: &SharedBody, each: u64) -> Result<(), Rejection> {
    // The upstream refuses a cap of nothing.
    let cap = each.max(1).to_string();
    body.set("max_completion_tokens", cap).map_err(|closed| {
        Rejection::new(RejectionKind::MissingFact).with_detail(format!(
            "the output cannot be capped, because {closed}: put BudgetLayer outside whatever \
             reads the body"
        ))
    })
}

/// A share of `most` that differs from request to request.
fn spread(head: &Parts, most: Duration) -> Duration {
    let id = RequestId::of(&head.extensions).map_or("", RequestId::as_str);
    let sum = id.bytes().fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME)
    });
    most.mul_f64(f64::from(sum) / f64::from(u32::MAX))
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;
