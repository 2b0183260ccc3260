//! A request's way through the layer.

use std::{
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tollgate_core::{ChatRequest, Rejection, RequestBody, SharedBody};
use tollgate_validate::{Policy, ValidateLayer};
use tower::{Layer, ServiceExt, service_fn};

/// What reaches the service after `edit`, and what it is told, or the refusal.
pub fn send(
    policy: Policy,
    json: &[u8],
    edit: impl Fn(&SharedBody),
) -> Result<(Bytes, ChatRequest), Rejection> {
    let echo = service_fn(|request: Request<RequestBody<Full<Bytes>>>| {
        let (head, body) = request.into_parts();
        edit(head.extensions.get().expect("a body"));
        let mut response = Response::new(body);
        *response.extensions_mut() = head.extensions;
        ready(Ok::<_, Infallible>(response))
    });
    let request = Request::post("/")
        .header("content-type", "application/json")
        .body(Full::from(json.to_vec()))
        .expect("a request");
    let Ok(response) = at_once(ValidateLayer::new(policy).layer(echo).oneshot(request));
    let (head, body) = response.into_parts();
    if let Some(rejection) = head.extensions.get::<Rejection>() {
        assert_eq!(rejection.status(), 400);
        assert!(rejection.message().len() < 100_000);
        return Err(rejection.clone());
    }
    let Ok(sent) = at_once(body.collect());
    let chat = head.extensions.get::<ChatRequest>().expect("facts");
    Ok((sent.to_bytes(), chat.clone()))
}

/// Nothing here waits for anything.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a body that has arrived was waited for"),
    }
}
