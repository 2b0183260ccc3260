//! Request and response bodies keep what their sources promise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use tollgate_core::{Member, RequestBody, ResponseBody, SharedBody};
use tollgate_testing::{ScriptedBody, check_body};

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-t".parse().unwrap(), HeaderValue::from_static("1"))])
}

#[tokio::test]
async fn wrapped_bodies_pass_everything_on() {
    fn script() -> ScriptedBody {
        ScriptedBody::new().data("a").data("").pending().data("bc")
    }
    for announce in [false, true] {
        let body = |script: ScriptedBody| {
            if announce {
                script.announce_length()
            } else {
                script
            }
        };
        let exact = announce.then_some(3);

        let response = ResponseBody::inner(body(script()));
        assert_eq!(response.size_hint().exact(), exact);
        assert_eq!(check_body(response).await.frames, ["a", "", "bc"]);

        let request = RequestBody::streaming(body(script()));
        assert_eq!(request.size_hint().exact(), exact);
        assert_eq!(check_body(request).await.frames, ["a", "", "bc"]);
    }
    let response = check_body(ResponseBody::inner(script().trailers(trailers()))).await;
    assert_eq!(response.trailers, Some(trailers()));
    let request = check_body(RequestBody::streaming(script().trailers(trailers()))).await;
    assert_eq!(request.trailers, Some(trailers()));
    assert!(
        check_body(ResponseBody::inner(script().error()))
            .await
            .error
            .is_some()
    );
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
