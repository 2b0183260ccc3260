use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tollgate_core::{Dialect, Render, Stamps, TokenCounter, UsageSlot};
use tower_service::Service;

use crate::{
    BudgetBody, Decision, Departure, FindKey, Standings, Store,
    call::OpenCall,
    headers,
    rules::{Asked, Rules},
};

pin_project! {
    /// The answer of a [`Budget`](crate::Budget) service.
    ///
    /// # Cancel safety
    ///
    /// Nothing is charged before the first poll. Dropped while the store decides, it leaves no
    /// charge; dropped later, the call is settled as one whose caller left.
    pub struct BudgetFuture<S, B, St, C, K, R, D>
    where
        S: Service<Request<B>>,
        St: Store,
    {
        #[pin]
        state: State<S::Future, St::Reserve, St, Waiting<S, B, Arc<Rules<St, C, K>>, R>>,
        departure: D,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, Reserve, St: Store, W> {
        Deciding {
            // Until the inner service is called or the call refused.
            waiting: Option<W>,
            // Until the first poll nothing is asked.
            #[pin]
            reserve: Option<Reserve>,
            asked: Option<Asked>,
        },
        Calling {
            #[pin]
            future: F,
            stamps: Option<Stamps>,
            standings: Option<Standings>,
            call: Option<Box<OpenCall<St>>>,
        },
    }
}

struct Waiting<S, B, Rules, R> {
    inner: S,
    head: Parts,
    body: B,
    stamps: Stamps,
    rules: Rules,
    render: R,
}

impl<S, B, St, C, K, R, D> BudgetFuture<S, B, St, C, K, R, D>
where
    S: Service<Request<B>>,
    St: Store,
{
    pub(crate) fn pass(future: S::Future, departure: D) -> Self {
        Self {
            state: State::Calling {
                future,
                stamps: None,
                standings: None,
                call: None,
            },
            departure,
        }
    }

    pub(crate) fn decide(
        inner: S,
        mut head: Parts,
        body: B,
        rules: Arc<Rules<St, C, K>>,
        render: R,
        departure: D,
    ) -> Self {
        let stamps = Stamps::open(&mut head.extensions);
        let waiting = Some(Waiting {
            inner,
            head,
            body,
            stamps,
            rules,
            render,
        });
        Self {
            state: State::Deciding {
                waiting,
                reserve: None,
                asked: None,
            },
            departure,
        }
    }
}

impl<S, B, St, C, K, R, D, ResB> Future for BudgetFuture<S, B, St, C, K, R, D>
where
    S: Service<Request<B>, Response = Response<ResB>>,
    St: Store,
    C: TokenCounter,
    K: FindKey,
    R: Render,
    D: Departure<BudgetBody<ResB, St>>,
    ResB: Body<Data = Bytes>,
{
    type Output = Result<Response<D::Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Deciding {
                    waiting,
                    mut reserve,
                    asked,
                } => {
                    let decision = match reserve.as_mut().as_pin_mut() {
                        Some(reserve) => Some(ready!(reserve.poll(cx))),
                        None => None,
                    };
                    let decided = waiting.as_mut().expect(POLLED_AGAIN);
                    let verdict = match decision {
                        None => decided.rules.begin(&decided.head),
                        Some(Ok(Decision::Granted { held, standings })) => {
                            let asked = asked.take().expect(POLLED_AGAIN);
                            let standings = decided.rules.printed(standings);
                            let call = decided.rules.open(&mut decided.head, held, asked);
                            let waiting = waiting.take().expect(POLLED_AGAIN);
                            this.state.set(waiting.call(standings, Some(call)));
                            continue;
                        }
                        Some(Ok(Decision::Denied(denial))) => {
                            let asked = asked.take().expect(POLLED_AGAIN);
                            decided.rules.denied(&decided.head, &denial, asked)
                        }
                        Some(Err(error)) => decided.rules.failed(&decided.head, &error),
                    };
                    match verdict {
                        Ok(Some((next, cost))) => {
                            reserve.set(Some(next));
                            *asked = Some(cost);
                        }
                        Ok(None) => {
                            let mut waiting = waiting.take().expect(POLLED_AGAIN);
                            // Whoever relies on it must not notice that nobody counts.
                            waiting.head.extensions.insert(UsageSlot::new());
                            this.state.set(waiting.call(None, None));
                        }
                        Err(refusal) => {
                            let waiting = waiting.take().expect(POLLED_AGAIN);
                            let dialect = Dialect::of(&waiting.head.headers);
                            let response = waiting.stamps.refuse(refusal, dialect, &waiting.render);
                            return Poll::Ready(Ok(response.map(|bytes| {
                                this.departure.prepare(BudgetBody::local(bytes), false)
                            })));
                        }
                    }
                }
                StateProj::Calling {
                    future,
                    stamps,
                    standings,
                    call,
                } => {
                    let result = ready!(future.poll(cx));
                    let mut call = call.take();
                    let mut response = match result {
                        Ok(response) => response,
                        Err(error) => {
                            if let Some(call) = call {
                                call.failed();
                            }
                            return Poll::Ready(Err(error));
                        }
                    };
                    if let Some(stamps) = stamps {
                        stamps.pass(response.headers_mut());
                    }
                    if let Some(standings) = standings {
                        headers::replace(response.headers_mut(), standings);
                    }
                    if let Some(call) = &mut call {
                        call.answered(&response);
                    }
                    return Poll::Ready(Ok(response.map(|body| {
                        let body = BudgetBody::new(body, call);
                        let is_open = body.is_open();
                        this.departure.prepare(body, is_open)
                    })));
                }
            }
        }
    }
}

impl<S, B, Rules, R> Waiting<S, B, Rules, R>
where
    S: Service<Request<B>>,
{
    fn call<Reserve, St: Store, W>(
        mut self,
        standings: Option<Standings>,
        call: Option<Box<OpenCall<St>>>,
    ) -> State<S::Future, Reserve, St, W> {
        let request = Request::from_parts(self.head, self.body);
        State::Calling {
            future: self.inner.call(request),
            stamps: Some(self.stamps),
            standings,
            call,
        }
    }
}

const POLLED_AGAIN: &str = "future polled after completion";

impl<S, B, St, C, K, R, D> fmt::Debug for BudgetFuture<S, B, St, C, K, R, D>
where
    S: Service<Request<B>>,
    St: Store,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetFuture").finish_non_exhaustive()
    }
}
