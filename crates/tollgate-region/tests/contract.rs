//! The layer contract: readiness, facts, bodies, scope, and what is left behind by a caller who
//! leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use tollgate_core::{
    Dialect, Member, Model, Rejection, RejectionKind, RequestBody, SharedBody, UpstreamFault,
    UsageSlot,
};
use tollgate_region::{Fault, Region, RegionLayer, Upstream, UpstreamLayer, Upstreams};
use tollgate_testing::{ReadyProbe, ScriptedBody, assert_future, assert_layered, check_body};
use tower::{Layer, Service, ServiceExt};

use support::*;

type Sent = Request<RequestBody<ScriptedBody>>;

/// Two upstreams of which nobody can know which is asked first.
fn two() -> Upstreams {
    eu([azure("sweden", "eu"), azure("france", "eu")])
}

#[tokio::test]
async fn the_region_layer_decides_on_heads() {
    let probe = ReadyProbe::new(|request: Request<&'static str>| {
        assert_eq!(*request.body(), "untouched");
        let region = request.extensions().get::<Region>().unwrap();
        Response::new(ScriptedBody::new().data(region.to_string()))
    });
    let mut service = RegionLayer::new(["eu", "us"].map(region)).layer(probe.clone());
    assert_layered(&service);
    let request = |path: &str| Request::post(path).body("untouched").unwrap();

    let service = service.ready().await.unwrap();
    let future = service.call(request("/openai/us/v1/chat/completions"));
    assert_future(&future);
    let answer = future.await.unwrap();
    assert_eq!(answer.headers()["x-tollgate-region"], "us");
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(check_body(answer.into_body()).await.data, "us");

    let service = service.ready().await.unwrap();
    let answer = service.call(request("/openai/ch/v1/models")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(!answer.headers().contains_key("x-tollgate-region"));
    let body = check_body(answer.into_body()).await.data;
    assert!(body.starts_with(br#"{"error":{"message":"Invalid URL."#));
    assert_eq!(probe.calls(), 1);

    let mut grpc = request("/tollgate.Chat/Complete");
    let content_type = "application/grpc".parse().unwrap();
    grpc.headers_mut().insert("content-type", content_type);
    let answer = service.oneshot(grpc).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn every_attempt_calls_a_service_that_was_polled_ready() {
    let calls = Arc::new(AtomicU64::new(0));
    let probe = ReadyProbe::new(move |_: Sent| {
        let status = match calls.fetch_add(1, SeqCst) {
            0 => 503,
            _ => 200,
        };
        let body = ScriptedBody::new().data("{}");
        Response::builder().status(status).body(body).unwrap()
    });
    let mut service = UpstreamLayer::new(two()).layer(probe.clone());
    assert_layered(&service);
    let future = service.ready().await.unwrap().call(call("eu"));
    assert_future(&future);
    assert_eq!(future.await.unwrap().status(), StatusCode::OK);
    assert_eq!(probe.calls(), 2);
}

/// A client whose clones are not ready before something has happened to them.
#[derive(Clone, Copy, Debug)]
enum OfClones {
    Error,
    Never,
}

struct Moody {
    inner: Client,
    clones: OfClones,
    is_clone: bool,
}

impl Clone for Moody {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            clones: self.clones,
            is_clone: true,
        }
    }
}

impl Service<Sent> for Moody {
    type Response = Response<ScriptedBody>;
    type Error = ClientError;
    type Future = <Client as Service<Sent>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        match self.clones {
            OfClones::Error if self.is_clone => Poll::Ready(Err(ClientError(Fault::Other))),
            OfClones::Never if self.is_clone => Poll::Pending,
            _ => self.inner.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_waits_for_readiness_under_the_clock() {
    for (clones, status) in [(OfClones::Error, 502), (OfClones::Never, 504)] {
        let inner = Client::new(|_| answer(503, ""));
        let upstreams = two();
        let mut service = layer(&upstreams).layer(Moody {
            inner: inner.clone(),
            clones,
            is_clone: false,
        });
        let answer = service.ready().await.unwrap().call(call("eu")).await;
        let (head, _) = read(answer.unwrap()).await;
        assert_eq!(head.status(), status);
        assert_eq!(inner.hosts().len(), 1);
        // Only one upstream was called, and so only one is to blame.
        let failures: u64 = upstreams
            .status()
            .iter()
            .map(|status| status.failures)
            .sum();
        assert_eq!(failures, 1);
        assert!(
            upstreams
                .status()
                .iter()
                .all(|status| status.outstanding == 0)
        );
    }
}

#[tokio::test]
async fn errors_of_poll_ready_are_the_inner_services_own() {
    let service = layer(&two()).layer(Moody {
        inner: Client::new(|_| ok()),
        clones: OfClones::Error,
        is_clone: true,
    });
    let error = service.oneshot(call("eu")).await.unwrap_err();
    assert_eq!(error.0, Fault::Other);
}

#[tokio::test]
async fn missing_facts_are_the_operators_mistake() {
    let missing = |forget: fn(&mut http::Extensions), upstream: Upstream| async move {
        let client = Client::new(|_| ok());
        let mut request = call("eu");
        forget(request.extensions_mut());
        let service = layer(&eu([upstream])).layer(client.clone());
        let (head, text) = read(service.oneshot(request).await.unwrap()).await;
        assert!(client.hosts().is_empty());
        assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(text.contains("The server had an error"), "{text}");
        let rejection = head.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), RejectionKind::MissingFact);
        rejection.detail().unwrap().to_owned()
    };
    let azure = || azure("sweden", "eu");
    let openai = Upstream::openai("paris", region("eu"), "http://paris.test/v1", "k")
        .deployment("gpt-4o", "gpt-4o");
    let detail = missing(|facts| drop(facts.remove::<Region>()), azure()).await;
    assert!(detail.contains("put RegionLayer outside"), "{detail}");
    let detail = missing(|facts| drop(facts.remove::<Model>()), azure()).await;
    assert!(detail.contains("put ModelsLayer outside"), "{detail}");
    // Only the body could tell this upstream which model is meant.
    let detail = missing(|facts| drop(facts.remove::<SharedBody>()), openai).await;
    assert!(detail.contains("put ValidateLayer outside"), "{detail}");
}

#[tokio::test]
async fn requests_that_do_not_match_pass_untouched() {
    let probe = ReadyProbe::new(|request: Sent| {
        assert_eq!(request.uri(), "/healthz?deep=1");
        assert_eq!(request.headers()["authorization"], "Bearer sk-caller");
        assert!(request.extensions().is_empty());
        assert!(request.body().size_hint().exact() == Some(4));
        Response::new(ScriptedBody::new().data("up").announce_length())
    });
    let service = UpstreamLayer::new(two())
        .when(|head: &Parts| head.uri.path() != "/healthz")
        .layer(probe);
    let request = Request::get("/healthz?deep=1")
        .header("authorization", "Bearer sk-caller")
        .body(ScriptedBody::new().data("ping").announce_length())
        .unwrap();
    let answer = service.oneshot(request).await.unwrap();
    assert!(answer.headers().is_empty());
    assert_eq!(answer.body().size_hint().exact(), Some(2));
    assert_eq!(check_body(answer.into_body()).await.data, "up");

    let probe = ReadyProbe::new(|request: Request<()>| {
        assert!(request.extensions().get::<Region>().is_none());
        Response::new(ScriptedBody::new())
    });
    let service = RegionLayer::new([region("eu")])
        .when(|head: &Parts| head.uri.path() != "/healthz")
        .layer(probe);
    let request = Request::get("/healthz").body(()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn refusals_can_be_given_another_look() {
    fn terse(rejection: &Rejection, _: Dialect) -> Response<Bytes> {
        let body = rejection.status().as_str().to_owned().into();
        Response::builder().status(418).body(body).unwrap()
    }
    let client = Client::new(|_| answer(401, "{}"));
    let service = layer(&eu([azure("sweden", "eu")]))
        .render(terse)
        .layer(client);
    for (request, text) in [(call("eu"), "502"), (call("us"), "503")] {
        let answer = service.clone().oneshot(request).await.unwrap();
        let (head, body) = read(answer).await;
        assert_eq!((head.status().as_u16(), &*body), (418, text));
        assert!(head.headers().contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn under_grpc_every_refusal_is_a_status() {
    let client = Client::new(|_| answer(500, ""));
    let mut request = call("eu");
    let content_type = "application/grpc".parse().unwrap();
    request.headers_mut().insert("content-type", content_type);
    let service = layer(&eu([azure("sweden", "eu")])).layer(client);
    let (head, text) = read(service.oneshot(request).await.unwrap()).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["grpc-status"], "13");
    assert_eq!(text, "");
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "1".parse().unwrap());
    trailers
}

#[tokio::test]
async fn bodies_of_all_kinds_keep_their_promises() {
    let json = || ScriptedBody::new().data("{").pending().data("}");
    type Fact = fn(&mut http::Extensions);
    let nothing: Fact = |_| ();
    let carries_fault: Fact = |facts| {
        let fault = UpstreamFault::new(StatusCode::BAD_GATEWAY, "server_error", "m");
        facts.insert(fault);
    };
    let carries_rejection: Fact = |facts| {
        facts.insert(Rejection::new(RejectionKind::UpstreamFailed));
    };
    for (status, body, facts, data) in [
        (200, json().announce_length(), nothing, "{}"),
        (200, json(), nothing, "{}"),
        (200, json().trailers(trailers()), nothing, "{}"),
        (200, ScriptedBody::new(), nothing, ""),
        (200, ScriptedBody::new().announce_length(), nothing, ""),
        (200, json().error(), nothing, "{}"),
        (502, json(), carries_rejection, "{}"),
        (200, json(), carries_fault, r#"{"error":{"message":"m","#),
        (
            400,
            json().pending().trailers(trailers()),
            nothing,
            r#"{"error":"#,
        ),
        (500, json().announce_length(), nothing, r#"{"error":"#),
        (
            500,
            ScriptedBody::new().announce_length(),
            nothing,
            r#"{"error":"#,
        ),
    ] {
        let is_broken = format!("{body:?}").contains("Error");
        let has_trailers = status == 200 && format!("{body:?}").contains("Trailers");
        let length = body.size_hint().exact();
        let mut answer = Response::builder().status(status).body(body).unwrap();
        facts(answer.extensions_mut());
        let mut answer = Some(Reaction::Answer(answer));
        let client = Client::new(move |_| answer.take().unwrap());
        let upstreams = eu([azure("sweden", "eu")]);
        let service = layer(&upstreams).layer(client);
        let answer = service.oneshot(call("eu")).await.unwrap();
        assert_eq!(answer.headers()["x-tollgate-region"], "eu");
        assert_eq!(answer.headers()["x-tollgate-upstream"], "sweden");
        if status == 200 && data == "{}" {
            assert_eq!(answer.body().size_hint().exact(), length);
        }
        let received = check_body(answer.into_body()).await;
        assert!(received.data.starts_with(data.as_bytes()), "{received:?}");
        assert_eq!(received.error.is_some(), is_broken);
        assert_eq!(received.trailers.is_some(), has_trailers);
        assert_eq!(status_of(&upstreams, "sweden").outstanding, 0);
    }
}

#[tokio::test]
async fn a_call_is_outstanding_until_its_body_is_over() {
    let upstreams = eu([azure("sweden", "eu")]);
    let outstanding = || status_of(&upstreams, "sweden").outstanding;
    let send = |body: ScriptedBody| {
        let mut answer = Some(Reaction::Answer(Response::new(body)));
        let client = Client::new(move |_| answer.take().unwrap());
        layer(&upstreams).layer(client).oneshot(call("eu"))
    };
    // Dropped in the middle.
    let mut body = send(ScriptedBody::new().data("a").data("b"))
        .await
        .unwrap()
        .into_body();
    assert_eq!(outstanding(), 1);
    let _ = body.frame().await.unwrap().unwrap();
    assert_eq!(outstanding(), 1);
    drop(body);
    assert_eq!(outstanding(), 0);
    // Ended, failed, or announced to be over: hyper then polls no more, and keeps the body.
    for (script, frames) in [
        (ScriptedBody::new().data("a"), 2),
        (ScriptedBody::new().data("a").error(), 2),
        (ScriptedBody::new().data("a").announce_length(), 1),
    ] {
        let mut body = send(script).await.unwrap().into_body();
        for _ in 0..frames {
            assert_eq!(outstanding(), 1);
            let _ = body.frame().await;
        }
        assert_eq!(outstanding(), 0);
    }
    let empty = send(ScriptedBody::new().announce_length()).await.unwrap();
    assert_eq!(outstanding(), 0);
    drop(empty);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_leaves_nothing_behind() {
    let hanging_body = ScriptedBody::new().data("{").hang();
    let watch = hanging_body.watch();
    let mut hanging_error = Some(Response::builder().status(500).body(hanging_body).unwrap());
    let reading = Client::new(move |_| Reaction::Answer(hanging_error.take().unwrap()));
    let calling = Client::new(|_| Reaction::Hang);
    let failing = Client::new(|_| answer(503, ""));
    let moody = |inner| Moody {
        inner,
        clones: OfClones::Never,
        is_clone: false,
    };
    // Dropped while an attempt is under way, while an error is read, and before a further attempt.
    for client in [moody(calling), moody(reading), moody(failing)] {
        let upstreams = two();
        let mut service = layer(&upstreams).layer(client);
        let future = service.ready().await.unwrap().call(call("eu"));
        {
            let mut future = pin!(future);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            let total: u32 = upstreams.status().iter().map(|s| s.outstanding).sum();
            assert_eq!(total, 1);
        }
        assert!(
            upstreams
                .status()
                .iter()
                .all(|status| status.outstanding == 0)
        );
    }
    assert!(watch.is_dropped());

    // Not even polled once.
    let upstreams = two();
    drop(
        layer(&upstreams)
            .layer(Client::new(|_| ok()))
            .oneshot(call("eu")),
    );
    assert!(
        upstreams
            .status()
            .iter()
            .all(|status| status.outstanding == 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_leaves_makes_room_for_the_next() {
    let builder = Upstreams::builder().breaker(1, Duration::from_secs(1));
    let upstreams = builder
        .pool(
            region("eu"),
            [azure("sweden", "eu"), azure("paris", "eu").priority(1)],
        )
        .build()
        .unwrap();
    let mut reactions = vec![ok(), Reaction::Hang, answer(500, "")];
    let client = Client::new(move |seen| match seen.host() {
        "sweden.test" => reactions.pop().unwrap(),
        _ => ok(),
    });
    let mut service = layer(&upstreams).layer(client.clone());
    let answer = service
        .ready()
        .await
        .unwrap()
        .call(call("eu"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let probe = service.ready().await.unwrap().call(call("eu"));
    let mut probe = Box::pin(probe);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(probe.as_mut().poll(&mut cx).is_pending());
    let answer = service
        .ready()
        .await
        .unwrap()
        .call(call("eu"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    drop(probe);
    let answer = service
        .ready()
        .await
        .unwrap()
        .call(call("eu"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let hosts = ["sweden", "paris", "sweden", "paris", "sweden"];
    assert_eq!(client.hosts(), hosts.map(|host| format!("{host}.test")));
}

#[tokio::test]
async fn attempts_share_the_facts_and_fork_the_body() {
    let mut first = true;
    let client = Client::new(move |seen| {
        let body = seen.extensions.get::<SharedBody>().unwrap();
        // An edit by a layer inside, as far as it is one attempt's own.
        assert_eq!(body.to_bytes(), seen.body);
        assert!(seen.extensions.get::<UsageSlot>().is_some());
        let settings = seen
            .extensions
            .get::<tollgate_core::AttemptSettings>()
            .unwrap();
        let of_sweden = seen.host() == "sweden.test";
        assert_eq!(settings.ask_usage, !of_sweden);
        assert_eq!(
            settings.idle_timeout,
            of_sweden.then(|| Duration::from_secs(9))
        );
        match std::mem::take(&mut first) {
            true => answer(503, ""),
            false => ok(),
        }
    });
    let sweden = azure("sweden", "eu")
        .ask_usage(false)
        .idle_timeout(Duration::from_secs(9));
    let upstreams = eu([sweden, azure("france", "eu")]);
    let mut request = call("eu");
    request.extensions_mut().insert(UsageSlot::new());
    let answer = layer(&upstreams)
        .layer(client.clone())
        .oneshot(request)
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    let seen = client.forget();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.body == JSON));
    // The forks are closed by now, the call's own body never was.
    for seen in &seen {
        assert!(
            seen.extensions
                .get::<SharedBody>()
                .unwrap()
                .remove("n")
                .is_err()
        );
    }
}

#[tokio::test]
async fn old_versions_of_azures_api_are_asked_in_their_own_words() {
    let dated = |name: &'static str, version: &str| azure(name, "eu").api_version(version);
    let old = |seen: &Seen| seen.host().starts_with("old");
    for (upstream, asks_usage) in [
        (dated("old1", "2024-02-01"), false),
        (dated("old2", "2024-08-01-preview"), false),
        (dated("old3", "2024-06-01").ask_usage(true), true),
        (dated("new1", "2024-09-01-preview"), true),
        (dated("new2", "preview"), true),
        (dated("new3", "2024-10-21").ask_usage(false), false),
        (azure("new4", "eu"), true),
    ] {
        for cap in ["7", "null"] {
            let json = format!(r#"{{"max_completion_tokens":{cap},"model":"gpt-4o"}}"#);
            let end = 24 + cap.len();
            let members = vec![
                Member::new("max_completion_tokens", 1, 25..end + 1),
                Member::new("model", end + 2, end + 10..end + 18),
            ];
            let mut request = unread("eu");
            let body = SharedBody::new(json.clone().into(), members);
            request.extensions_mut().insert(body);
            let client = Client::new(|_| ok());
            let service = layer(&eu([upstream.clone()])).layer(client.clone());
            assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
            let seen = client.only();
            let settings = seen.extensions.get::<tollgate_core::AttemptSettings>();
            assert_eq!(settings.unwrap().ask_usage, asks_usage, "{}", seen.host());
            let expected = match (old(&seen), cap) {
                (false, _) => json,
                (true, "null") => r#"{"model":"gpt-4o"}"#.to_owned(),
                (true, _) => r#"{"max_tokens":7,"model":"gpt-4o"}"#.to_owned(),
            };
            assert_eq!(seen.body, expected, "{}", seen.host());
        }
    }
    // A cap that a layer outside has put there is one as well.
    let body = shared();
    body.set("max_completion_tokens", "9").unwrap();
    let mut request = unread("eu");
    request.extensions_mut().insert(body);
    let client = Client::new(|_| ok());
    let service = layer(&eu([dated("old", "2024-02-01")])).layer(client.clone());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let sent = client.only().body;
    assert_eq!(
        sent,
        r#"{"max_tokens":9,"model": "gpt-4o", "messages": []}"#
    );
}

/// Compiles only if the layer needs nothing of bodies and errors but what it says.
#[tokio::test]
async fn the_inner_error_may_be_anything() {
    #[derive(Debug)]
    struct NotAnError;
    let client =
        tower::service_fn(|_: Sent| async { Err::<Response<ScriptedBody>, _>(NotAnError) });
    let service = UpstreamLayer::new(two()).layer(client);
    let answer = service.oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let infallible = tower::service_fn(|_: Sent| async {
        Ok::<_, Infallible>(Response::new(ScriptedBody::new()))
    });
    let service = UpstreamLayer::new(two()).layer(infallible);
    assert_eq!(service.oneshot(call("eu")).await.unwrap().status(), 200);
}
