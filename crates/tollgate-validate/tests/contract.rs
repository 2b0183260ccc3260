//! The layer contract: how the body is read, what the others see, and when it is too much.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body;
use tokio::time::{Instant, timeout};
use tollgate_core::{
    ChatRequest, Fact, Feature, InputKind, Rejection, RejectionKind, RequestBody, SharedBody,
};
use tollgate_testing::{
    ReadyProbe, ScriptedBody, Splits, assert_future, assert_layered, check_body,
};
use tollgate_validate::{Policy, ValidateLayer};
use tower::{Layer, Service, ServiceExt};

const GOOD: &str = r#"{ "model":"gpt-4o", "messages" : [{"role":"user","content":"hi \u00e9"}] }"#;

fn post(body: ScriptedBody) -> Request<ScriptedBody> {
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

fn json(text: &str) -> Request<ScriptedBody> {
    post(ScriptedBody::new().data(text.to_owned()))
}

/// A service that sends back what it gets.
fn echo() -> ReadyProbe<
    impl FnMut(Request<RequestBody<ScriptedBody>>) -> Response<RequestBody<ScriptedBody>> + Clone,
> {
    ReadyProbe::new(|request: Request<RequestBody<ScriptedBody>>| {
        let (head, body) = request.into_parts();
        let mut response = Response::new(body);
        *response.extensions_mut() = head.extensions;
        response
    })
}

async fn call(layer: ValidateLayer, request: Request<ScriptedBody>) -> Response<Bytes> {
    let response = layer.layer(echo()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    assert!(head.headers.contains_key("x-request-id"));
    Response::from_parts(head, check_body(body).await.data)
}

async fn refusal(layer: ValidateLayer, request: Request<ScriptedBody>) -> (StatusCode, Rejection) {
    let response = call(layer, request).await;
    let rejection = response.extensions().get::<Rejection>().unwrap();
    (response.status(), rejection.clone())
}

#[tokio::test]
async fn a_good_body_arrives_untouched_with_its_facts() {
    let mut service = ValidateLayer::default().layer(echo());
    assert_layered(&service);
    let future = service.ready().await.unwrap().call(json(GOOD));
    assert_future(&future);
    let response = future.await.unwrap();
    let chat = ChatRequest::of(response.extensions()).unwrap();
    assert_eq!(chat.model(), "gpt-4o");
    let body = SharedBody::of(response.extensions()).unwrap();
    assert_eq!(body.member("model").unwrap(), "\"gpt-4o\"");
    assert_eq!(response.body().size_hint().exact(), Some(GOOD.len() as u64));
    assert_eq!(check_body(response.into_body()).await.data, GOOD);
}

#[tokio::test]
async fn a_byte_order_mark_goes_no_further() {
    let good = r#"{"model":"m","n":1,"messages":[{"role":"user","content":"x"}]}"#;
    let marked = call(ValidateLayer::default(), json(&format!("\u{feff}{good}"))).await;
    assert_eq!(marked.status(), 200);
    assert_eq!(marked.body(), &good.replace(r#""n":1,"#, ""));
    for bad in [
        "\u{feff}".to_owned(),
        format!("\u{feff}\u{feff}{good}"),
        format!(" \u{feff}{good}"),
    ] {
        let (status, _) = refusal(ValidateLayer::default(), json(&bad)).await;
        assert_eq!(status, 400, "{bad}");
    }
}

#[tokio::test]
async fn how_a_body_is_cut_makes_no_difference() {
    for announced in [false, true] {
        let passed_on = Splits::of(GOOD).check_async(async |frames| {
            let pausing = |body: ScriptedBody, frame| body.data(frame).pending();
            let mut body = frames.into_iter().fold(ScriptedBody::new(), pausing);
            if announced {
                body = body.announce_length();
            }
            call(ValidateLayer::default(), post(body)).await.into_body()
        });
        assert_eq!(passed_on.await, GOOD);
    }
}

#[tokio::test]
async fn a_single_frame_is_not_copied() {
    let frame = Bytes::from(GOOD);
    let address = frame.as_ptr();
    for body in [
        ScriptedBody::new().data(frame.clone()),
        ScriptedBody::new().data("").data(frame.clone()).data(""),
    ] {
        let service = ValidateLayer::default().layer(echo());
        let response = service.oneshot(post(body)).await.unwrap();
        let frames = check_body(response.into_body()).await.frames;
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].as_ptr(), address);
    }
}

#[tokio::test]
async fn absorbed_parameters_are_named_and_gone() {
    let request = json(
        r#"{"n":1,"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}"#,
    );
    let response = call(ValidateLayer::default(), request).await;
    assert_eq!(
        response.headers()["x-tollgate-absorbed"],
        "n, stream_options"
    );
    assert_eq!(
        response.body(),
        r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#
    );
    let chat = ChatRequest::of(response.extensions()).unwrap();
    assert!(chat.stream() && chat.usage_wanted());

    let response = call(ValidateLayer::default(), json(GOOD)).await;
    assert!(!response.headers().contains_key("x-tollgate-absorbed"));
}

#[tokio::test]
async fn the_facts_say_what_the_prompt_is() {
    let request = json(
        r#"{"model":"m","max_tokens":7.0,"user":"\u0061b","logprobs":true,
            "tools":[{"type":"function","function":{"name":"f"}}],
            "tool_choice":{"type":"function","function":{"name":"f"}},
            "response_format":{"type":"json_schema","json_schema":{"name":"s"}},
            "messages":[
                {"content":"first\n","role":"system"},
                {"role":"user","name":"ann","content":[
                    {"text":"look","type":"text"},
                    {"type":"image_url","image_url":{"detail":"low","url":"https:\/\/x.example\/y"}},
                    {"type":"input_audio","input_audio":{"data":"aa","format":"wav"}}]},
                {"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
                {"role":"tool","tool_call_id":"1","name":"a b","content":"ok"}]}"#,
    );
    let response = call(ValidateLayer::default(), request).await;
    let chat = ChatRequest::of(response.extensions()).unwrap();
    assert_eq!(chat.output_cap().unwrap().tokens, 7);
    assert_eq!(chat.output_cap().unwrap().param, "max_tokens");
    assert_eq!(chat.user(), Some("ab"));
    assert_eq!(chat.choices().get(), 1);
    assert!(!chat.stream() && !chat.usage_wanted());
    for (feature, place) in [
        (Feature::Images, "messages.[1].content.[1].type"),
        (Feature::Audio, "messages.[1].content.[2].type"),
        (Feature::Tools, "tools"),
        (Feature::Logprobs, "logprobs"),
        (Feature::JsonSchema, "response_format"),
    ] {
        assert_eq!(chat.first_use(feature), Some(place));
    }
    assert_eq!(chat.features().iter().count(), 5);

    let inputs = chat.inputs();
    assert_eq!(inputs.messages(), 4);
    assert_eq!(inputs.opaque_parts(), 1);
    assert_eq!(inputs.images().len(), 1);
    assert_eq!(inputs.images()[0].url, r"https:\/\/x.example\/y");
    let texts: Vec<_> = inputs
        .texts()
        .iter()
        .map(|text| (text.kind, &*text.text, text.escaped))
        .collect();
    use InputKind::{Content, Name, Role, Schema, ToolCall, ToolChoice};
    let expected: [(InputKind, &[u8], bool); 14] = [
        (
            Schema,
            br#"{"type":"function","function":{"name":"f"}}"#,
            false,
        ),
        (
            ToolChoice,
            br#"{"type":"function","function":{"name":"f"}}"#,
            false,
        ),
        (
            Schema,
            br#"{"type":"json_schema","json_schema":{"name":"s"}}"#,
            false,
        ),
        // In front of the content, wherever the caller wrote it.
        (Role, b"system", false),
        (Content, br"first\n", true),
        (Role, b"user", false),
        (Name, b"ann", false),
        (Content, b"look", false),
        (Role, b"assistant", false),
        (ToolCall, b"f", false),
        (ToolCall, br#"{\"a\":1}"#, true),
        (Role, b"tool", false),
        (Name, b"a b", false),
        (Content, b"ok", false),
    ];
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn the_head_alone_can_be_refused() {
    let cases: [(&str, &str, &str, StatusCode); 8] = [
        (
            "GET",
            "content-type",
            "application/json",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            "PUT",
            "content-type",
            "application/json",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        ("POST", "x", "y", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (
            "POST",
            "content-type",
            "text/plain",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            "POST",
            "content-encoding",
            "gzip",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            "POST",
            "content-encoding",
            "identity, br",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            "POST",
            "content-length",
            "16777217",
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        ("POST", "content-length", "+3", StatusCode::BAD_REQUEST),
    ];
    for (method, name, value, status) in cases {
        let body = ScriptedBody::new().data(GOOD);
        let watch = body.watch();
        let mut request = Request::new(body);
        *request.method_mut() = method.parse().unwrap();
        if matches!(name, "content-encoding" | "content-length") {
            let json = "application/json".parse().unwrap();
            request.headers_mut().insert("content-type", json);
        }
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        let response = call(ValidateLayer::default(), request).await;
        assert_eq!(response.status(), status, "{method} {value}");
        // A body that is never polled is never asked for: no 100-continue goes out.
        assert_eq!(watch.polls(), 0);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            assert_eq!(response.headers()["allow"], "POST");
        }
    }
}

#[tokio::test]
async fn a_body_above_the_cap_is_dropped_where_it_crosses_it() {
    let layer = || ValidateLayer::default().max_body_bytes(100);
    // Declared by the body itself.
    let body = ScriptedBody::new().data("x".repeat(101)).announce_length();
    let watch = body.watch();
    let (status, _) = refusal(layer(), post(body)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(watch.polls(), 0);
    // Undeclared, and endless.
    let body = ScriptedBody::new().frames(vec!["x".repeat(30); 1_000]);
    let watch = body.watch();
    let (status, rejection) = refusal(layer(), post(body)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(rejection.code(), Some("request_too_large"));
    assert_eq!(watch.polls(), 4);
    // At the cap.
    let padded = format!("{GOOD}{}", " ".repeat(100 - GOOD.len()));
    assert_eq!(call(layer(), json(&padded)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_broken_body_is_the_callers_mistake() {
    let broken = ScriptedBody::new().data(GOOD).error();
    let (status, rejection) = refusal(ValidateLayer::default(), post(broken)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(rejection.kind(), RejectionKind::InvalidRequest);
    // Less than declared, although what came is good.
    for length in [GOOD.len() - 1, GOOD.len() + 1] {
        let mut request = json(GOOD);
        request
            .headers_mut()
            .insert("content-length", length.into());
        let (status, _) = refusal(ValidateLayer::default(), request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let mut request = json(GOOD);
    request
        .headers_mut()
        .insert("content-length", GOOD.len().into());
    let response = call(ValidateLayer::default(), request).await;
    assert_eq!(response.body(), GOOD);
}

#[tokio::test]
async fn trailers_end_a_body() {
    let body = ScriptedBody::new().data(GOOD).trailers(Default::default());
    let response = call(ValidateLayer::default(), post(body)).await;
    assert_eq!(response.body(), GOOD);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let start = Instant::now();
    let body = ScriptedBody::new().data(GOOD).hang();
    let watch = body.watch();
    let (status, _) = refusal(ValidateLayer::default(), post(body)).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(watch.is_dropped());

    // With any pace allowed the timeout remains.
    let start = Instant::now();
    let layer = ValidateLayer::default()
        .min_body_rate(0, Duration::ZERO)
        .body_timeout(Duration::from_secs(12));
    let (status, _) = refusal(layer, post(ScriptedBody::new().data("{").hang())).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(start.elapsed().as_secs(), 12);

    // What has come buys time, up to the timeout.
    for (kib, seconds) in [(10, 15), (100, 30)] {
        let start = Instant::now();
        let body = ScriptedBody::new().data(" ".repeat(kib << 10)).hang();
        let (status, _) = refusal(ValidateLayer::default(), post(body)).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

/// A body that sends a piece each second.
struct Trickle {
    pieces: Vec<Bytes>,
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::ready!(self.sleep.as_mut().poll(cx));
        self.sleep = Box::pin(tokio::time::sleep(Duration::from_secs(1)));
        std::task::Poll::Ready(
            self.pieces
                .pop()
                .map(|piece| Ok(http_body::Frame::data(piece))),
        )
    }
}

#[tokio::test(start_paused = true)]
async fn a_trickle_ends_and_a_slow_line_does_not() {
    for (bytes, status, seconds) in [
        (1, StatusCode::REQUEST_TIMEOUT, 5),
        (2_048, StatusCode::BAD_REQUEST, 21),
    ] {
        let start = Instant::now();
        let probe = ReadyProbe::new(
            |_: Request<RequestBody<Trickle>>| -> Response<ScriptedBody> {
                panic!("spaces are no request")
            },
        );
        let body = Trickle {
            pieces: vec![" ".repeat(bytes).into(); 20],
            sleep: Box::pin(tokio::time::sleep(Duration::from_secs(1))),
        };
        let request = post(ScriptedBody::new()).map(|_| body);
        let response = ValidateLayer::default().layer(probe).oneshot(request);
        assert_eq!(response.await.unwrap().status(), status);
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_specks_lets_others_run_and_ends() {
    struct Specks;
    impl Body for Specks {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::new()))))
        }
    }
    let probe = ReadyProbe::new(
        |_: Request<RequestBody<Specks>>| -> Response<ScriptedBody> { panic!("nothing was sent") },
    );
    let request = post(ScriptedBody::new()).map(|_| Specks);
    let future = ValidateLayer::default().layer(probe).oneshot(request);
    // A future that never yields would not let this time out.
    assert!(timeout(Duration::ZERO, future).await.is_err());
}

#[tokio::test]
async fn a_body_that_has_arrived_needs_no_clock() {
    // This runtime has no timer: one that is made panics.
    let join = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime
            .block_on(call(ValidateLayer::default(), json(GOOD)))
            .status()
    });
    assert_eq!(join.join().unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn dropping_the_future_drops_the_body_and_calls_nobody() {
    let probe = echo();
    let mut service = ValidateLayer::default().layer(probe.clone());
    let body = ScriptedBody::new().data(GOOD).hang();
    let watch = body.watch();
    let future = service.ready().await.unwrap().call(post(body));
    assert!(timeout(Duration::ZERO, future).await.is_err());
    assert!(watch.is_dropped());
    assert_eq!(probe.calls(), 0);
}

#[tokio::test]
async fn requests_that_do_not_match_pass_unread() {
    let service = ValidateLayer::default()
        .when(|head: &Parts| head.uri.path() != "/health")
        .layer(echo());
    let request = Request::get("/health")
        .body(
            ScriptedBody::new()
                .data("no JSON")
                .trailers(Default::default()),
        )
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert!(ChatRequest::of(response.extensions()).is_none());
    assert!(!response.headers().contains_key("x-request-id"));
    let received = check_body(response.into_body()).await;
    assert_eq!(received.data, "no JSON");
    assert!(received.trailers.is_some());
}

#[tokio::test]
async fn refusals_can_look_as_the_host_likes() {
    let service = ValidateLayer::new(Policy::strict())
        .render(|rejection: &Rejection, _| {
            Response::new(Bytes::from(rejection.param().unwrap().to_owned()))
        })
        .layer(echo());
    let request = json(r#"{"model":"m","messages":[],"n":null}"#);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(check_body(response.into_body()).await.data, "messages");
}

#[tokio::test]
async fn under_grpc_a_refusal_is_a_status() {
    let mut request = json(GOOD);
    let grpc = "application/grpc".parse().unwrap();
    request.headers_mut().insert("content-type", grpc);
    let response = call(ValidateLayer::default(), request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "3");
    assert!(response.body().is_empty());
}

#[tokio::test]
async fn headers_that_edits_would_make_lies_are_gone() {
    let probe = ReadyProbe::new(|request: Request<RequestBody<ScriptedBody>>| {
        assert!(!request.headers().contains_key("content-length"));
        assert!(!request.headers().contains_key("transfer-encoding"));
        Response::new(request.into_body())
    });
    let mut request = json(GOOD);
    request
        .headers_mut()
        .insert("content-length", GOOD.len().into());
    request
        .headers_mut()
        .insert("transfer-encoding", "chunked".parse().unwrap());
    let response = ValidateLayer::default().layer(probe).oneshot(request);
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}
