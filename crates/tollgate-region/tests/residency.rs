//! A call stays where it belongs, whatever anyone writes into it, and carries nothing that it should
//! not, in either direction.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use tollgate_core::{Member, Model, SharedBody};
use tollgate_region::{ConfigError, DeploymentType, Fault, RegionLayer, Upstream, Upstreams};
use tollgate_testing::ScriptedBody;
use tower::{Layer, ServiceBuilder, ServiceExt};

use support::*;

fn both_regions() -> Upstreams {
    let texas = azure("texas", "us");
    Upstreams::builder()
        .pool(region("eu"), [azure("sweden", "eu")])
        .pool(region("us"), [texas])
        .build()
        .unwrap()
}

/// A request through both layers; the upstream's and the caller's side of it.
async fn through(upstreams: &Upstreams, request: Request<ScriptedBody>) -> (StatusCode, Vec<Seen>) {
    let client = Client::new(|_| ok());
    let service = ServiceBuilder::new()
        .layer(RegionLayer::new(["eu", "us"].map(region)))
        .map_request(|mut request: Request<ScriptedBody>| {
            request.extensions_mut().insert(Model::new("gpt-4o"));
            request
        })
        .layer(layer(upstreams))
        .service(client.clone());
    let answer = service.oneshot(request).await.unwrap();
    (answer.status(), client.forget())
}

const CLASSIC: &str = "http://sweden.test/openai/deployments/sweden-secret-deployment/chat/completions?api-version=2024-10-21";

#[tokio::test]
async fn no_target_chooses_a_region_or_an_upstream() {
    for target in [
        "/openai/eu/v1/chat/completions",
        "/openai/eu/v1/chat/completions?region=us&api-version=2023-05-15&api-key=k",
        "/openai/eu/v1/chat/completions?x=/openai/us/v1/chat/completions",
        "/openai/eu/v1/openai/us/v1/chat/completions",
        "/openai/eu/v1//openai/us/v1/chat/completions",
        "/openai/eu/v1/chat/completions/..;/..;/us",
        "/openai/eu/v1/..%2f..%2fus/v1/chat/completions",
        "/openai/eu/v1/deployments/texas-secret-deployment/chat/completions",
        "/openai/eu/v1/@texas.test/",
        "/openai/eu/v1/\\texas.test",
        "http://texas.test/openai/eu/v1/chat/completions",
        "http://eu@texas.test:80/openai/eu/v1/chat/completions",
    ] {
        for method in [Method::POST, Method::GET, Method::PUT, Method::CONNECT] {
            let request = Request::builder().method(method).uri(target);
            let request = request.body(ScriptedBody::new().data(JSON)).unwrap();
            let (status, seen) = through(&both_regions(), request).await;
            assert_eq!(status, 200, "{target}");
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].uri, CLASSIC, "{target}");
            assert_eq!(seen[0].method, Method::POST);
        }
    }
    for target in [
        "/openai/us,eu/v1/chat/completions",
        "/openai/eu%2F..%2Fus/v1/chat/completions",
        "/openai/eu/../us/v1/chat/completions",
        "/openai/eu/v1/../../us/v1/chat/completions",
        "/openai/eu/v1/%2E%2e/%2e%2E/us/v1/chat/completions",
        "/openai/EU/v1/chat/completions",
        "/openai/texas.test/v1/chat/completions",
        "/openai/169.254.169.254/v1/chat/completions",
        "/openai//v1/chat/completions",
        "/openai/eu",
        "/",
        "*",
    ] {
        let request = Request::post(target).body(ScriptedBody::new()).unwrap();
        let (status, seen) = through(&both_regions(), request).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{target}");
        assert!(seen.is_empty());
    }
}

#[tokio::test]
async fn no_body_chooses_a_region_or_an_upstream() {
    for body in [
        JSON,
        r#"{"model": "texas-secret-deployment", "messages": []}"#,
        r#"{"region":"us","api_base":"http://texas.test","base_url":"http://texas.test"}"#,
        r#"{"deployment":"d","engine":"e","azure_endpoint":"http://texas.test"}"#,
        r#"{"custom_llm_provider":"openai","extra_headers":{"host":"texas.test"}}"#,
        "not even JSON",
    ] {
        let body = ScriptedBody::new().data(body);
        let request = Request::post("/openai/eu/v1/chat/completions").body(body);
        let (_, seen) = through(&both_regions(), request.unwrap()).await;
        assert_eq!(seen[0].uri, CLASSIC);
    }
}

/// Headers that a caller may try, or that come along by themselves; none may arrive.
const NOT_THE_CALLERS: [(&str, &str); 39] = [
    ("api-key", "sk-caller"),
    ("api-version", "2023-05-15"),
    ("authorization", "Bearer sk-caller"),
    ("connection", "keep-alive, x-hop"),
    ("content-encoding", "gzip"),
    ("cookie", "session=sk-caller"),
    ("expect", "100-continue"),
    ("forwarded", "for=192.0.2.1;host=texas.test"),
    ("host", "texas.test"),
    ("keep-alive", "timeout=5"),
    ("ocp-apim-subscription-key", "sk-caller"),
    ("openai-beta", "assistants=v2"),
    ("openai-organization", "org-caller"),
    ("openai-project", "proj-caller"),
    ("origin", "http://texas.test"),
    ("proxy-authorization", "Basic c2s="),
    ("proxy-connection", "keep-alive"),
    ("referer", "http://texas.test"),
    ("te", "trailers"),
    ("trailer", "x-checksum"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("via", "1.1 texas.test"),
    ("x-api-key", "sk-caller"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-host", "texas.test"),
    ("x-forwarded-proto", "http"),
    ("x-hop", "1"),
    ("x-http-method-override", "DELETE"),
    ("x-ms-client-request-id", "caller"),
    ("x-ms-region", "East US"),
    ("x-original-url", "/openai/us/v1/chat/completions"),
    ("x-region", "us"),
    ("x-request-id", "caller"),
    ("x-rewrite-url", "/openai/us/v1/chat/completions"),
    ("x-stainless-lang", "python"),
    ("x-tollgate-region", "us"),
    ("x-tollgate-upstream", "texas"),
    ("x-workspace", "another"),
];

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, value.parse().unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// The names and values, joined.
fn plain(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut plain: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let values = plain.entry(name.as_str()).or_default();
        values.push_str(value.to_str().unwrap());
    }
    plain
}

#[tokio::test]
async fn of_a_callers_headers_only_a_few_arrive() {
    for (upstream, key, value, id) in [
        (
            azure("sweden", "eu"),
            "api-key",
            "key-of-sweden",
            "x-ms-client-request-id",
        ),
        (
            Upstream::openai(
                "paris",
                region("eu"),
                "http://paris.test/v1",
                "key-of-paris",
            )
            .deployment("gpt-4o", "gpt-4o"),
            "authorization",
            "Bearer key-of-paris",
            "x-client-request-id",
        ),
    ] {
        let mut request = call("eu");
        *request.headers_mut() = map(&NOT_THE_CALLERS);
        let headers = request.headers_mut();
        headers.extend(map(&[
            ("accept", "application/json"),
            ("accept-encoding", "gzip, br"),
            ("content-length", "5"),
            ("content-type", "application/json; charset=utf-8"),
            ("user-agent", "OpenAI/Python 2.0"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ]));
        headers.append("content-type", "text/plain".parse().unwrap());
        let client = Client::new(|_| ok());
        let service = layer(&eu([upstream])).layer(client.clone());
        let answer = service.oneshot(request).await.unwrap();
        let seen = client.only();
        let request_id = answer.headers()["x-request-id"].to_str().unwrap();
        let expected = BTreeMap::from([
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("content-type", "application/json; charset=utf-8"),
            ("user-agent", "OpenAI/Python 2.0"),
            (key, value),
            (id, request_id),
        ]);
        let expected = expected
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()));
        assert_eq!(plain(&seen.headers), expected.collect());
        assert!(seen.headers[key].is_sensitive());
        assert_eq!(seen.version, http::Version::HTTP_11);
    }
}

#[tokio::test]
async fn a_body_is_json_even_if_its_sender_did_not_say_so() {
    let client = Client::new(|_| ok());
    let service = layer(&eu([azure("sweden", "eu")])).layer(client.clone());
    let _ = service.oneshot(call("eu")).await.unwrap();
    assert_eq!(client.only().headers["content-type"], "application/json");
}

#[tokio::test]
async fn of_an_upstreams_headers_only_a_few_come_back() {
    let client = Client::new(|_| {
        answer_with(
            200,
            &[
                ("alt-svc", "h3=\":443\""),
                ("apim-request-id", "1"),
                ("azureml-model-session", "d1"),
                ("cache-control", "no-cache"),
                ("connection", "close, x-custom"),
                ("content-length", "2"),
                ("content-type", "text/event-stream"),
                ("keep-alive", "timeout=5"),
                ("location", "http://texas.test"),
                ("openai-organization", "org-operator"),
                ("openai-processing-ms", "71"),
                ("policy-id", "DeploymentRatelimit-Call"),
                ("proxy-authenticate", "Basic"),
                ("retry-after", "7"),
                ("server", "nginx"),
                ("set-cookie", "session=1"),
                ("strict-transport-security", "max-age=1"),
                ("trailer", "x-checksum"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("via", "1.1 gateway"),
                ("www-authenticate", "Bearer"),
                ("x-custom", "for the neighbour"),
                ("x-kept", "yes"),
                ("x-ms-deployment-name", "sweden-secret-deployment"),
                ("x-ms-rai-invoked", "true"),
                ("x-ms-region", "Sweden Central"),
                ("x-ratelimit-remaining-requests", "9"),
                ("x-request-id", "upstream"),
                ("x-tollgate-region", "us"),
                ("x-tollgate-upstream", "texas"),
            ],
            "{}",
        )
    });
    let layer = layer(&eu([azure("sweden", "eu")]));
    let layer = layer
        .forward_to_caller(HeaderName::from_static("x-kept"))
        .unwrap();
    let layer = layer
        .forward_to_caller(HeaderName::from_static("x-custom"))
        .unwrap();
    let (head, _) = read(layer.layer(client).oneshot(call("eu")).await.unwrap()).await;
    let request_id = head.headers()["x-request-id"].to_str().unwrap();
    assert!(request_id.starts_with("req_"));
    let expected = BTreeMap::from([
        ("cache-control", "no-cache"),
        ("content-length", "2"),
        ("content-type", "text/event-stream"),
        ("openai-processing-ms", "71"),
        ("x-kept", "yes"),
        ("x-request-id", request_id),
        ("x-tollgate-region", "eu"),
        ("x-tollgate-upstream", "sweden"),
    ]);
    let expected = expected
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()));
    assert_eq!(plain(head.headers()), expected.collect());
}

#[tokio::test]
async fn an_upstreams_version_is_its_own() {
    let client = Client::new(|_| {
        let answer = http::Response::builder().version(http::Version::HTTP_10);
        Reaction::Answer(answer.body(ScriptedBody::new()).unwrap())
    });
    let service = layer(&eu([azure("sweden", "eu")])).layer(client);
    let answer = service.oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
}

#[tokio::test]
async fn an_operator_can_forward_more_but_never_everything() {
    let new = || layer(&eu([azure("sweden", "eu")]));
    let traceparent = HeaderName::from_static("traceparent");
    let client = Client::new(|_| ok());
    let service = new()
        .forward_to_upstream(traceparent)
        .unwrap()
        .layer(client.clone());
    let mut request = call("eu");
    *request.headers_mut() = map(&[("traceparent", "00-1"), ("tracestate", "a=b")]);
    let _ = service.oneshot(request).await.unwrap();
    let seen = client.only();
    assert_eq!(seen.headers["traceparent"], "00-1");
    assert!(!seen.headers.contains_key("tracestate"));

    for never in [
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "openai-organization",
        "openai-project",
        "proxy-authorization",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-host",
        "x-ms-region",
        "x-ratelimit-limit-tokens",
        "x-request-id",
        "x-tollgate-upstream",
    ] {
        let name = HeaderName::from_static(never);
        let error = new().forward_to_upstream(name.clone()).unwrap_err();
        assert!(error.to_string().contains(never));
        assert!(new().forward_to_caller(name).is_err(), "{never}");
    }
}

#[tokio::test]
async fn where_the_body_names_the_model_it_is_the_deployments() {
    let json = r#"{"messages":[],"model" : "texas-secret-deployment","x":1.00}"#;
    let members = vec![
        Member::new("messages", 1, 12..14),
        Member::new("model", 15, 25..50),
        Member::new("x", 51, 55..59),
    ];
    assert_eq!(json.get(25..50), Some("\"texas-secret-deployment\""));
    let openai = Upstream::openai("paris", region("eu"), "http://paris.test/v1", "k");
    let v1 = Upstream::azure_v1("sweden", region("eu"), "http://sweden.test", "k");
    for (upstream, uri) in [
        (openai, "http://paris.test/v1/chat/completions"),
        (v1, "http://sweden.test/openai/v1/chat/completions"),
    ] {
        let upstreams = eu([upstream.deployment("gpt-4o", "gpt-4o \"eu\"")]);
        let client = Client::new(|_| ok());
        let mut request = call("eu");
        let body = SharedBody::new(json.into(), members.clone());
        request.extensions_mut().insert(body);
        let answer = layer(&upstreams)
            .layer(client.clone())
            .oneshot(request)
            .await;
        assert_eq!(answer.unwrap().status(), 200);
        let seen = client.only();
        assert_eq!(seen.uri, uri);
        assert_eq!(
            seen.body,
            r#"{"messages":[],"model" : "gpt-4o \"eu\"","x":1.00}"#
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_down_stays_alone() {
    let upstreams = Upstreams::builder()
        .pool(region("eu"), ["a", "b", "c"].map(|name| azure(name, "eu")))
        .pool(region("us"), [azure("texas", "us")])
        .build()
        .unwrap();
    let mut turn = 0;
    let client = Client::new(move |seen| {
        assert_ne!(seen.host(), "texas.test");
        turn += 1;
        match turn % 4 {
            0 => answer_with(429, &[("retry-after", "1")], ""),
            1 => Reaction::Break(Fault::Connect),
            2 => answer(500, ""),
            _ => answer_with(307, &[("location", "http://texas.test")], ""),
        }
    });
    let service = layer(&upstreams).layer(client.clone());
    for _ in 0..200 {
        let (head, _) = read(service.clone().oneshot(call("eu")).await.unwrap()).await;
        assert!(
            matches!(head.status().as_u16(), 429 | 500 | 502 | 503),
            "{head:?}"
        );
        assert_eq!(head.headers()["x-tollgate-region"], "eu");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    for region in upstreams.region_status() {
        assert_eq!(region.cross_region, 0);
    }
    assert_eq!(status_of(&upstreams, "texas").attempts, 0);

    // A region without upstreams, and a model without a deployment, are served by nobody else.
    let mut request = call("ch");
    let answer = service.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    request = call("us");
    request.extensions_mut().insert(Model::new("gpt-4"));
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["x-should-retry"], "false");
}

#[tokio::test]
async fn answers_from_elsewhere_raise_the_alarm() {
    for (upstream, place, misplaced) in [
        (azure("sweden", "eu"), "Sweden Central", 0),
        (azure("sweden", "eu"), "East US", 1),
        (azure("sweden", "eu"), "UK South", 1),
        (azure("sweden", "eu").location("uksouth"), "UK South", 0),
        (
            azure("sweden", "eu").location("Sweden Central"),
            "West Europe",
            1,
        ),
        (azure("sweden", "us"), "East US 2", 0),
        (azure("sweden", "us"), "Sweden Central", 1),
        (azure("sweden", "ch"), "Anywhere", 0),
        (
            azure("sweden", "ch").location("Switzerland North"),
            "Switzerland West",
            1,
        ),
    ] {
        for status in [200, 400, 500] {
            let home = match format!("{upstream:?}") {
                text if text.contains("Region(\"eu\")") => "eu",
                text if text.contains("Region(\"us\")") => "us",
                _ => "ch",
            };
            let builder = Upstreams::builder().pool(region(home), [upstream.clone()]);
            let upstreams = builder.build().unwrap();
            let client = Client::new(move |_| answer_with(status, &[("x-ms-region", place)], "{}"));
            let service = layer(&upstreams).layer(client);
            let answer = service.oneshot(call(home)).await.unwrap();
            // An alarm, not a fault: the answer is there.
            assert_eq!(answer.status(), status);
            assert!(!answer.headers().contains_key("x-ms-region"));
            let counted = status_of(&upstreams, "sweden").misplaced;
            assert_eq!(counted, misplaced, "{home} {place}");
        }
    }
}

#[test]
fn what_could_leave_a_region_does_not_build() {
    let build = |pools: Vec<(&str, Vec<Upstream>)>| {
        let pools = pools.into_iter();
        let builder = pools.fold(Upstreams::builder(), |builder, (name, upstreams)| {
            builder.pool(region(name), upstreams)
        });
        builder.build().map(|_| ())
    };
    let typed = |kind| azure("sweden", "eu").deployment_type(kind);
    for stays in [
        DeploymentType::Standard,
        DeploymentType::Provisioned,
        DeploymentType::DataZoneStandard,
        DeploymentType::DataZoneProvisioned,
    ] {
        assert_eq!(build(vec![("eu", vec![typed(stays)])]), Ok(()));
    }
    for leaves in [
        DeploymentType::GlobalStandard,
        DeploymentType::GlobalProvisioned,
    ] {
        let error = build(vec![("eu", vec![typed(leaves)])]).unwrap_err();
        assert!(matches!(error, ConfigError::LeavesRegion { .. }));
        assert!(error.to_string().contains(&leaves.to_string()), "{error}");
    }
    // A data zone is the whole EU, not one country of it.
    let swiss = azure("zurich", "ch").deployment_type(DeploymentType::DataZoneStandard);
    let error = build(vec![("ch", vec![swiss])]).unwrap_err();
    assert!(matches!(error, ConfigError::LeavesRegion { .. }));

    let mixed = vec![azure("sweden", "eu"), azure("texas", "us")];
    let error = build(vec![("eu", mixed)]).unwrap_err();
    assert!(matches!(error, ConfigError::MixedRegions { .. }));

    // One address cannot be in two places, however it is spelled.
    for url in [
        "http://sweden.test",
        "http://SWEDEN.test:80/",
        "http://sweden.test/",
        "http://sweden.test./",
    ] {
        let twin = Upstream::azure("twin", region("us"), url, "k").deployment("m", "d");
        let pools = vec![("eu", vec![azure("sweden", "eu")]), ("us", vec![twin])];
        let error = build(pools).unwrap_err();
        assert!(matches!(error, ConfigError::SharedUrl { .. }), "{url}");
    }
    // Neither can a resource of Azure's, whichever way leads to it.
    for (url, is_same) in [
        ("https://x.openai.azure.com/openai/v1", true),
        ("https://x.services.ai.azure.com", true),
        ("https://X.cognitiveservices.azure.com:443", true),
        ("https://y.openai.azure.com", false),
        ("https://x.openai.azure.us", false),
    ] {
        let new = |name: &str, in_region: &str, url: &str| {
            Upstream::azure(name, region(in_region), url, "k").deployment("m", "d")
        };
        let x = new("x", "eu", "https://x.openai.azure.com");
        let sovereign = url.replace("azure.com", "azure.us");
        let twin = new("x", "eu", "https://x.openai.azure.us");
        let built = build(vec![
            ("eu", vec![twin]),
            ("us", vec![new("other", "us", &sovereign)]),
        ]);
        let is_refused = matches!(built, Err(ConfigError::SharedUrl { .. }));
        assert_eq!(is_refused, !url.contains("//y"), "{sovereign}");
        let built = build(vec![("eu", vec![x]), ("us", vec![new("other", "us", url)])]);
        let is_refused = matches!(built, Err(ConfigError::SharedUrl { .. }));
        assert_eq!(is_refused, is_same, "{url}");
    }
    let twins = vec![azure("sweden", "eu"), azure("sweden", "eu")];
    let error = build(vec![("eu", twins)]).unwrap_err();
    assert!(matches!(error, ConfigError::DuplicateName { .. }));
}

#[test]
fn whatever_does_not_build_says_why_and_no_secret() {
    let new = |url: &str, key: &str| Upstream::azure("x", region("eu"), url, key);
    let usual = || new("http://x.test", "hunter2");
    let zero = std::time::Duration::ZERO;
    let named = Upstream::azure("a b", region("eu"), "http://x.test", "hunter2");
    for (upstream, words) in [
        (usual(), "has no deployments"),
        (
            new("http://hunter2@x.test", "k").deployment("m", "d"),
            "URL",
        ),
        (new("http://x.test", "hunter2 ").deployment("m", "d"), "key"),
        (new("http://x.test", "").deployment("m", "d"), "key"),
        (usual().deployment("m", ".."), "no usable name"),
        (usual().deployment("", "d"), "no usable name"),
        (
            usual().deployment("m", "d").api_version("2024 10"),
            "API version",
        ),
        (usual().deployment("m", "d").head_timeout(zero), "timeout"),
        (usual().deployment("m", "d").idle_timeout(zero), "timeout"),
        (named.deployment("m", "d"), "name"),
    ] {
        let builder = Upstreams::builder().pool(region("eu"), [upstream]);
        assert!(!format!("{builder:?}").contains("hunter2"));
        let error = builder.build().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_gateway_can_ask_what_it_does_not_serve() {
    let upstreams = both_regions();
    let unserved = upstreams.unserved(["gpt-4o", "gpt-4"]);
    let unserved: Vec<_> = unserved.into_iter().collect();
    assert_eq!(
        unserved,
        [("eu".to_owned(), "gpt-4"), ("us".to_owned(), "gpt-4")]
    );
}
