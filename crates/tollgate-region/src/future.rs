use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, HeaderName, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tollgate_core::{
    Dialect, Rejection, RejectionKind, Render, RequestBody, ResponseBody, SharedBody, Stamps,
    UpstreamFault,
};
use tower_service::Service;

use crate::{
    Classify, Fault, UpstreamBody,
    error_answer::{Blame, ErrorAnswer, Verdict},
    headers::{Outgoing, is_misplaced},
    layer::{Settings, check_region},
    pool::{Lease, Pool},
    target::Target,
};

pin_project! {
    /// The answer of a [`ToUpstream`](crate::ToUpstream) service.
    pub struct UpstreamFuture<S, F, B, P, C, R> {
        #[pin]
        state: State<F, P>,
        call: Option<Call<S, C, R>>,
        refusal: Option<Refusal<C, R>>,
        #[pin]
        clock: Option<Sleep>,
        body: PhantomData<fn(B)>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, P> {
        /// Not for this layer.
        Passing {
            #[pin]
            future: F,
        },
        /// Refused before anything was sent.
        Refusing,
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

/// A call that has been sent to an upstream.
pub(crate) struct Call<S, C, R> {
    pub(crate) settings: Arc<Settings<C, R>>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) stamps: Stamps,
    pub(crate) dialect: Dialect,
    pub(crate) deadline: Instant,
    pub(crate) replay: Option<Replay<S>>,
    pub(crate) lease: Lease,
    /// Empty, without an allocation, until something has failed.
    pub(crate) tried: Vec<Arc<Target>>,
}

/// What a further attempt is made of.
pub(crate) struct Replay<S> {
    pub(crate) service: S,
    pub(crate) outgoing: Outgoing,
    pub(crate) extensions: Extensions,
    pub(crate) shared: SharedBody,
}

struct Refusal<C, R> {
    stamps: Stamps,
    rejection: Rejection,
    dialect: Dialect,
    settings: Arc<Settings<C, R>>,
}

impl<S, F, B, P, C, R> UpstreamFuture<S, F, B, P, C, R> {
    fn new(state: State<F, P>) -> Self {
        Self {
            state,
            call: None,
            refusal: None,
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
        settings: Arc<Settings<C, R>>,
    ) -> Self {
        let refusal = Refusal {
            stamps,
            rejection,
            dialect,
            settings,
        };
        Self {
            refusal: Some(refusal),
            ..Self::new(State::Refusing)
        }
    }

    pub(crate) fn send(call: Call<S, C, R>, future: F) -> Self {
        Self {
            clock: Some(sleep_until(call.attempt_deadline())),
            call: Some(call),
            ..Self::new(State::Calling { future })
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
                StateProj::Refusing => {
                    let refusal = this.refusal.take().expect(COMPLETED);
                    let Refusal {
                        stamps,
                        rejection,
                        dialect,
                        settings,
                    } = refusal;
                    let answer = stamps.refuse(rejection, dialect, &settings.render);
                    let local = |bytes| UpstreamBody::new(ResponseBody::local(bytes), None);
                    return Poll::Ready(Ok(answer.map(local)));
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
                    match this.state.as_mut().project() {
                        // The status is known: that has to do.
                        StateProj::Reading { error, .. } => {
                            let call = this.call.as_mut().expect(COMPLETED);
                            let error = error.take().expect(COMPLETED);
                            Step::Failed(error.judge(&call.lease.target))
                        }
                        _ => Step::Failed(Verdict {
                            rejection: Rejection::new(RejectionKind::UpstreamTimeout),
                            blame: Blame::Upstream,
                        }),
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

enum Step<F, P> {
    Done(Response<P>),
    Failed(Verdict),
    Read(ErrorAnswer, P),
    Sent(F),
}

impl<S, C, R> Call<S, C, R> {
    fn attempt_deadline(&self) -> Instant {
        let own = Instant::now().checked_add(self.lease.target.head_timeout);
        own.map_or(self.deadline, |own| own.min(self.deadline))
    }

    fn poll_resend<B, P>(&mut self, cx: &mut Context<'_>) -> Poll<Step<S::Future, P>>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<P>>,
        C: Classify<S::Error>,
    {
        let replay = self.replay.as_mut().expect(COMPLETED);
        match replay.service.poll_ready(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Step::Failed(self.classify(&error))),
            Poll::Ready(Ok(())) => {
                let request = attempt(
                    &self.lease.target,
                    replay.outgoing.clone(),
                    replay.extensions.clone(),
                    Ok(&replay.shared),
                );
                Poll::Ready(Step::Sent(replay.service.call(request)))
            }
        }
    }

    /// What an attempt's result means.
    fn judge<F, P, E>(&mut self, result: Result<Response<P>, E>) -> Step<F, P>
    where
        P: Body,
        C: Classify<E>,
    {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return Step::Failed(self.classify(&error)),
        };
        let target = &self.lease.target;
        if is_misplaced(answer.headers(), target) {
            target.health.tally.misplaced.fetch_add(1, Relaxed);
        }
        // A fault comes first: whoever renders one leaves a rejection beside it.
        if let Some(fault) = answer.extensions().get::<UpstreamFault>() {
            return Step::Failed(ErrorAnswer::of_fault(fault).judge(target));
        }
        if answer.extensions().get::<Rejection>().is_some() {
            return Step::Done(answer);
        }
        if answer.status() == StatusCode::OK && !is_html(&answer) {
            self.lease.succeed();
            return Step::Done(answer);
        }
        let (head, body) = answer.into_parts();
        let status = match head.status {
            // A page with status 200 comes from something that is not the upstream.
            StatusCode::OK => StatusCode::BAD_GATEWAY,
            status => status,
        };
        Step::Read(ErrorAnswer::new(status, &head.headers), body)
    }

    fn classify<E>(&self, error: &E) -> Verdict
    where
        C: Classify<E>,
    {
        Verdict {
            rejection: Rejection::new(RejectionKind::UpstreamFailed),
            blame: match self.settings.classify.classify(error) {
                Fault::BeforeHead | Fault::Connect => Blame::Upstream,
                Fault::Other => Blame::Operator,
            },
        }
    }

    /// Tells the upstream's record about a failure, and takes the next upstream if there is to be
    /// a further attempt.
    fn move_on(&mut self, verdict: &Verdict) -> bool {
        let may_help = match verdict.blame {
            Blame::Caller | Blame::Operator => {
                // It answered, or nothing can be said of it.
                if verdict.blame == Blame::Caller {
                    self.lease.succeed();
                }
                false
            }
            Blame::Busy(wait) => {
                self.lease.succeed();
                self.lease.cool(wait);
                true
            }
            Blame::Upstream => {
                self.lease.fail();
                true
            }
        };
        let attempts = self.tried.len() + 1;
        if !may_help
            || self.replay.is_none()
            || attempts >= self.settings.attempts
            || Instant::now() >= self.deadline
        {
            return false;
        }
        self.tried.push(Arc::clone(&self.lease.target));
        let Some(next) = self.pool.take(&self.tried) else {
            return false;
        };
        let shared = &self.pool.shared;
        if check_region(&next, &shared.region, &self.pool).is_err() {
            return false;
        }
        if !shared.retries.withdraw(shared.clock.now()) {
            shared.tally.retries_denied.fetch_add(1, Relaxed);
            return false;
        }
        shared.tally.retries.fetch_add(1, Relaxed);
        self.lease = next;
        true
    }

    fn finish<P>(self, answer: Response<P>) -> Response<UpstreamBody<P>>
    where
        P: Body,
    {
        let (mut head, body) = answer.into_parts();
        if head.extensions.get::<Rejection>().is_none() {
            head.headers = self.settings.forwarded.response(&head.headers);
        }
        self.sign(&mut head.headers);
        let lease = (!body.is_end_stream()).then_some(self.lease);
        Response::from_parts(head, UpstreamBody::new(ResponseBody::inner(body), lease))
    }

    fn refuse<P>(self, rejection: Rejection) -> Response<UpstreamBody<P>>
    where
        R: Render,
    {
        let render = &self.settings.render;
        let answer = self.stamps.refuse(rejection, self.dialect, render);
        let (mut head, bytes) = answer.into_parts();
        self.sign(&mut head.headers);
        Response::from_parts(head, UpstreamBody::new(ResponseBody::local(bytes), None))
    }

    /// Says where the answer comes from, whatever the upstream says.
    fn sign(&self, headers: &mut http::HeaderMap) {
        let target = &self.lease.target;
        headers.insert(REGION, target.region.header_value().clone());
        headers.insert(UPSTREAM, target.upstream_header.clone());
        self.stamps.pass(headers);
    }
}

/// The request of one attempt. Of the caller's request it has the body, the facts, and the headers
/// that are on the list; all else is the target's.
pub(crate) fn attempt<B>(
    target: &Target,
    outgoing: Outgoing,
    mut extensions: Extensions,
    body: Result<&SharedBody, B>,
) -> Request<RequestBody<B>> {
    let body = match body {
        Ok(shared) => {
            let fork = shared.fork();
            if let Some(model) = &target.model_json {
                // A fork has just been opened.
                let _ = fork.set("model", model.clone());
            }
            let body = fork.body();
            extensions.insert(fork);
            body
        }
        Err(body) => RequestBody::streaming(body),
    };
    extensions.insert(target.settings);
    let mut request = Request::new(body);
    // The version stays at its default: what the caller speaks is no business of the upstream's.
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.uri.clone();
    *request.headers_mut() = outgoing.for_target(target);
    *request.extensions_mut() = extensions;
    request
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
        let frame = match std::task::ready!(body.as_mut().poll_frame(cx)) {
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

fn is_html<P>(answer: &Response<P>) -> bool {
    let content_type = answer.headers().get(CONTENT_TYPE);
    let start = content_type.and_then(|value| value.as_bytes().get(..HTML.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(HTML))
}

const COMPLETED: &str = "future polled after completion";
const HTML: &[u8] = b"text/html";
const MAX_ERROR_BYTES: usize = 64 << 10;
const REGION: HeaderName = HeaderName::from_static("x-tollgate-region");
const UPSTREAM: HeaderName = HeaderName::from_static("x-tollgate-upstream");
