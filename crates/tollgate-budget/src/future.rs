use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tollgate_core::{
    Dialect, Fact, Model, Rejection, RejectionKind, Render, Stamps, TokenCounter, UsageSlot,
};
use tower_service::Service;

use crate::{
    BudgetBody, Charge, Decision, Denial, FindKey, Quota, Reservation, Span, Standings, Store,
    Units, WindowSpec, call::OpenCall, cost::Plan, headers, layer::Rules,
};

pin_project! {
    /// The answer of a [`Budget`](crate::Budget) service.
    ///
    /// # Cancel safety
    ///
    /// Nothing is charged before the first poll. Dropped while the store decides, it leaves no
    /// charge; dropped later, the call is settled as one whose caller left.
    pub struct BudgetFuture<S, B, St, C, K, R>
    where
        S: Service<Request<B>>,
        St: Store,
    {
        #[pin]
        state: State<S::Future, St::Reserve, St>,
        // What is needed until the inner service is called.
        waiting: Option<Waiting<S, B>>,
        rules: Option<Arc<Rules<St, C, K>>>,
        render: Option<R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, Reserve, St: Store> {
        New,
        Reserving {
            #[pin]
            reserve: Reserve,
            asked: Asked,
        },
        Calling {
            #[pin]
            future: F,
            call: Option<OpenCall<St>>,
            passed: Option<(Stamps, Standings)>,
        },
    }
}

struct Waiting<S, B> {
    inner: S,
    head: Parts,
    body: B,
    stamps: Stamps,
}

/// What the store has been asked.
#[derive(Clone, Copy)]
struct Asked {
    plan: Plan,
    cost: Units,
    quota: Quota,
}

impl<S, B, St, C, K, R> BudgetFuture<S, B, St, C, K, R>
where
    S: Service<Request<B>>,
    St: Store,
{
    pub(crate) fn pass(future: S::Future) -> Self {
        Self {
            state: State::Calling {
                future,
                call: None,
                passed: None,
            },
            waiting: None,
            rules: None,
            render: None,
        }
    }

    pub(crate) fn decide(
        inner: S,
        request: Request<B>,
        rules: Arc<Rules<St, C, K>>,
        render: R,
    ) -> Self {
        let (mut head, body) = request.into_parts();
        let stamps = Stamps::open(&mut head.extensions);
        Self {
            state: State::New,
            waiting: Some(Waiting {
                inner,
                head,
                body,
                stamps,
            }),
            rules: Some(rules),
            render: Some(render),
        }
    }
}

impl<S, B, St, C, K, R, ResB> Future for BudgetFuture<S, B, St, C, K, R>
where
    S: Service<Request<B>, Response = Response<ResB>>,
    St: Store,
    C: TokenCounter,
    K: FindKey,
    R: Render,
    ResB: Body<Data = Bytes>,
{
    type Output = Result<Response<BudgetBody<ResB, St>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let refusal = match this.state.as_mut().project() {
                StateProj::New => {
                    let rules = this.rules.as_ref().expect(POLLED_AGAIN);
                    let head = &this.waiting.as_ref().expect(POLLED_AGAIN).head;
                    match rules.begin(head) {
                        Ok((reserve, asked)) => {
                            this.state.set(State::Reserving { reserve, asked });
                            continue;
                        }
                        Err(refusal) => refusal,
                    }
                }
                StateProj::Reserving { reserve, asked } => {
                    let decision = ready!(reserve.poll(cx));
                    let asked = *asked;
                    let rules = this.rules.as_ref().expect(POLLED_AGAIN);
                    match decision {
                        Ok(Decision::Granted { held, standings }) => {
                            let guard =
                                Reservation::new(rules.store.clone(), held, asked.plan.started);
                            let usage = UsageSlot::new();
                            let call = OpenCall::new(guard, asked.plan, usage.clone());
                            let mut waiting = this.waiting.take().expect(POLLED_AGAIN);
                            waiting.head.extensions.insert(usage);
                            let request = Request::from_parts(waiting.head, waiting.body);
                            this.state.set(State::Calling {
                                future: waiting.inner.call(request),
                                call: Some(call),
                                passed: Some((waiting.stamps, standings)),
                            });
                            continue;
                        }
                        Ok(Decision::Denied(denial)) => {
                            let head = &this.waiting.as_ref().expect(POLLED_AGAIN).head;
                            match rules.again(head, asked) {
                                Some((reserve, asked)) => {
                                    this.state.set(State::Reserving { reserve, asked });
                                    continue;
                                }
                                None => explain(head, &denial, asked),
                            }
                        }
                        Err(error) => Rejection::new(RejectionKind::BudgetUnavailable)
                            .with_detail(format!("the store of budgets failed: {error}"))
                            .with_retry_after(Duration::from_secs(1)),
                    }
                }
                StateProj::Calling {
                    future,
                    call,
                    passed,
                } => {
                    let mut response = match ready!(future.poll(cx)) {
                        Ok(response) => response,
                        Err(error) => {
                            if let Some(call) = call.take() {
                                call.failed();
                            }
                            return Poll::Ready(Err(error));
                        }
                    };
                    if let Some((stamps, standings)) = passed {
                        stamps.pass(response.headers_mut());
                        headers::replace(response.headers_mut(), standings);
                    }
                    let mut call = call.take();
                    if let Some(call) = &mut call {
                        call.answered(&response);
                    }
                    return Poll::Ready(Ok(response.map(|body| BudgetBody::new(body, call))));
                }
            };
            let waiting = this.waiting.take().expect(POLLED_AGAIN);
            let render = this.render.as_ref().expect(POLLED_AGAIN);
            let dialect = Dialect::of(&waiting.head.headers);
            let response = waiting.stamps.refuse(refusal, dialect, render);
            return Poll::Ready(Ok(response.map(BudgetBody::local)));
        }
    }
}

const POLLED_AGAIN: &str = "future polled after completion";

impl<St, C, K> Rules<St, C, K>
where
    St: Store,
    C: TokenCounter,
    K: FindKey,
{
    fn begin(&self, head: &Parts) -> Result<(St::Reserve, Asked), Rejection> {
        let key = self.key.find(head)?;
        let quota = self.limits.quota(&key);
        let plan = Plan::of(
            &head.extensions,
            quota.minute(),
            &self.counter,
            DEFAULT_OUTPUT,
        )?;
        let asked = Asked {
            plan,
            cost: plan.first,
            quota,
        };
        self.ask(head, asked)
    }

    /// Asks for the second figure, if there is one and it was not asked for yet.
    fn again(&self, head: &Parts, asked: Asked) -> Option<(St::Reserve, Asked)> {
        let cost = asked.plan.second.filter(|second| *second != asked.cost)?;
        self.ask(head, Asked { cost, ..asked }).ok()
    }

    fn ask(&self, head: &Parts, asked: Asked) -> Result<(St::Reserve, Asked), Rejection> {
        let key = self.key.find(head)?;
        let windows =
            windows(&asked.quota).map(|(span, limit)| WindowSpec::new("", key.name(), span, limit));
        let windows = match asked.quota.second().is_none() {
            true => &windows[..1],
            false => &windows[..],
        };
        let charge = Charge::new(key.workspace(), windows, asked.cost);
        Ok((self.store.reserve(&charge), asked))
    }
}

fn windows(quota: &Quota) -> [(Span, crate::Limit); 2] {
    [
        (Span::Minute, quota.minute()),
        (Span::Second, quota.second()),
    ]
}

fn explain(head: &Parts, denial: &Denial, asked: Asked) -> Rejection {
    let span = if denial.window == 0 {
        Span::Minute
    } else {
        Span::Second
    };
    let requested = asked.cost.of(denial.dimension);
    let model = Model::of(&head.extensions);
    headers::refuse(denial, span, requested, model, Duration::ZERO)
}

const DEFAULT_OUTPUT: u64 = 1_024;

impl<S, B, St, C, K, R> fmt::Debug for BudgetFuture<S, B, St, C, K, R>
where
    S: Service<Request<B>>,
    St: Store,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetFuture").finish_non_exhaustive()
    }
}
