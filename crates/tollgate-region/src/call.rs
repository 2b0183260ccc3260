//! One call, over all its attempts.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use http::{
    Extensions, HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Body;
use tokio::time::Instant;
use tollgate_core::{
    Dialect, Rejection, RejectionKind, Render, RequestBody, ResponseBody, SharedBody, Stamps,
    UpstreamFault,
};
use tower_service::Service;

use crate::{
    Classify, Fault, UpstreamBody,
    error_answer::{Blame, ErrorAnswer, Verdict},
    headers::{Outgoing, is_misplaced},
    pool::{Lease, Pool},
    settings::Common,
    target::Target,
};

/// A call that has been sent to an upstream.
pub(crate) struct Call<S, C, R> {
    pub(crate) common: Arc<Common<C, R>>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) stamps: Stamps,
    pub(crate) dialect: Dialect,
    pub(crate) deadline: Instant,
    /// Apart, because most calls need none, and calls are moved through every layer outside.
    pub(crate) replay: Option<Box<Replay<S>>>,
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

/// What has come of an attempt so far.
pub(crate) enum Step<F, P> {
    Done(Response<P>),
    Failed(Verdict),
    Read(ErrorAnswer, P),
    Sent(F),
}

impl<S, C, R> Call<S, C, R> {
    pub(crate) fn attempt_deadline(&self) -> Instant {
        let own = Instant::now().checked_add(self.lease.target.head_timeout);
        own.map_or(self.deadline, |own| own.min(self.deadline))
    }

    pub(crate) fn poll_resend<B, P>(&mut self, cx: &mut Context<'_>) -> Poll<Step<S::Future, P>>
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
                Poll::Ready(match request {
                    Ok(request) => Step::Sent(replay.service.call(request)),
                    Err(verdict) => Step::Failed(verdict),
                })
            }
        }
    }

    /// What an attempt's result means.
    pub(crate) fn judge<F, P, E>(&mut self, result: Result<Response<P>, E>) -> Step<F, P>
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
        if answer.status() == StatusCode::OK && !is_foreign(&answer) && !is_encoded(&answer) {
            self.lease.succeed();
            return Step::Done(answer);
        }
        let (head, body) = answer.into_parts();
        let status = match head.status {
            // A page, or an encoding that was not asked for, comes from something that is not the
            // upstream, whatever the status.
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
            blame: match self.common.classify.classify(error) {
                Fault::BeforeHead | Fault::Connect => Blame::Upstream,
                Fault::Other => Blame::Unknown,
            },
        }
    }

    /// Tells the upstream's record about a failure, and takes the next upstream if there is to be
    /// a further attempt.
    pub(crate) fn move_on(&mut self, verdict: &Verdict) -> bool {
        let may_help = match verdict.blame {
            Blame::Answered => {
                self.lease.succeed();
                false
            }
            Blame::Unknown => false,
            Blame::Busy(wait) => {
                self.lease.succeed();
                self.lease.cool(wait);
                true
            }
            Blame::TooLarge => {
                self.lease.succeed();
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
            || attempts >= self.common.settings.attempts
            || Instant::now() >= self.deadline
        {
            return false;
        }
        self.tried.push(Arc::clone(&self.lease.target));
        let Some(next) = self.pool.take_next(&self.tried) else {
            return false;
        };
        let shared = &self.pool.shared;
        if self.pool.check(&next, &shared.region).is_err() {
            return false;
        }
        if !shared
            .retries
            .withdraw(shared.clock.now(), shared.tally.calls.load(Relaxed))
        {
            shared.tally.retries_denied.fetch_add(1, Relaxed);
            return false;
        }
        shared.tally.retries.fetch_add(1, Relaxed);
        self.lease = next;
        true
    }

    pub(crate) fn finish<P>(self, answer: Response<P>) -> Response<UpstreamBody<P>>
    where
        P: Body,
    {
        let (mut head, body) = answer.into_parts();
        // The version is between the upstream and its client.
        head.version = Version::default();
        // hyper's servers would write the upstream's words beside the status.
        #[cfg(feature = "hyper-util")]
        head.extensions.remove::<hyper::ext::ReasonPhrase>();
        if head.extensions.get::<Rejection>().is_none() {
            head.headers = self.common.settings.forwarded.response(&head.headers);
        }
        self.sign(&mut head.headers);
        let lease = (!body.is_end_stream()).then_some(self.lease);
        Response::from_parts(head, UpstreamBody::new(ResponseBody::inner(body), lease))
    }

    pub(crate) fn refuse<P>(self, mut rejection: Rejection) -> Response<UpstreamBody<P>>
    where
        R: Render,
    {
        // An upstream that has enough to do, but did not say for how long, is left alone all the
        // same: to come back earlier would be of no use.
        let is_rate_limit = rejection.status() == StatusCode::TOO_MANY_REQUESTS;
        if is_rate_limit && !rejection.headers().contains_key(RETRY_AFTER) {
            if let Some(blocked) = self.pool.blocked() {
                rejection = rejection.with_retry_after(blocked.wait());
            }
        }
        let render = &self.common.render;
        let answer = self.stamps.refuse(rejection, self.dialect, render);
        let (mut head, bytes) = answer.into_parts();
        self.sign(&mut head.headers);
        Response::from_parts(head, UpstreamBody::new(ResponseBody::local(bytes), None))
    }

    /// Says where the answer comes from, whatever the upstream says.
    fn sign(&self, headers: &mut HeaderMap) {
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
) -> Result<Request<RequestBody<B>>, Verdict> {
    let headers = outgoing
        .for_target(target)
        .ok_or_else(|| Verdict::no_credentials(target))?;
    target.health.tally.attempts.fetch_add(1, Relaxed);
    let body = match body {
        Ok(shared) => {
            let fork = shared.fork();
            if let Some(model) = &target.model_json {
                // A fork has just been opened.
                let _ = fork.set("model", model.clone());
            }
            if target.wants_max_tokens {
                rename_cap(&fork);
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
    *request.headers_mut() = headers;
    *request.extensions_mut() = extensions;
    Ok(request)
}

/// States the cap of the output by the name that it had before there were models that reason.
fn rename_cap(body: &SharedBody) {
    let Some(cap) = body.edited("max_completion_tokens") else {
        return;
    };
    // A fork has just been opened. A request states one cap; null is none.
    let _ = body.remove("max_completion_tokens");
    if &*cap != b"null" {
        let _ = body.set("max_tokens", cap);
    }
}

/// Whether an answer says that it is something else than an answer to a chat completion. Of one
/// that does not say what it is, nothing is concluded.
fn is_foreign<P>(answer: &Response<P>) -> bool {
    let mut kinds = answer.headers().get_all(CONTENT_TYPE).into_iter();
    kinds.any(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii();
        !ANSWERS
            .iter()
            .any(|answer| kind.eq_ignore_ascii_case(answer))
    })
}

/// Whether an answer cannot be read as it stands, though none but `identity` was asked for.
fn is_encoded<P>(answer: &Response<P>) -> bool {
    let mut encodings = answer.headers().get_all(CONTENT_ENCODING).into_iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

pub(crate) const COMPLETED: &str = "future polled after completion";
const ANSWERS: [&[u8]; 2] = [b"application/json", b"text/event-stream"];
const REGION: HeaderName = HeaderName::from_static("x-tollgate-region");
const UPSTREAM: HeaderName = HeaderName::from_static("x-tollgate-upstream");
