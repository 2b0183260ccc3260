use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use tollgate_core::{
    Always, AttemptSettings, ChatRequest, DefaultRender, Dialect, Fact, Matcher, Render, RequestId,
    SharedBody, Stamps, UsageSlot,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    NoTap, SseBody, SseFuture, Tap,
    address::Address,
    future::{Call, Terms},
    settings::Settings,
};

/// Re-frames streamed answers and reads whole ones. See the [crate docs](crate) for an example.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct SseLayer<T = NoTap, M = Always, R = DefaultRender> {
    settings: Settings,
    tap: T,
    matcher: M,
    render: R,
}

impl SseLayer {
    /// A layer with the default limits.
    pub fn new() -> Self {
        Self {
            settings: Settings::default(),
            tap: NoTap,
            matcher: Always::default(),
            render: DefaultRender::default(),
        }
    }
}

impl Default for SseLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, M, R> SseLayer<T, M, R> {
    /// Limits one event. Default: 1 MiB. A larger one ends the stream with the error
    /// `upstream_invalid_event`.
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_event_bytes = bytes;
        self
    }

    /// Limits a JSON answer, which is held in memory. Default: 8 MiB; beyond: 502.
    pub fn max_json_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_json_bytes = bytes;
        self
    }

    /// Ends an answer of which no byte has come for this long, while somebody waited for it.
    /// Default: 300 s. [`AttemptSettings`] overrule it.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.silence.idle = timeout;
        self
    }

    /// Ends a stream of which no event has come for this long, whatever else it sends. Default:
    /// 15 minutes.
    pub fn progress_timeout(mut self, timeout: Duration) -> Self {
        self.settings.silence.progress = timeout;
        self
    }

    /// Holds the head of a stream back until its first event, or until this many bytes have come
    /// that hold none. Default: 64 KiB. An error that is found meanwhile becomes an answer with a
    /// status.
    pub fn hold_bytes(mut self, bytes: usize) -> Self {
        self.settings.hold_bytes = bytes;
        self
    }

    /// Whether streams are asked for their usage, if the request was read by `ValidateLayer`.
    /// Default: yes. [`AttemptSettings`] overrule it.
    pub fn ask_usage(mut self, ask: bool) -> Self {
        self.settings.ask_usage = ask;
        self
    }

    /// Leaves in what Azure's content filters say, such as `content_filter_results`.
    pub fn keep_filters(mut self) -> Self {
        self.settings.keep_filters = true;
        self
    }

    /// Sends a comment whenever a stream that has begun is silent for this long. Default: never;
    /// the SDKs ignore comments, some hand-written clients do not.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.settings.silence.keep_alive = Some(interval);
        self
    }

    /// Shows each stream's events to a clone of this tap.
    pub fn tap<T2: Tap>(self, tap: T2) -> SseLayer<T2, M, R> {
        SseLayer {
            settings: self.settings,
            tap,
            matcher: self.matcher,
            render: self.render,
        }
    }

    /// Acts only on requests that match; others pass untouched, as do their answers.
    pub fn when<M2: Matcher>(self, matcher: M2) -> SseLayer<T, M2, R> {
        SseLayer {
            settings: self.settings,
            tap: self.tap,
            matcher,
            render: self.render,
        }
    }

    /// Renders failures that are found before the head is sent with `render` in place of
    /// [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> SseLayer<T, M, R2> {
        SseLayer {
            settings: self.settings,
            tap: self.tap,
            matcher: self.matcher,
            render,
        }
    }
}

impl<S, T, M, R> Layer<S> for SseLayer<T, M, R>
where
    T: Clone,
    M: Clone,
    R: Clone,
{
    type Service = Sse<S, T, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Sse {
            inner,
            layer: self.clone(),
        }
    }
}

impl<T, M, R> fmt::Debug for SseLayer<T, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseLayer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The service made by [`SseLayer`].
#[derive(Clone)]
pub struct Sse<S, T = NoTap, M = Always, R = DefaultRender> {
    inner: S,
    layer: SseLayer<T, M, R>,
}

impl<S, T, M, R> Sse<S, T, M, R> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, T, M, R, ReqB, ResB> Service<Request<ReqB>> for Sse<S, T, M, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    T: Tap + Clone,
    M: Matcher,
    R: Render + Clone,
    ResB: Body<Data = Bytes> + Unpin,
{
    type Response = Response<SseBody<ResB, T>>;
    type Error = S::Error;
    type Future = SseFuture<S::Future, ResB, T, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let call = self
            .layer
            .matcher
            .matches(&head)
            .then(|| self.layer.open(&mut head));
        let request = Request::from_parts(head, body);
        SseFuture::new(self.inner.call(request), call)
    }
}

impl<T: Tap + Clone, M, R: Render + Clone> SseLayer<T, M, R> {
    /// Learns from a request what its answer will need, and asks the upstream for usage.
    fn open(&self, head: &mut Parts) -> Call<T, R> {
        let mut settings = self.settings;
        let stamps = Stamps::open(&mut head.extensions);
        let extensions = &head.extensions;
        if let Some(attempt) = AttemptSettings::of(extensions) {
            settings.ask_usage = attempt.ask_usage;
            settings.silence.idle = attempt.idle_timeout.unwrap_or(settings.silence.idle);
        }
        let chat = ChatRequest::of(extensions);
        let streams = chat.is_some_and(ChatRequest::stream);
        if let Some(body) = SharedBody::of(extensions).filter(|_| streams && settings.ask_usage) {
            // Too late only if somebody has measured the body already; then there is no usage.
            let _too_late = body.set("stream_options", r#"{"include_usage":true}"#);
        }
        let mut tap = self.tap.clone();
        tap.start(extensions);
        let address = Address::of(head);
        let terms = Box::new(Terms {
            settings,
            address,
            show_usage: chat.is_none_or(ChatRequest::usage_wanted),
            chat: chat.cloned(),
            request_id: RequestId::of(extensions).cloned(),
            usage: UsageSlot::of(extensions).cloned(),
            stamps,
            dialect: Dialect::of(&head.headers),
            bodiless: head.method == Method::HEAD,
            render: self.render.clone(),
        });
        Call { tap, terms }
    }
}

impl<S: fmt::Debug, T, M, R> fmt::Debug for Sse<S, T, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
