//! The layer contract, the head hold, whole answers, usage and the clocks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tollgate_core::{
    AttemptSettings, ChatRequest, Fact, Member, Rejection, RejectionKind, RequestBody, SharedBody,
    UpstreamFault, Usage, UsageSlot,
};
use tollgate_sse::{Flow, SseBody, SseLayer, StreamEnd, Tap};
use tollgate_testing::{
    BodyWatch, ReadyProbe, ScriptedBody, Splits, assert_future, assert_layered, check_body,
};
use tower::{Layer, Service, ServiceExt};

const ROLE: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const HI: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#;
const TRUNCATED: &str = r#"data: {"error":{"message":"The model's answer ended before it was complete.","type":"server_error","param":null,"code":"upstream_stream_truncated"}}"#;

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

fn events<'a>(data: impl IntoIterator<Item = &'a str>) -> String {
    data.into_iter().map(event).collect()
}

/// Answers one request with this.
async fn answer(
    layer: SseLayer,
    request: Request<()>,
    answer: Response<ScriptedBody>,
) -> Response<SseBody<ScriptedBody>> {
    call(&layer, request, answer).await.unwrap()
}

fn call(
    layer: &SseLayer,
    request: Request<()>,
    answer: Response<ScriptedBody>,
) -> impl Future<Output = Result<Response<SseBody<ScriptedBody>>, Infallible>> + use<> {
    let answer = std::sync::Mutex::new(Some(answer));
    let inner = tower::service_fn(move |_: Request<()>| {
        std::future::ready(Ok(answer.lock().unwrap().take().unwrap()))
    });
    layer.layer(inner).oneshot(request)
}

fn stream(body: ScriptedBody) -> Response<ScriptedBody> {
    with_type("text/event-stream", body)
}

fn with_type(media_type: &str, body: ScriptedBody) -> Response<ScriptedBody> {
    let response = Response::builder().header("content-type", media_type);
    response.body(body).unwrap()
}

fn chat(usage_wanted: bool) -> (Request<()>, UsageSlot) {
    let chat = ChatRequest::builder("gpt-4o")
        .stream(true)
        .usage_wanted(usage_wanted);
    let slot = UsageSlot::new();
    let mut request = Request::new(());
    request.extensions_mut().insert(chat.build());
    request.extensions_mut().insert(slot.clone());
    (request, slot)
}

#[tokio::test]
async fn a_stream_passes_with_a_streams_head() {
    let probe = ReadyProbe::new(|_: Request<()>| {
        let mut response = stream(ScriptedBody::new().data(events([ROLE, HI, STOP, "[DONE]"])));
        response.headers_mut().insert("content-length", 9.into());
        response
            .headers_mut()
            .insert("transfer-encoding", "chunked".parse().unwrap());
        response
    });
    let mut service = SseLayer::new().layer(probe);
    assert_layered(&service);
    let future = service.ready().await.unwrap().call(Request::new(()));
    assert_future(&future);
    let response = future.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-cache");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert!(headers.contains_key("x-request-id"));
    assert!(!headers.contains_key("content-length"));
    assert!(!headers.contains_key("transfer-encoding"));
    let received = check_body(response.into_body()).await;
    assert_eq!(received.data, events([ROLE, HI, STOP, "[DONE]"]));
    assert_eq!(received.frames.len(), 1);
}

#[tokio::test]
async fn other_answers_pass_untouched() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x", "y".parse().unwrap());
    let body = || {
        ScriptedBody::new()
            .data("not ")
            .data("json")
            .trailers(trailers.clone())
    };
    let mut encoded = stream(body());
    encoded
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    let mut refused = with_type("application/json", body());
    *refused.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    for other in [
        with_type("text/plain", body()),
        with_type("application/json-seq", body()),
        Response::new(body()),
        encoded,
        refused,
    ] {
        let head = other.headers().clone();
        let status = other.status();
        let passed = answer(SseLayer::new(), Request::new(()), other).await;
        assert_eq!(passed.status(), status);
        for (name, value) in &head {
            assert_eq!(&passed.headers()[name], value);
        }
        let received = check_body(passed.into_body()).await;
        assert_eq!(received.data, "not json");
        assert_eq!(received.trailers.unwrap()["x"], "y");
    }
    let layer = SseLayer::new().when(|head: &Parts| head.uri.path() != "/");
    let inner = tower::service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(stream(ScriptedBody::new().data("data: x\n\n")))
    });
    let passed = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(check_body(passed.into_body()).await.data, "data: x\n\n");
    // An answer to HEAD has the head of JSON and no JSON.
    let head = Request::head("/").body(()).unwrap();
    let passed = answer(
        SseLayer::new(),
        head,
        with_type("application/json", ScriptedBody::new()),
    );
    assert_eq!(passed.await.status(), StatusCode::OK);
}

#[tokio::test]
async fn usage_is_asked_for_recorded_and_shown_to_who_asked() {
    let all = [ROLE, HI, STOP, USAGE, "[DONE]"];
    for (asked, shown) in [(false, &[ROLE, HI, STOP, "[DONE]"][..]), (true, &all)] {
        let (request, slot) = chat(asked);
        let body = ScriptedBody::new().data(events(all));
        let response = answer(SseLayer::new(), request, stream(body)).await;
        let received = check_body(response.into_body()).await;
        assert_eq!(received.data, events(shown.iter().copied()));
        assert_eq!(slot.usage(), Some(Usage::new(9, 4)));
        assert_eq!((slot.output_pieces(), slot.output_bytes()), (1, 2));
    }
    // Nobody knows what was asked for: usage passes as it came.
    let body = ScriptedBody::new().data(events(all));
    let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
    assert_eq!(check_body(response.into_body()).await.data, events(all));
}

#[tokio::test]
async fn the_upstream_is_asked_unless_it_refuses_to_be() {
    let asked = r#"{"stream_options":{"include_usage":true},"stream":true}"#;
    let plain = r#"{"stream":true}"#;
    for (settings, layer, streams, sent) in [
        (None, SseLayer::new(), true, asked),
        (None, SseLayer::new(), false, plain),
        (None, SseLayer::new().ask_usage(false), true, plain),
        (Some(true), SseLayer::new().ask_usage(false), true, asked),
        (Some(false), SseLayer::new(), true, plain),
    ] {
        let shared = SharedBody::new(plain.into(), vec![Member::new("stream", 1, 10..14)]);
        let mut request = Request::new(shared.body::<ScriptedBody>());
        let extensions = request.extensions_mut();
        extensions.insert(shared);
        extensions.insert(ChatRequest::builder("m").stream(streams).build());
        if let Some(ask) = settings {
            extensions.insert(AttemptSettings::new().ask_usage(ask));
        }
        let echo = ReadyProbe::new(|request: Request<RequestBody<ScriptedBody>>| {
            let echo = Response::builder().header("content-type", "text/plain");
            echo.body(request.into_body()).unwrap()
        });
        let response = layer.layer(echo).oneshot(request).await.unwrap();
        assert_eq!(check_body(response.into_body()).await.data, sent);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_say_what_it_is_is_what_was_asked_for() {
    let asked = |stream| {
        let mut request = Request::new(());
        let chat = ChatRequest::builder("m").stream(stream).build();
        request.extensions_mut().insert(chat);
        request
    };
    let unsaid = |data: &str| Response::new(ScriptedBody::new().data(data.to_owned()));

    let cut = answer(SseLayer::new(), asked(true), unsaid(&event(HI))).await;
    assert_eq!(
        cut.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let received = check_body(cut.into_body()).await;
    assert!(received.data.starts_with(event(HI).as_bytes()));
    assert!(
        received
            .data
            .ends_with(b"\"code\":\"upstream_stream_truncated\"}}\n\n")
    );

    let json = r#"{"choices":[]}"#;
    let whole = answer(SseLayer::new(), asked(false), unsaid(json)).await;
    assert_eq!(whole.headers()["content-type"], "application/json");
    assert_eq!(check_body(whole.into_body()).await.data, json);
    let page = answer(SseLayer::new(), asked(false), unsaid("<html>")).await;
    assert_eq!(page.status(), StatusCode::BAD_GATEWAY);

    let mut empty = unsaid("");
    *empty.status_mut() = StatusCode::NO_CONTENT;
    let passed = answer(SseLayer::new(), asked(false), empty).await;
    assert_eq!(passed.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn errors_do_not_say_where_the_upstream_is() {
    let error = event(r#"{"error":"chat-east-3 at eu-7.internal is down"}"#);
    for (before, is_told) in [("", "answer"), (HI, "event")] {
        let body = match before {
            "" => error.clone(),
            chunk => event(chunk) + &error,
        };
        let request = Request::post("https://eu-7.internal/openai/deployments/chat-east-3/x");
        let body = stream(ScriptedBody::new().data(body));
        let response = answer(SseLayer::new(), request.body(()).unwrap(), body).await;
        // Whoever chooses among upstreams knows them anyway.
        let fault = response.extensions().get::<UpstreamFault>();
        assert_eq!(fault.is_some(), is_told == "answer");
        assert!(fault.is_none_or(|fault| fault.message.contains("chat-east-3")));
        let received = check_body(response.into_body()).await;
        let text = String::from_utf8(received.data.to_vec()).unwrap();
        assert!(text.contains(r#""message":"… at … is down""#), "{text}");
    }
}

#[tokio::test]
async fn an_error_before_any_output_is_an_answer_with_a_status() {
    let filter = r#"{"choices":[],"prompt_filter_results":[]}"#;
    let error = r#"{"error":{"message":"Slow down","type":"tokens","code":"rate_limit_exceeded"}}"#;
    let invalid = "[1]";
    for (body, status, code) in [
        (events([filter, error]), 429, "rate_limit_exceeded"),
        (events([invalid]), 502, "upstream_invalid_event"),
        (events([filter]), 502, "upstream_stream_truncated"),
        (String::from(": ping\n\n"), 502, "upstream_stream_truncated"),
    ] {
        let body = ScriptedBody::new().pending().data(body);
        let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(response.headers().contains_key("x-request-id"));
        let fault = response.extensions().get::<UpstreamFault>().unwrap();
        assert_eq!(fault.code.as_deref(), Some(code));
        let kind = response.extensions().get::<Rejection>().unwrap().kind();
        assert_eq!(kind, RejectionKind::UpstreamFault);
        let received = check_body(response.into_body()).await;
        let json: serde_json::Value = serde_json::from_slice(&received.data).unwrap();
        assert_eq!(json["error"]["code"], code);
    }
}

#[tokio::test]
async fn later_errors_are_the_last_event() {
    let error = r#"{"error":{"message":"Boom","type":null,"code":500}}"#;
    let body = ScriptedBody::new()
        .data(event(ROLE))
        .pending()
        .data(events([error, HI, "[DONE]"]));
    let watch = body.watch();
    let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let received = check_body(response.into_body()).await;
    let last = r#"{"error":{"message":"Boom","type":"server_error","param":null,"code":"500"}}"#;
    assert_eq!(received.data, events([ROLE, last]));
    assert!(watch.is_dropped());

    let broken = ScriptedBody::new().data(event(HI)).error();
    let response = answer(SseLayer::new(), Request::new(()), stream(broken)).await;
    let received = check_body(response.into_body()).await;
    assert_eq!(received.data, format!("{}{TRUNCATED}\n\n", event(HI)));
}

#[tokio::test]
async fn the_head_is_held_no_longer_than_its_bytes() {
    let comment = format!(": {}\n", "x".repeat(1_000));
    let layer = SseLayer::new().hold_bytes(10_000);
    let error = event(r#"{"error":"gone"}"#);
    let body = ScriptedBody::new()
        .frames(vec![comment; 11])
        .pending()
        .data(error);
    let watch = body.watch();
    let response = answer(layer, Request::new(()), stream(body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(watch.polls(), 10);
    let received = check_body(response.into_body()).await;
    assert!(
        received
            .data
            .starts_with(b"data: {\"error\":{\"message\":\"gone\"")
    );
}

#[tokio::test]
async fn frames_that_are_ready_travel_together_and_never_wait() {
    let body = ScriptedBody::new()
        .data(event(ROLE))
        .data(event(HI))
        .pending()
        .data(event(HI))
        .pending()
        .data(event(STOP))
        .data("data: [DO")
        .data("NE]\n\n")
        .hang();
    let watch = body.watch();
    let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
    let received = check_body(response.into_body()).await;
    let frames = [events([ROLE, HI]), event(HI), events([STOP, "[DONE]"])];
    assert_eq!(received.frames, frames);
    // The upstream is let go with `[DONE]`, whatever else it had in mind.
    assert!(watch.is_dropped());
}

#[tokio::test]
async fn the_upstream_is_let_go_in_the_poll_that_decides() {
    let error = r#"{"error":"gone"}"#;
    for last in ["[DONE]", error, "[1]"] {
        let body = ScriptedBody::new()
            .data(event(HI))
            .pending()
            .data(event(last))
            .data("more")
            .hang();
        let watch = body.watch();
        let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        assert!(!watch.is_dropped() && !body.is_end_stream());
        body.frame().await.unwrap().unwrap();
        assert!(watch.is_dropped() && body.is_end_stream());
    }
}

#[tokio::test]
async fn a_piece_that_needs_no_change_is_not_copied() {
    let piece = bytes::Bytes::from(events([ROLE, HI, HI]));
    let body = ScriptedBody::new()
        .data(piece.clone())
        .pending()
        .data(events([STOP, "[DONE]"]));
    let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
    let received = check_body(response.into_body()).await;
    assert_eq!(received.frames[0].as_ptr(), piece.as_ptr());
    assert_eq!(received.frames[0], piece);
}

#[tokio::test]
async fn a_caller_who_does_not_read_stops_the_upstream() {
    let body = ScriptedBody::new().frames(vec![event(HI).repeat(200); 100]);
    let watch = body.watch();
    let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
    assert_eq!(watch.polls(), 1);
    let mut body = response.into_body();
    for polls in 1..10 {
        body.frame().await.unwrap().unwrap();
        assert_eq!(watch.polls(), polls);
    }
    drop(body);
    assert!(watch.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_stream() {
    let start = Instant::now();
    let (mut request, _) = chat(false);
    request
        .extensions_mut()
        .insert(AttemptSettings::new().idle_timeout(Duration::from_secs(7)));
    let body = ScriptedBody::new().data(event(HI)).hang();
    let watch = body.watch();
    let response = answer(SseLayer::new(), request, stream(body)).await;
    let received = check_body(response.into_body()).await;
    let text = String::from_utf8(received.data.to_vec()).unwrap();
    assert!(
        text.ends_with("\"code\":\"upstream_timeout\"}}\n\n"),
        "{text}"
    );
    assert_eq!(start.elapsed().as_secs(), 7);
    assert!(watch.is_dropped());

    // Before the first event it is an answer of its own.
    let body = ScriptedBody::new().data(": ping\n").hang();
    let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(start.elapsed().as_secs(), 307);

    let json = ScriptedBody::new().data("{").hang();
    let response = answer(
        SseLayer::new(),
        Request::new(()),
        with_type("application/json", json),
    );
    assert_eq!(response.await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(start.elapsed().as_secs(), 607);
}

#[tokio::test(start_paused = true)]
async fn the_callers_slowness_is_not_the_upstreams_silence() {
    let body = ScriptedBody::new()
        .data(event(HI))
        .pending()
        .data(event(STOP))
        .pending()
        .data(event("[DONE]"));
    let response = answer(SseLayer::new(), Request::new(()), stream(body)).await;
    let mut body = response.into_body();
    let mut received = Vec::new();
    while let Some(frame) = body.frame().await {
        received.extend_from_slice(&frame.unwrap().into_data().unwrap());
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
    assert_eq!(received, events([HI, STOP, "[DONE]"]).into_bytes());
}

/// A body that sends the same piece again and again, a minute apart.
struct Trickle(&'static str, std::pin::Pin<Box<tokio::time::Sleep>>);

impl Trickle {
    fn new(piece: &'static str) -> Self {
        Self(piece, Box::pin(tokio::time::sleep(MINUTE)))
    }
}

const MINUTE: Duration = Duration::from_secs(60);

impl Body for Trickle {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        std::task::ready!(self.1.as_mut().poll(cx));
        self.1.set(tokio::time::sleep(MINUTE));
        Poll::Ready(Some(Ok(http_body::Frame::data(self.0.into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_trickle_without_events_ends_too() {
    let start = Instant::now();
    let inner = tower::service_fn(|_: Request<()>| async {
        let response = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, Infallible>(response.body(Trickle::new(": ping\n\n")).unwrap())
    });
    let response = SseLayer::new()
        .layer(inner)
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(start.elapsed(), 15 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_are_sent_if_asked_for() {
    let layer = SseLayer::new().keep_alive(Duration::from_secs(100));
    let body = ScriptedBody::new().data(event(HI)).hang();
    let response = answer(layer, Request::new(()), stream(body)).await;
    let received = check_body(response.into_body()).await;
    let comments = [": keep-alive\n\n"; 2].map(bytes::Bytes::from);
    assert_eq!(received.frames[1..3], comments);
    assert_eq!(received.frames.len(), 4);
}

async fn json_answer(body: ScriptedBody) -> (Response<()>, bytes::Bytes, UsageSlot) {
    let (request, slot) = chat(false);
    let response = with_type("application/json; charset=utf-8", body);
    let (head, body) = answer(SseLayer::new(), request, response)
        .await
        .into_parts();
    let received = check_body(body).await;
    (Response::from_parts(head, ()), received.data, slot)
}

#[tokio::test]
async fn a_whole_answer_is_read_once_and_keeps_its_bytes() {
    let json = r#"{ "prompt_filter_results":[{}], "id":"", "choices":[ {"content_filter_results":{"hate":{}},"index":0,"message":{"role":"assistant","content":"Grüße"},"logprobs":-1.0e-4,"finish_reason":"stop"} ], "usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11} }"#;
    let clean = r#"{ "id":"", "choices":[ {"index":0,"message":{"role":"assistant","content":"Grüße"},"logprobs":-1.0e-4,"finish_reason":"stop"} ], "usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11} }"#;
    let read = Splits::of(json).check_async(async |pieces| {
        let pausing = |body: ScriptedBody, piece| body.pending().data(piece);
        let body = pieces.into_iter().fold(ScriptedBody::new(), pausing);
        let (head, data, slot) = json_answer(body).await;
        assert_eq!(
            head.headers()["content-length"],
            clean.len().to_string().as_str()
        );
        assert_eq!(
            head.headers()["content-type"],
            "application/json; charset=utf-8"
        );
        assert_eq!(slot.usage(), Some(Usage::new(9, 2)));
        assert_eq!((slot.output_pieces(), slot.output_bytes()), (1, 7));
        data
    });
    assert_eq!(read.await, clean);
    let piece = bytes::Bytes::from(clean);
    let untouched = with_type("application/json", ScriptedBody::new().data(piece.clone()));
    let response = answer(SseLayer::new(), Request::new(()), untouched).await;
    let received = check_body(response.into_body()).await;
    assert_eq!(received.frames[0].as_ptr(), piece.as_ptr());
    for other in [
        "[1, 2]",
        "\"text\"",
        r#"{"object":"list","error":{"message":"x"}}"#,
    ] {
        let (head, data, _) = json_answer(ScriptedBody::new().data(other)).await;
        assert_eq!(
            (head.status(), &data[..]),
            (StatusCode::OK, other.as_bytes())
        );
    }
}

#[tokio::test]
async fn a_broken_whole_answer_is_a_502() {
    let answer = r#"{"choices":[]}"#;
    let mut bodies: Vec<ScriptedBody> = (0..answer.len())
        .map(|at| ScriptedBody::new().data(answer.get(..at).unwrap().to_owned()))
        .collect();
    bodies.push(ScriptedBody::new().data(answer).error());
    bodies.push(ScriptedBody::new().data("<html>"));
    bodies.push(ScriptedBody::new().data(&b"{\"a\":\"\xff\"}"[..]));
    bodies.push(
        ScriptedBody::new()
            .data(vec![b' '; (8 << 20) + 1])
            .announce_length(),
    );
    bodies.push(
        ScriptedBody::new()
            .data(vec![b' '; 8 << 20])
            .data(" ")
            .hang(),
    );
    for body in bodies {
        let watch = body.watch();
        let (head, data, slot) = json_answer(body).await;
        assert_eq!(head.status(), StatusCode::BAD_GATEWAY);
        let kind = head.extensions().get::<Rejection>().unwrap().kind();
        assert_eq!(kind, RejectionKind::UpstreamFailed);
        assert!(head.extensions().get::<UpstreamFault>().is_none());
        let json: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(json["error"]["code"], "upstream_unavailable");
        assert_eq!(slot.usage(), None);
        assert!(watch.is_dropped());
    }
}

#[tokio::test]
async fn an_error_in_a_200_is_an_error() {
    let json = r#"{"error":{"message":"Too busy","code":"503"}}"#;
    let (head, _, _) = json_answer(ScriptedBody::new().data(json)).await;
    assert_eq!(head.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(head.extensions().get::<UpstreamFault>().is_some());
}

#[tokio::test]
async fn a_call_can_be_dropped_anywhere() {
    let streams = |steps: usize| {
        let body = ScriptedBody::new()
            .pending()
            .data(event(ROLE))
            .pending()
            .data(event(HI));
        let body = body.pending().hang();
        (body.watch(), stream(body), steps)
    };
    for (watch, response, steps) in (0..6).map(streams) {
        let mut future = Box::pin(call(&SseLayer::new(), Request::new(()), response));
        let mut cx = Context::from_waker(Waker::noop());
        let mut body = None;
        for _ in 0..steps {
            match &mut body {
                None => {
                    if let Poll::Ready(response) = future.as_mut().poll(&mut cx) {
                        body = Some(response.unwrap().into_body());
                    }
                }
                Some(body) => drop(pin!(body).poll_frame(&mut cx)),
            }
        }
        drop((future, body));
        assert!(watch.is_dropped(), "after {steps} polls");
    }
}

#[tokio::test]
async fn output_is_counted_as_it_is_passed_on() {
    let (request, slot) = chat(false);
    let tool = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\u00e9"}}]}}]}"#;
    let body = ScriptedBody::new()
        .data(event(HI))
        .pending()
        .data(event(tool))
        .pending()
        .data(event(HI))
        .hang();
    let response = answer(SseLayer::new(), request, stream(body)).await;
    let mut body = response.into_body();
    let counted = || (slot.output_pieces(), slot.output_bytes());
    assert_eq!(counted(), (0, 0));
    body.frame().await.unwrap().unwrap();
    assert_eq!(counted(), (1, 2));
    body.frame().await.unwrap().unwrap();
    assert_eq!(counted(), (2, 2 + 1 + 5));
    drop(body);
    assert_eq!(slot.usage(), None);
}

#[tokio::test]
async fn output_that_is_no_string_is_counted_too() {
    for (delta, bytes) in [
        (r#"{"content":[{"type":"text","text":"hi"}]}"#, 1),
        (r#"{"content":[]}"#, 0),
        (
            r#"{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}"#,
            1 + 7,
        ),
        (
            r#"{"function_call":{"name":"f","arguments":{"a":1}}}"#,
            1 + 7,
        ),
    ] {
        let (request, slot) = chat(false);
        let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
        let body = ScriptedBody::new().data(event(&chunk).repeat(3)).hang();
        let mut body = answer(SseLayer::new(), request, stream(body))
            .await
            .into_body();
        body.frame().await.unwrap().unwrap();
        let pieces = if bytes > 0 { 3 } else { 0 };
        assert_eq!(
            (slot.output_pieces(), slot.output_bytes()),
            (pieces, 3 * bytes),
            "{delta}"
        );
    }
}

#[tokio::test]
async fn a_flood_of_nothing_lets_others_have_their_turn() {
    let body = ScriptedBody::new()
        .frames(vec![":\n"; 1_000])
        .data(event("[DONE]"));
    let watch: BodyWatch = body.watch();
    let mut future = pin!(call(&SseLayer::new(), Request::new(()), stream(body)));
    let polls = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
    assert!(polls);
    assert!(watch.polls() <= 100);
    assert_eq!(future.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_event_that_is_too_large_ends_the_stream() {
    let layer = SseLayer::new().max_event_bytes(1_000);
    let large = format!("data: {}", "x".repeat(1_000));
    let body = ScriptedBody::new().data(event(HI)).data(large).hang();
    let watch = body.watch();
    let response = answer(layer, Request::new(()), stream(body)).await;
    let received = check_body(response.into_body()).await;
    let text = String::from_utf8(received.data.to_vec()).unwrap();
    assert!(
        text.ends_with("\"code\":\"upstream_invalid_event\"}}\n\n"),
        "{text}"
    );
    assert!(watch.is_dropped());
}

#[tokio::test]
async fn filters_can_be_kept() {
    let chunk = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{},"content_filter_results":{"hate":{}},"finish_reason":"stop"}],"prompt_annotations":[]}"#;
    let layer = SseLayer::new().keep_filters();
    let body = ScriptedBody::new().data(events([chunk, "[DONE]"]));
    let response = answer(layer, Request::new(()), stream(body)).await;
    assert_eq!(
        check_body(response.into_body()).await.data,
        events([chunk, "[DONE]"])
    );
}

/// Writes down what it sees, and does to each event what its text says.
#[derive(Clone, Default)]
struct Diary(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl Tap for Diary {
    fn start(&mut self, request: &http::Extensions) {
        let chat = ChatRequest::of(request).unwrap();
        self.0.lock().unwrap().push(chat.model().to_owned());
    }

    fn event(&mut self, json: &[u8]) -> Flow {
        let json = std::str::from_utf8(json).unwrap();
        self.0.lock().unwrap().push(json.to_owned());
        match json {
            _ if json.contains("DROP") => Flow::Drop,
            _ if json.contains("REPLACE") => Flow::Replace("{\n}".into()),
            _ => Flow::Keep,
        }
    }

    fn end(&mut self, end: &StreamEnd) {
        self.0.lock().unwrap().push(format!("{end:?}"));
    }
}

#[tokio::test]
async fn a_tap_sees_and_decides_what_goes_out() {
    let [drop, replace] = ["DROP", "REPLACE"].map(|text| HI.replace("Hi", text));
    let filtered = HI.replace("\"index\"", "\"content_filter_results\":{},\"index\"");
    let body = events([HI, &drop, &replace, ":", "{}", &filtered, STOP, "[DONE]"].into_iter());
    let body = ScriptedBody::new().data(body.replace("data: :", ":"));
    let response = std::sync::Mutex::new(Some(stream(body)));
    let inner = tower::service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(
            response.lock().unwrap().take().unwrap(),
        ))
    });
    let diary = Diary::default();
    let service = SseLayer::new().tap(diary.clone()).layer(inner);
    let response = service.oneshot(chat(false).0).await.unwrap();
    let received = check_body(response.into_body()).await;
    assert_eq!(received.data, events([HI, "{ }", HI, STOP, "[DONE]"]));
    let seen = diary.0.lock().unwrap();
    assert_eq!(
        **seen,
        ["gpt-4o", HI, &drop, &replace, HI, STOP, "Complete"]
    );
}

#[tokio::test]
async fn under_grpc_a_failure_is_a_status() {
    let mut request = Request::new(());
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let response = answer(SseLayer::new(), request, stream(ScriptedBody::new())).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "14");
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_has_a_time_too() {
    let start = Instant::now();
    let inner = tower::service_fn(|_: Request<()>| async {
        let response = Response::builder().header("content-type", "application/json");
        Ok::<_, Infallible>(response.body(Trickle::new(" ")).unwrap())
    });
    let response = SseLayer::new()
        .layer(inner)
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(start.elapsed(), 15 * MINUTE);
}

#[tokio::test]
async fn failures_look_as_the_renderer_says() {
    let render = |rejection: &Rejection, _: tollgate_core::Dialect| {
        let code = rejection.code().unwrap_or_default().to_owned();
        Response::new(bytes::Bytes::from(code))
    };
    let inner = tower::service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(stream(ScriptedBody::new()))
    });
    let service = SseLayer::new().render(render).layer(inner);
    let response = service.oneshot(Request::new(())).await.unwrap();
    let received = check_body(response.into_body()).await;
    assert_eq!(received.data, "upstream_stream_truncated");
}
