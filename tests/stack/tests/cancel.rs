//! Callers leave when they like: what was reserved for them is settled, and the upstream let go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tollgate_stack_tests::{
    Answer, Caller, Layers, Reply, ScriptedUpstream, ask, ask_streamed, call, completion, gateway,
    serve, soon, stalled_stream,
};
use tower::ServiceExt;

const TEXTS: [&str; 4] = ["Once", " upon", " a", " time"];

/// What each call reserves for its output.
const OUTPUT_CAP: u64 = 5_000;

/// Answers streams by `script`, and everything else at once.
async fn upstream(script: fn() -> Reply) -> ScriptedUpstream {
    ScriptedUpstream::start(move |request| {
        let stream = request
            .body()
            .windows(13)
            .any(|part| part == br#""stream":true"#);
        if stream { script() } else { completion("Hi!") }
    })
    .await
}

fn request(mut body: serde_json::Value) -> Request<Full<Bytes>> {
    body["max_tokens"] = OUTPUT_CAP.into();
    call(&body)
}

/// What the budget says is left of the tokens while one call is under way.
async fn left(layers: &Layers) -> u64 {
    let answer = gateway(layers).oneshot(request(ask("Hi?"))).await.unwrap();
    Answer::read(answer)
        .await
        .number("x-ratelimit-remaining-tokens")
}

/// What is left if there was no other call.
async fn left_at_first() -> u64 {
    left(&Layers::to(&upstream(Reply::silence).await)).await
}

#[tokio::test]
async fn at_any_frame_of_a_stream() {
    let at_first = left_at_first().await;
    let mut spent = Vec::new();
    for frames in 0..=TEXTS.len() {
        let upstream = upstream(|| stalled_stream(&TEXTS)).await;
        let layers = Layers::to(&upstream);
        let call = gateway(&layers).oneshot(request(ask_streamed("Hi?")));
        let mut body = soon(call).await.unwrap().into_body();
        for text in &TEXTS[..frames] {
            let frame = soon(body.frame()).await.unwrap().unwrap();
            let data = frame.into_data().unwrap();
            assert!(
                std::str::from_utf8(&data).unwrap().contains(text),
                "{data:?}"
            );
        }
        drop(body);
        upstream.idle().await;
        spent.push(at_first - left(&layers).await);
    }
    // The prompt at least, and then what was passed on; never what was only reserved.
    assert!(
        spent[0] > 0 && spent.is_sorted() && spent[4] > spent[0],
        "{spent:?}"
    );
    assert!(spent[4] < OUTPUT_CAP / 10, "{spent:?}");
}

#[tokio::test]
async fn before_the_head() {
    let upstream = upstream(Reply::silence).await;
    let layers = Layers::to(&upstream);
    let call = tokio::spawn(gateway(&layers).oneshot(request(ask_streamed("Hi?"))));
    upstream.called(1).await;
    call.abort();
    upstream.idle().await;
    let spent = left_at_first().await - left(&layers).await;
    assert!(spent < OUTPUT_CAP / 10, "{spent}");
}

#[tokio::test]
async fn by_closing_the_connection() {
    let upstream = upstream(|| stalled_stream(&TEXTS)).await;
    let layers = Layers::to(&upstream);
    let caller = Caller::at(serve(gateway(&layers)).await);
    let body = request(ask_streamed("Hi?")).into_body();
    let body = body.collect().await.unwrap().to_bytes();
    let mut response = caller.open("/openai/eu/v1/chat/completions", body).await;
    soon(response.frame()).await.unwrap().unwrap();
    drop(response);
    upstream.idle().await;
    let spent = left_at_first().await - left(&layers).await;
    assert!((1..OUTPUT_CAP / 10).contains(&spent), "{spent}");
}
