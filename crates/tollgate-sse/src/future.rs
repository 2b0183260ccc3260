use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
    response::Parts,
};
use http_body::Body;
use pin_project_lite::pin_project;
use tollgate_core::{
    ChatRequest, Dialect, Rejection, RejectionKind, Render, RequestId, Stamps, UpstreamFault,
    UsageSlot,
};

use crate::{
    Reframer, SseBody, StreamEnd, Tap,
    address::Address,
    chunk::{Reading, Shape},
    fault,
    json_answer::{JsonAnswer, Refusal, cut, too_large},
    settings::Settings,
    stream::{Clocks, Stream},
};

pin_project! {
    /// The answer of an [`Sse`](crate::Sse) service.
    pub struct SseFuture<F, B, T, R> {
        #[pin]
        state: State<F, B, T, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B, T, R> {
        Calling {
            #[pin]
            future: F,
            call: Option<Call<T, R>>,
        },
        Holding {
            head: Option<Parts>,
            stream: Option<Box<Stream<B, T>>>,
            terms: Box<Terms<R>>,
        },
        Reading {
            head: Option<Parts>,
            body: B,
            answer: Option<JsonAnswer>,
            clocks: Clocks,
            terms: Box<Terms<R>>,
        },
    }
}

/// What a request has left behind for its answer.
pub(crate) struct Call<T, R> {
    pub(crate) tap: T,
    /// Apart, because futures are moved through every layer outside.
    pub(crate) terms: Box<Terms<R>>,
}

/// The same without what only one stream can have.
pub(crate) struct Terms<R> {
    pub(crate) settings: Settings,
    pub(crate) address: Address,
    pub(crate) show_usage: bool,
    pub(crate) chat: Option<ChatRequest>,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) usage: Option<UsageSlot>,
    pub(crate) stamps: Stamps,
    pub(crate) dialect: Dialect,
    /// The answer to a `HEAD` request has a head alone.
    pub(crate) bodiless: bool,
    pub(crate) render: R,
}

impl<F, B, T, R> SseFuture<F, B, T, R> {
    /// Without a call, the answer passes.
    pub(crate) const fn new(future: F, call: Option<Call<T, R>>) -> Self {
        Self {
            state: State::Calling { future, call },
        }
    }
}

impl<F, B, T, R, E> Future for SseFuture<F, B, T, R>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes> + Unpin,
    T: Tap,
    R: Render,
{
    type Output = Result<Response<SseBody<B, T>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Calling { future, call } => {
                    let mut answer = ready!(future.poll(cx))?;
                    let Some(Call { tap, terms }) = call.take() else {
                        return Poll::Ready(Ok(answer.map(SseBody::passed)));
                    };
                    terms.stamps.pass(answer.headers_mut());
                    let next = match terms.kind(&answer) {
                        AnswerKind::Other => return Poll::Ready(Ok(answer.map(SseBody::passed))),
                        AnswerKind::Stream => terms.hold(answer, tap),
                        AnswerKind::Json if terms.is_too_large(&answer) => {
                            return Poll::Ready(Ok(terms.refuse(too_large())));
                        }
                        AnswerKind::Json => terms.read(answer),
                    };
                    state.set(next);
                }
                StateProj::Holding {
                    head,
                    stream,
                    terms,
                } => {
                    let held = stream.as_mut().expect(COMPLETED);
                    ready!(held.poll_fill(cx, terms.settings.hold_bytes));
                    if let Some(StreamEnd::Failed(fault)) = held.end() {
                        if held.is_untouched() {
                            return Poll::Ready(Ok(terms.fault(fault)));
                        }
                    }
                    let head = head.take().expect(COMPLETED);
                    let stream = stream.take().expect(COMPLETED);
                    return Poll::Ready(Ok(Response::from_parts(head, SseBody::stream(stream))));
                }
                StateProj::Reading {
                    head,
                    body,
                    answer,
                    clocks,
                    terms,
                } => {
                    let reading = answer.as_mut().expect(COMPLETED);
                    let read = ready!(poll_read(body, reading, clocks, cx));
                    let mut head = head.take().expect(COMPLETED);
                    let answer = answer.take().expect(COMPLETED);
                    let whole = read
                        .map_err(Refusal::Rejection)
                        .and_then(|()| answer.finish(terms.reading(), terms.usage.as_ref()));
                    return Poll::Ready(Ok(match whole {
                        Ok(bytes) => {
                            let length = HeaderValue::from(bytes.len());
                            head.headers.remove(TRANSFER_ENCODING);
                            head.headers.insert(CONTENT_LENGTH, length);
                            head.headers.entry(CONTENT_TYPE).or_insert(JSON);
                            Response::from_parts(head, SseBody::local(bytes))
                        }
                        Err(Refusal::Fault(fault)) => terms.fault(&fault),
                        Err(Refusal::Rejection(rejection)) => terms.refuse(rejection),
                    }));
                }
            }
        }
    }
}

enum AnswerKind {
    Stream,
    Json,
    Other,
}

impl<R: Render> Terms<R> {
    fn kind<B: Body>(&self, answer: &Response<B>) -> AnswerKind {
        let headers = answer.headers();
        let plain = headers
            .get(CONTENT_ENCODING)
            .is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if !answer.status().is_success() || !plain || self.bodiless {
            return AnswerKind::Other;
        }
        match media_type(headers) {
            Some(kind) if kind.eq_ignore_ascii_case("text/event-stream") => AnswerKind::Stream,
            Some(kind) if kind.eq_ignore_ascii_case("application/json") => AnswerKind::Json,
            Some(_) => AnswerKind::Other,
            // A server that does not say what it sends is taken to send what it was asked for.
            None if headers.contains_key(CONTENT_TYPE) => AnswerKind::Other,
            None => match &self.chat {
                Some(chat) if answer.status() == StatusCode::OK => match chat.stream() {
                    true => AnswerKind::Stream,
                    false => AnswerKind::Json,
                },
                _ => AnswerKind::Other,
            },
        }
    }

    fn hold<F, B, T>(self: Box<Self>, answer: Response<B>, tap: T) -> State<F, B, T, R> {
        let (mut head, body) = answer.into_parts();
        let headers = &mut head.headers;
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        for (name, value) in STREAM_HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let request = self.request_id.as_ref().map_or("", RequestId::as_str);
        let id = format!(
            "chatcmpl-{}",
            request.strip_prefix("req_").unwrap_or(request)
        );
        let model = self.chat.as_ref().map_or("unknown", ChatRequest::model);
        let reframer = Reframer::new()
            .show_usage(self.show_usage)
            .keep_filters(self.settings.keep_filters)
            .max_event_bytes(self.settings.max_event_bytes)
            .fill_with(&id, model, seconds_since_1970())
            .hide(self.address.clone())
            .tap(tap);
        if let Some(slot) = &self.usage {
            slot.watch_output();
        }
        let stream = Stream::new(body, reframer, self.usage.clone(), self.settings.silence);
        State::Holding {
            head: Some(head),
            stream: Some(Box::new(stream)),
            terms: self,
        }
    }

    fn is_too_large<B: Body>(&self, answer: &Response<B>) -> bool {
        answer.body().size_hint().lower() > self.settings.max_json_bytes as u64
    }

    fn read<F, B, T>(self: Box<Self>, answer: Response<B>) -> State<F, B, T, R> {
        let (head, body) = answer.into_parts();
        State::Reading {
            head: Some(head),
            body,
            answer: Some(JsonAnswer::new(self.settings.max_json_bytes)),
            clocks: Clocks::new(self.settings.silence),
            terms: self,
        }
    }

    fn reading(&self) -> Reading {
        Reading {
            show_usage: self.show_usage,
            keep_filters: self.settings.keep_filters,
            shape: Shape::Answer,
        }
    }

    /// A failure of the upstream's: a layer outside may still ask another one.
    fn fault<B, T>(&self, fault: &UpstreamFault) -> Response<SseBody<B, T>> {
        let fault = fault::answer(fault);
        let told = fault::told(&fault, &self.address);
        let mut answer = self.refuse(Rejection::from(&told));
        answer.extensions_mut().insert(fault);
        answer
    }

    fn refuse<B, T>(&self, rejection: Rejection) -> Response<SseBody<B, T>> {
        self.stamps
            .refuse(rejection, self.dialect, &self.render)
            .map(SseBody::local)
    }
}

/// Reads a JSON answer to its end.
fn poll_read<B>(
    body: &mut B,
    answer: &mut JsonAnswer,
    clocks: &mut Clocks,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Rejection>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut pieces = 0;
    loop {
        // No piece is an event, so that the longest silence bounds the whole answer too.
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
            let expired = clocks.poll_expired(0, cx);
            return expired.map(|()| Err(Rejection::new(RejectionKind::UpstreamTimeout)));
        };
        clocks.heard();
        match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    answer.push(data)?;
                }
            }
            Some(Err(_)) => return Poll::Ready(Err(cut())),
            None => return Poll::Ready(Ok(())),
        }
        if body.is_end_stream() {
            return Poll::Ready(Ok(()));
        }
        pieces += 1;
        if pieces == MAX_PIECES {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
    }
}

fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // SDKs take a 0 for no time at all, and no clock is a reason to send one.
    since.map_or(1, |since| since.as_secs().max(1))
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

impl<F, B, T, R> fmt::Debug for SseFuture<F, B, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseFuture").finish_non_exhaustive()
    }
}

/// As OpenAI sends streams; the last one keeps nginx from holding events back.
const STREAM_HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
    (CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Pieces that one poll takes at most, so that others get their turn.
const MAX_PIECES: usize = 64;

const COMPLETED: &str = "future polled after completion";
