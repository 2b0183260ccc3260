use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tollgate_core::{Dialect, Rejection, RejectionKind, Render, RequestBody, ResponseBody, Stamps};
use tower_service::Service;

use crate::{
    Classify, UpstreamBody,
    call::{COMPLETED, Call, Step},
    error_answer::{Blame, ErrorAnswer, Verdict},
    settings::Common,
};

pin_project! {
    /// The answer of a [`ToUpstream`](crate::ToUpstream) service.
    pub struct UpstreamFuture<S, F, B, P, C, R> {
        #[pin]
        state: State<F, P, C, R>,
        call: Option<Call<S, C, R>>,
        #[pin]
        clock: Option<Sleep>,
        body: PhantomData<fn(B)>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, P, C, R> {
        /// Not for this layer.
        Passing {
            #[pin]
            future: F,
        },
        /// Refused before anything was sent.
        Refusing { refusal: Option<Refusal<C, R>> },
        /// The first attempt cannot even be made.
        Failing { verdict: Option<Verdict> },
        /// A further attempt waits for the service to be ready.
        Readying,
        /// An attempt is under way.
        Calling {
            #[pin]
            future: F,
        },
        /// An error's body is being read.
        Reading {
            error: Option<ErrorAnswer>,
            #[pin]
            body: P,
            read: Vec<u8>,
        },
    }
}

struct Refusal<C, R> {
    stamps: Stamps,
    rejection: Rejection,
    dialect: Dialect,
    common: Arc<Common<C, R>>,
}

impl<S, F, B, P, C, R> UpstreamFuture<S, F, B, P, C, R> {
    fn new(state: State<F, P, C, R>) -> Self {
        Self {
            state,
            call: None,
            clock: None,
            body: PhantomData,
        }
    }

    pub(crate) fn pass(future: F) -> Self {
        Self::new(State::Passing { future })
    }

    pub(crate) fn refuse(
        stamps: Stamps,
        rejection: Rejection,
        dialect: Dialect,
        common: Arc<Common<C, R>>,
    ) -> Self {
        let refusal = Some(Refusal {
            stamps,
            rejection,
            dialect,
            common,
        });
        Self::new(State::Refusing { refusal })
    }

    pub(crate) fn send(call: Call<S, C, R>, future: F) -> Self {
        Self::begin(call, State::Calling { future })
    }

    pub(crate) fn fail(call: Call<S, C, R>, verdict: Verdict) -> Self {
        let verdict = Some(verdict);
        Self::begin(call, State::Failing { verdict })
    }

    fn begin(call: Call<S, C, R>, state: State<F, P, C, R>) -> Self {
        Self {
            clock: Some(sleep_until(call.attempt_deadline())),
            call: Some(call),
            ..Self::new(state)
        }
    }
}

impl<S, B, P, C, R> Future for UpstreamFuture<S, S::Future, B, P, C, R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<P>>,
    P: Body<Data = Bytes>,
    C: Classify<S::Error>,
    R: Render,
{
    type Output = Result<Response<UpstreamBody<P>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let step = match this.state.as_mut().project() {
                StateProj::Passing { future } => {
                    let answer = future.poll(cx)?;
                    return answer.map(|answer| {
                        Ok(answer.map(|body| UpstreamBody::new(ResponseBody::inner(body), None)))
                    });
                }
                StateProj::Refusing { refusal } => {
                    let refusal = refusal.take().expect(COMPLETED);
                    let Refusal {
                        stamps,
                        rejection,
                        dialect,
                        common,
                    } = refusal;
                    let answer = stamps.refuse(rejection, dialect, &common.render);
                    let local = |bytes| UpstreamBody::new(ResponseBody::local(bytes), None);
                    return Poll::Ready(Ok(answer.map(local)));
                }
                StateProj::Failing { verdict } => {
                    Poll::Ready(Step::Failed(verdict.take().expect(COMPLETED)))
                }
                StateProj::Readying => {
                    let call = this.call.as_mut().expect(COMPLETED);
                    call.poll_resend(cx)
                }
                StateProj::Calling { future } => {
                    let call = this.call.as_mut().expect(COMPLETED);
                    future.poll(cx).map(|answer| call.judge(answer))
                }
                StateProj::Reading { error, body, read } => {
                    poll_read(body, read, cx).map(|whole| {
                        let call = this.call.as_mut().expect(COMPLETED);
                        let mut error = error.take().expect(COMPLETED);
                        if whole {
                            error = error.with_body(read);
                        }
                        Step::Failed(error.judge(&call.lease.target))
                    })
                }
            };
            let step = match step {
                Poll::Ready(step) => step,
                Poll::Pending => {
                    let clock = this.clock.as_mut().as_pin_mut().expect(COMPLETED);
                    if clock.poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let timeout = |blame| {
                        let rejection = Rejection::new(RejectionKind::UpstreamTimeout);
                        Step::Failed(Verdict { rejection, blame })
                    };
                    match this.state.as_mut().project() {
                        // The status is known: that has to do.
                        StateProj::Reading { error, .. } => {
                            let call = this.call.as_mut().expect(COMPLETED);
                            let error = error.take().expect(COMPLETED);
                            Step::Failed(error.judge(&call.lease.target))
                        }
                        // The service could not even be called.
                        StateProj::Readying => timeout(Blame::Unknown),
                        _ => timeout(Blame::Upstream),
                    }
                }
            };
            match step {
                Step::Sent(future) => this.state.set(State::Calling { future }),
                Step::Read(error, body) => this.state.set(State::Reading {
                    error: Some(error),
                    body,
                    read: Vec::new(),
                }),
                Step::Done(answer) => {
                    let call = this.call.take().expect(COMPLETED);
                    return Poll::Ready(Ok(call.finish(answer)));
                }
                Step::Failed(verdict) => {
                    let call = this.call.as_mut().expect(COMPLETED);
                    if call.move_on(&verdict) {
                        let deadline = call.attempt_deadline();
                        let clock = this.clock.as_mut().as_pin_mut();
                        clock.expect(COMPLETED).reset(deadline);
                        // The failed attempt is dropped before the next one begins.
                        this.state.set(State::Readying);
                    } else {
                        let call = this.call.take().expect(COMPLETED);
                        return Poll::Ready(Ok(call.refuse(verdict.rejection)));
                    }
                }
            }
        }
    }
}

impl<S, F, B, P, C, R> fmt::Debug for UpstreamFuture<S, F, B, P, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamFuture").finish_non_exhaustive()
    }
}

/// Reads an error's body; true once it is there as a whole, false if it is broken or too long.
fn poll_read<P>(mut body: Pin<&mut P>, read: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<bool>
where
    P: Body<Data = Bytes>,
{
    loop {
        if body.is_end_stream() {
            return Poll::Ready(true);
        }
        let frame = match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(false),
            None => return Poll::Ready(true),
        };
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > MAX_ERROR_BYTES {
                return Poll::Ready(false);
            }
            read.extend_from_slice(data);
        }
    }
}

const MAX_ERROR_BYTES: usize = 64 << 10;
