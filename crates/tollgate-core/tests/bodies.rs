//! Request and response bodies keep what their sources promise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use http_body::Body;
use tollgate_core::{Member, RequestBody, ResponseBody, SharedBody};
use tollgate_testing::{ScriptedBody, check_body, check_forwarding};

#[tokio::test]
async fn wrapped_bodies_pass_everything_on() {
    check_forwarding(async |body| ResponseBody::inner(body)).await;
    check_forwarding(async |body| RequestBody::streaming(body)).await;
}

#[tokio::test]
async fn a_local_answer_has_its_length() {
    let body = ResponseBody::<ScriptedBody>::local(Bytes::from("hi"));
    assert_eq!(body.size_hint().exact(), Some(2));
    assert_eq!(check_body(body).await.data, "hi");
    let empty = ResponseBody::<ScriptedBody>::local(Bytes::new());
    assert!(empty.is_end_stream());
    assert_eq!(check_body(empty).await.data, "");
}

#[tokio::test]
async fn edits_reach_a_body_that_was_made_before_them() {
    let shared = SharedBody::new(r#"{"n":1}"#.into(), vec![Member::new("n", 1, 5..6)]);
    let body: RequestBody<ScriptedBody> = shared.body();
    shared.set("n", "22").unwrap();
    assert_eq!(body.size_hint().exact(), Some(8));
    assert!(
        shared.set("n", "333").is_err(),
        "measured bodies are closed"
    );
    assert_eq!(check_body(body).await.data, r#"{"n":22}"#);
}
