//! What users can change about the table.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tollgate_core::{Rejection, RejectionKind, RequestBody};
use tollgate_validate::{Kind, Param, Plain, Policy, ValidateLayer, Verdict};
use tower::{Layer, ServiceExt, service_fn};

const RESTRICTED: [&str; 4] = ["n", "parallel_tool_calls", "service_tier", "stream_options"];

/// The body that reaches the service and the names that were absorbed, or `param` and `code`.
async fn ask(policy: Policy, members: &str) -> Result<(String, String), (String, String)> {
    ask_of("m", policy, members.to_owned()).await
}

async fn ask_of(
    model: &str,
    policy: Policy,
    members: String,
) -> Result<(String, String), (String, String)> {
    let echo = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let json =
        format!(r#"{{"model":"{model}",{members},"messages":[{{"role":"user","content":"x"}}]}}"#);
    let request = Request::post("/")
        .header("content-type", "application/json")
        .body(Full::from(json))
        .unwrap();
    let answer = ValidateLayer::new(policy).layer(echo).oneshot(request);
    let (head, body) = answer.await.unwrap().into_parts();
    if let Some(rejection) = head.extensions.get::<Rejection>() {
        let text = |part: Option<&str>| part.unwrap_or("null").to_owned();
        return Err((text(rejection.param()), text(rejection.code())));
    }
    let absorbed = head.headers.get("x-tollgate-absorbed");
    let absorbed = absorbed
        .map_or("", |names| names.to_str().unwrap())
        .to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    Ok((String::from_utf8(body.to_vec()).unwrap(), absorbed))
}

async fn refused(policy: Policy, members: &str) -> (String, String) {
    match ask(policy, members).await {
        Err((param, code)) => (param, code),
        Ok((body, _)) => panic!("{body} was passed on"),
    }
}

fn as_pair(param: &str, code: &str) -> (String, String) {
    (param.to_owned(), code.to_owned())
}

fn invalid(message: &'static str) -> Rejection {
    Rejection::new(RejectionKind::InvalidRequest).with_message(message)
}

#[tokio::test]
async fn a_parameter_can_be_added_with_its_bounds() {
    let policy = || Policy::strict().param(Param::new("top_k", Kind::Integer { min: 1, max: 9 }));
    let (body, _) = ask(policy(), r#""top_k":9"#).await.unwrap();
    assert!(body.contains(r#""top_k":9"#));
    let low = refused(policy(), r#""top_k":0"#).await;
    assert_eq!(low, as_pair("top_k", "integer_below_min_value"));
    let unknown = refused(Policy::strict(), r#""top_k":9"#).await;
    assert_eq!(unknown, as_pair("top_k", "unknown_parameter"));
}

#[tokio::test]
async fn bounds_can_be_changed() {
    let kind = Kind::Decimal { min: 0.0, max: 1.0 };
    let policy = Policy::compatible().param(Param::new("temperature", kind));
    let high = refused(policy, r#""temperature":1.1"#).await;
    assert_eq!(high, as_pair("temperature", "decimal_above_max_value"));
}

#[tokio::test]
async fn what_the_api_takes_is_passed_on_as_it_came() {
    let members = r#""n":2,"parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"f"}}],"service_tier":"flex","stream":true,"stream_options":{"include_usage":true}"#;
    let (body, absorbed) = ask(Policy::openai(), members).await.unwrap();
    assert!(body.contains(members) && absorbed.is_empty(), "{body}");
    let bad = refused(Policy::openai(), r#""n":0"#).await;
    assert_eq!(bad, as_pair("n", "integer_below_min_value"));
}

#[tokio::test]
async fn a_parameter_can_be_accepted_refused_removed_or_absorbed() {
    let accepted = Policy::strict().accept("n").accept("anything");
    let (body, absorbed) = ask(accepted, r#""n":3,"anything":[{}]"#).await.unwrap();
    assert!(body.contains(r#""n":3,"anything":[{}]"#) && absorbed.is_empty());
    // What is accepted is still checked.
    let bad = refused(Policy::strict().accept("n"), r#""n":0"#).await;
    assert_eq!(bad, as_pair("n", "integer_below_min_value"));

    let policy = || Policy::strict().refuse("user");
    let bad = refused(policy(), r#""user":"u""#).await;
    assert_eq!(bad, as_pair("user", "unsupported_parameter"));
    // Null means absent, for what is refused too.
    assert!(ask(policy(), r#""user":null"#).await.is_ok());

    let bad = refused(Policy::strict().remove("user"), r#""user":null"#).await;
    assert_eq!(bad, as_pair("user", "unknown_parameter"));

    let policy = || Policy::strict().absorb("metadata").absorb("n");
    let (body, absorbed) = ask(policy(), r#""n":1,"metadata":{}"#).await.unwrap();
    assert_eq!(
        body,
        r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#
    );
    assert_eq!(absorbed, "n, metadata");
    let bad = refused(policy(), r#""metadata":[]"#).await;
    assert_eq!(bad, as_pair("metadata", "invalid_type"));
}

#[tokio::test]
async fn null_is_absence_to_the_upstream_too() {
    let nulls = r#""n":null,"temperature":null,"service_tier":null,"stream_options":null,"parallel_tool_calls":null,"user":null"#;
    for policy in [Policy::strict(), Policy::compatible()] {
        let (body, absorbed) = ask(policy, nulls).await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let body = body.as_object().unwrap();
        // What an upstream may not know is gone, and nobody has lost anything.
        for name in RESTRICTED {
            assert!(!body.contains_key(name), "{name}");
        }
        assert!(body["temperature"].is_null() && body["user"].is_null());
        assert_eq!(absorbed, "");
    }
    let (body, _) = ask(Policy::strict().accept("n"), r#""n":null"#)
        .await
        .unwrap();
    assert!(body.contains(r#""n":null"#));
}

#[tokio::test]
async fn only_some_values_can_be_absorbed() {
    let harmless = Verdict::AbsorbOnly(&[Plain::Text("on"), Plain::Bool(true), Plain::Integer(1)]);
    let policy = || Policy::strict().param(Param::new("x", Kind::Any).verdict(harmless));
    for value in [r#""on""#, r#""\u006fn""#, "true", "1", "1.0", "10e-1"] {
        let (_, absorbed) = ask(policy(), &format!(r#""x":{value}"#)).await.unwrap();
        assert_eq!(absorbed, "x", "{value}");
    }
    for value in [r#""off""#, "false", "2", "1.5", "[]", "{}"] {
        let bad = refused(policy(), &format!(r#""x":{value}"#)).await;
        assert_eq!(bad, as_pair("x", "unsupported_parameter"), "{value}");
    }
}

#[tokio::test]
async fn rules_see_values_that_are_good_so_far() {
    let policy = || {
        Policy::strict()
            .rule("user", |json| {
                assert!(json.starts_with('"'), "checked before");
                match json {
                    r#""root""# => Err(invalid("Not you.").with_param("user")),
                    _ => Ok(()),
                }
            })
            .rule("temperature", |_| {
                Err(invalid("Never.").with_param("temperature"))
            })
    };
    assert!(ask(policy(), r#""user":"ann""#).await.is_ok());
    assert_eq!(refused(policy(), r#""user":"root""#).await.0, "user");
    assert!(ask(policy(), r#""user":null"#).await.is_ok());
    // Faults of kind come first, and then rules in the order of the table.
    let both = r#""user":"root","temperature":1"#;
    assert_eq!(
        refused(policy(), &format!("{both},\"stop\":1")).await.0,
        "stop"
    );
    assert_eq!(refused(policy(), both).await.0, "temperature");
    assert_eq!(refused(policy(), r#""user":7"#).await.0, "user");
}

#[tokio::test]
async fn rules_about_the_request_may_change_it() {
    let policy = || {
        Policy::strict().request_rule(|request, body| {
            if request.stream() {
                return Err(invalid("No streams here.").with_param("stream"));
            }
            if request.output_cap().is_none() {
                body.set("max_tokens", "64")
                    .map_err(|_| invalid("too late"))?;
            }
            Ok(())
        })
    };
    assert_eq!(refused(policy(), r#""stream":true"#).await.0, "stream");
    let (body, _) = ask(policy(), r#""stream":false"#).await.unwrap();
    assert!(
        body.starts_with(r#"{"max_tokens":64,"model":"m""#),
        "{body}"
    );
    let (body, _) = ask(policy(), r#""max_tokens":5"#).await.unwrap();
    assert!(!body.contains("64"));
}

#[tokio::test]
async fn unknown_parameters_can_pass_but_not_in_two_readings() {
    let policy = || Policy::compatible().allow_unknown();
    let (body, _) = ask(policy(), r#""top_k":1,"min_p":null"#).await.unwrap();
    assert!(body.contains(r#""top_k":1,"min_p":null"#));
    for twin in ["Model", "max_to\u{212A}ens", "u\u{17F}er", r"\u004dESSAGES"] {
        let bad = refused(policy(), &format!(r#""{twin}":1"#)).await;
        assert_eq!(bad.1, "unknown_parameter", "{twin}");
    }
    let bad = refused(policy(), r#""top_k":1,"top_\u006b":2"#).await;
    assert_eq!(bad, as_pair("top_k", "null"));
}

#[tokio::test]
async fn nothing_that_is_passed_on_can_be_read_in_two_ways() {
    for twice in [
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"x":1,"x":2}}}]"#,
        r#""tools":[{"type":"function","function":{"name":"f"},"y":[{"x":1,"\u0078":2}]}]"#,
        r#""functions":[{"name":"f","parameters":{"properties":{"x":{},"x":{}}}}]"#,
        r#""stop":[{"x":1,"x":2}]"#,
    ] {
        let fault = refused(Policy::strict(), twice).await;
        assert_eq!(fault, as_pair("x", "null"), "{twice}");
    }
    let metadata = r#""metadata":{"x":"1","\u0078":"1"}"#;
    let fault = refused(Policy::strict(), metadata).await;
    assert_eq!(fault, as_pair("metadata.x", "null"));
    let unknown = r#""response_format":{"type":"json_object","x":1,"x":2}"#;
    let fault = refused(Policy::strict(), unknown).await;
    assert_eq!(fault, as_pair("response_format.x", "null"));
    let once =
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"x":{"x":2}}}}]"#;
    ask(Policy::strict(), once).await.unwrap();
}

#[tokio::test]
async fn only_what_is_on_offer_can_be_chosen() {
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice""#;
    let functions = r#""functions":[{"name":"f"}],"function_call""#;
    for (offer, choice) in [
        (tools, r#"{"type":"function","function":{"name":"f"}}"#),
        (functions, r#"{"name":"f"}"#),
        (functions, r#"{"name":"\u0066"}"#),
    ] {
        let members = format!("{offer}:{choice}");
        assert!(ask(Policy::strict(), &members).await.is_ok(), "{members}");
        let other = members.replace(r#"{"name":"f"}}],"#, r#"{"name":"g"}}],"#);
        let other = other.replace(r#"[{"name":"f"}],"#, r#"[{"name":"g"}],"#);
        let param = if offer == tools {
            "tool_choice"
        } else {
            "function_call"
        };
        let fault = refused(Policy::strict(), &other).await;
        assert_eq!(fault, as_pair(param, "null"), "{other}");
    }
}

#[tokio::test]
async fn values_can_be_limited() {
    // The request, its model, the list, the message, and its two members.
    let policy = |values| Policy::compatible().max_values(values);
    assert!(ask(policy(7), r#""stream":true"#).await.is_ok());
    let bad = refused(policy(6), r#""stream":true"#).await;
    assert_eq!(bad, as_pair("null", "null"));
}

#[tokio::test]
async fn the_largest_token_is_the_models() {
    for (model, most) in [
        ("gpt-4", 100_257),
        ("gpt-35-turbo-16k", 100_257),
        ("gpt-4o", 201_087),
        ("gpt-4o-mini", 201_087),
        ("o3-mini", 201_087),
    ] {
        let bias = |token: u32| format!(r#""logit_bias":{{"{token}":1}}"#);
        let ask = |token| ask_of(model, Policy::strict(), bias(token));
        assert!(ask(most).await.is_ok(), "{model}");
        let fault = as_pair("logit_bias", "null");
        assert_eq!(ask(most + 1).await, Err(fault), "{model}");
    }
    let policy = || Policy::strict().largest_token(|model| (model == "m").then_some(10));
    assert!(ask(policy(), r#""logit_bias":{"10":1}"#).await.is_ok());
    for (bias, param) in [
        (r#"{"11":1}"#, "logit_bias"),
        (r#"{"x":1}"#, "logit_bias"),
        (r#"{"1":1,"01":2}"#, "logit_bias.1"),
    ] {
        let bad = refused(policy(), &format!(r#""logit_bias":{bias}"#)).await;
        assert_eq!(bad, as_pair(param, "null"), "{bias}");
    }
}
