//! Random requests against a second opinion.
//!
//! A few thousand by default; `TOLLGATE_CASES=100000` runs as many as that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tollgate_core::{Rejection, RequestBody, SharedBody};
use tollgate_validate::{Policy, ValidateLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

use support::{
    Rng, generate,
    reference::{self, Fault},
    spell::{self, Spelling},
};

fn cases(default: u64) -> u64 {
    std::env::var("TOLLGATE_CASES").map_or(default, |cases| cases.parse().unwrap())
}

/// Answers with the body that it gets, after editing it.
fn service(
    policy: Policy,
    edit: impl Fn(&SharedBody) + Clone,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<tollgate_core::ResponseBody<RequestBody<Full<Bytes>>>>,
    Error = Infallible,
> + Clone {
    let echo = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        edit(request.extensions().get().unwrap());
        std::future::ready(Ok(Response::new(request.into_body())))
    });
    ValidateLayer::new(policy).layer(echo)
}

/// What reached the service, or why nothing did.
async fn send(
    service: impl Service<
        Request<Full<Bytes>>,
        Response = Response<tollgate_core::ResponseBody<RequestBody<Full<Bytes>>>>,
        Error = Infallible,
    >,
    json: impl Into<Bytes>,
) -> Result<String, Rejection> {
    let request = Request::post("/")
        .header("content-type", "application/json")
        .body(Full::new(json.into()))
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    match response.extensions().get::<Rejection>() {
        Some(rejection) => Err(rejection.clone()),
        None => {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Ok(String::from_utf8(body.to_vec()).unwrap())
        }
    }
}

fn policy(strict: bool) -> Policy {
    if strict {
        Policy::strict()
    } else {
        Policy::compatible()
    }
}

#[tokio::test]
async fn the_verdict_is_the_references() {
    let services = [false, true].map(|strict| service(policy(strict), |_| {}));
    let mut refused = 0;
    let cases = cases(4_000);
    for seed in 0..cases {
        let mut rng = Rng(seed);
        let strict = rng.once_in(2);
        let mut request = generate::request(&mut rng, strict);
        let good = reference::verdict(&request, strict);
        assert_eq!(good, Ok(()), "case {seed} is not good: {request}");
        let change = match rng.below(8) {
            0 => "no change".to_owned(),
            _ => generate::mutate(&mut rng, &mut request),
        };
        let Spelling { json, .. } = spell::request(&mut rng, &request);
        let expected = reference::verdict(&request, strict);
        let verdict = send(services[usize::from(strict)].clone(), json.clone()).await;
        let verdict = verdict.map(|_| ()).map_err(|rejection| {
            assert_eq!(rejection.status(), 400);
            assert_eq!(rejection.error_type(), "invalid_request_error");
            let param = rejection.param().map(str::to_owned);
            (param, rejection.code().map(str::to_owned))
        });
        refused += u64::from(verdict.is_err());
        let expected = expected.map_err(|Fault { param, code }| (param, code.map(str::to_owned)));
        assert_eq!(
            verdict, expected,
            "case {seed}, strict {strict}, {change}:\n{json}"
        );
    }
    // Both verdicts are really put to the test.
    assert!(
        refused > cases / 4 && refused < cases * 9 / 10,
        "{refused} of {cases} were refused"
    );
}

/// What is JSON at all is up to a parser in wide use.
#[tokio::test]
async fn broken_bytes_are_json_or_not_as_for_serde_json() {
    let service = service(Policy::strict(), |_| {});
    let mut broken = 0;
    let cases = cases(5_000);
    for seed in 0..cases {
        let mut rng = Rng(seed ^ 0xaaaa);
        let request = generate::request(&mut rng, true);
        let mut bytes = spell::request(&mut rng, &request).json.into_bytes();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            let odd = rng.pick(b"{}[]\",:\\/ue019.-+tfn\0\x1f \n\x80\xc3\xff");
            match rng.below(3) {
                0 => bytes[at] = odd,
                1 => bytes.insert(at, odd),
                _ => drop(bytes.remove(at)),
            }
        }
        let theirs = serde_json::from_slice::<Value>(&bytes);
        let ours = send(service.clone(), bytes.clone()).await;
        let not_json = |rejection: &Rejection| rejection.message().contains("not valid JSON");
        let refused = ours.as_ref().is_err_and(not_json);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(refused, theirs.is_err(), "case {seed}: {text}");
        broken += u64::from(refused);
        let kept_whole = theirs.is_ok_and(|request| {
            let mut members = request.as_object().into_iter().flatten();
            !members.any(|(name, value)| reference::is_taken_out(name, value, true))
        });
        if let Ok(sent) = ours {
            assert!(!kept_whole || sent == text, "{sent} of {text}");
        }
    }
    assert!(
        broken > cases / 3 && broken < cases,
        "{broken} of {cases} were no JSON"
    );
}

#[tokio::test]
async fn a_good_request_goes_on_byte_for_byte() {
    let services = [false, true].map(|strict| service(policy(strict), |_| {}));
    for seed in 0..cases(1_500) {
        let mut rng = Rng(!seed);
        let strict = rng.once_in(2);
        let request = generate::request(&mut rng, strict);
        let Spelling { json, members } = spell::request(&mut rng, &request);
        let sent = send(services[usize::from(strict)].clone(), json.clone())
            .await
            .unwrap();
        let gone =
            |(name, _): &(String, String)| reference::is_taken_out(name, &request[name], strict);
        if !members.iter().any(gone) {
            assert_eq!(sent, json);
        }
        let kept = members.iter().filter(|member| !gone(member));
        stands_in_order(&sent, kept.map(|(_, text)| text.as_str()), &json);
        let mut expected = request.clone();
        for (name, _) in members.iter().filter(|member| gone(member)) {
            expected.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(
            serde_json::from_str::<Value>(&sent).unwrap(),
            expected,
            "{json}"
        );
    }
}

#[tokio::test]
async fn edits_change_what_they_name_and_nothing_else() {
    let service = service(Policy::compatible(), |body| {
        body.set("model", "\"deployment-7\"").unwrap();
        body.set("stream_options", r#"{"include_usage":true}"#)
            .unwrap();
        body.remove("user").unwrap();
    });
    for seed in 0..cases(1_500) {
        let mut rng = Rng(seed ^ 0x5555);
        let request = generate::request(&mut rng, false);
        let Spelling { json, members } = spell::request(&mut rng, &request);
        let sent = send(service.clone(), json.clone()).await.unwrap();
        let gone =
            |name: &str| name == "user" || reference::is_taken_out(name, &request[name], false);
        let edited = ["model", "stream_options"];
        let kept = members
            .iter()
            .filter(|(name, _)| !edited.contains(&name.as_str()) && !gone(name));
        stands_in_order(&sent, kept.map(|(_, text)| text.as_str()), &json);
        let mut expected = request.clone();
        expected
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !gone(name));
        expected["model"] = "deployment-7".into();
        expected["stream_options"] = serde_json::json!({"include_usage": true});
        assert_eq!(
            serde_json::from_str::<Value>(&sent).unwrap(),
            expected,
            "{json}"
        );
    }
}

/// The texts stand in `sent` as they are, one behind the other.
fn stands_in_order<'t>(sent: &str, texts: impl Iterator<Item = &'t str>, json: &str) {
    let mut rest = sent;
    for text in texts {
        let Some((_, behind)) = rest.split_once(text) else {
            panic!("{text} is not where it was in {sent}, made of {json}");
        };
        rest = behind;
    }
}
