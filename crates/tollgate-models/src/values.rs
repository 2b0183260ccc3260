//! Parameters of which a model takes some values and not others.

use std::borrow::Cow;

use tollgate_core::{ChatRequest, Feature, InputKind, Model, Rejection, RejectionKind, SharedBody};

use crate::known;

/// Models without the feature take its default, `medium`, and say so.
pub(crate) fn verbosity(body: Option<&SharedBody>) -> Option<Rejection> {
    let said = body.and_then(|body| said(body, "verbosity"));
    let value = match said.as_ref().map(Option::as_deref) {
        Some(None | Some("medium")) => return None,
        Some(Some("low")) => "'low'",
        Some(Some("high")) => "'high'",
        _ => "this value",
    };
    Some(unsupported(
        "verbosity",
        value,
        "Supported values are: 'medium'.",
    ))
}

/// A model that reasons takes no temperature but its own, 1.
///
/// The later ones reason only when told to, so without `reasoning_effort` only those of the
/// catalogue are known to.
pub(crate) fn temperature(body: &SharedBody, model: &Model) -> Result<(), Rejection> {
    if !model.features().contains(Feature::Reasoning) {
        return Ok(());
    }
    let reasons = match said(body, "reasoning_effort").flatten().as_deref() {
        Some("none") => false,
        Some(_) => true,
        None => known(model.name()).is_some(),
    };
    let Some(value) = body.member("temperature").filter(|_| reasons) else {
        return Ok(());
    };
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let text = std::str::from_utf8(&value).unwrap_or_default();
    let number = text.parse::<f64>().ok();
    match number.filter(|_| value.iter().all(is_digit)) {
        Some(number) if number != DEFAULT_TEMPERATURE => {
            let echo = if text.len() <= LONGEST_ECHO {
                text
            } else {
                "this value"
            };
            let only = "Only the default (1) value is supported.";
            Err(unsupported("temperature", echo, only))
        }
        // No number is `null`: whatever else it is, it is not ours to judge.
        _ => Ok(()),
    }
}

/// What a member says if it is a string, in whatever spelling, or null.
fn said(body: &SharedBody, name: &str) -> Option<Option<String>> {
    serde_json::from_slice(&body.member(name)?).ok()
}

/// The first models that reasoned do not know the role `developer`; all others take it for `system`
/// at least.
pub(crate) fn developer_role(request: &ChatRequest, model: &Model) -> Result<(), Rejection> {
    if !WITHOUT_DEVELOPERS.contains(&model.as_str()) {
        return Ok(());
    }
    let texts = request.inputs().texts().iter();
    let mut roles = texts.filter(|text| text.kind == InputKind::Role);
    match roles.position(|role| &*role.text == b"developer") {
        Some(index) => Err(unsupported(
            format!("messages[{index}].role"),
            "'developer'",
            "",
        )),
        None => Ok(()),
    }
}

const WITHOUT_DEVELOPERS: [&str; 4] = [
    "o1-mini",
    "o1-mini-2024-09-12",
    "o1-preview",
    "o1-preview-2024-09-12",
];

fn unsupported(param: impl Into<Cow<'static, str>>, value: &str, supported: &str) -> Rejection {
    let param = param.into();
    let message = format!(
        "Unsupported value: '{param}' does not support {value} with this model. {supported}"
    );
    Rejection::new(RejectionKind::InvalidRequest)
        .with_message(message.trim_end().to_owned())
        .with_param(param)
        .with_code("unsupported_value")
}

const DEFAULT_TEMPERATURE: f64 = 1.0;
const LONGEST_ECHO: usize = 24;

#[cfg(test)]
mod tests {
    use tollgate_core::Member;

    use super::*;

    fn body(members: &[(&'static str, &str)]) -> SharedBody {
        let (mut json, mut places) = (String::from("{"), Vec::new());
        for (name, value) in members {
            let start = json.len();
            json.push_str(&format!("\"{name}\":"));
            places.push(Member::new(
                *name,
                start,
                json.len()..json.len() + value.len(),
            ));
            json.push_str(&format!("{value},"));
        }
        SharedBody::new(json.into(), places)
    }

    #[test]
    fn medium_verbosity_is_everyones() {
        for (value, message) in [
            ("null", None),
            (r#""medium""#, None),
            (r#""low""#, Some("does not support 'low' with this model")),
            (r#""high""#, Some("does not support 'high' with this model")),
            (r#""m\u0065dium""#, None),
            (
                r#""l\u006fw""#,
                Some("does not support 'low' with this model"),
            ),
            (
                r#""loud""#,
                Some("does not support this value with this model"),
            ),
        ] {
            let refusal = verbosity(Some(&body(&[("verbosity", value)])));
            match (refusal, message) {
                (None, None) => {}
                (Some(rejection), Some(message)) => {
                    assert_eq!(rejection.param(), Some("verbosity"));
                    assert_eq!(rejection.code(), Some("unsupported_value"));
                    assert!(rejection.message().contains(message));
                }
                (refusal, _) => panic!("{value}: {refusal:?}"),
            }
        }
    }

    #[test]
    fn who_reasons_has_one_temperature() {
        let o3 = known("o3").unwrap();
        for fine in ["1", "1.0", "10e-1", "null", "\"0\""] {
            temperature(&body(&[("temperature", fine)]), &o3).unwrap();
        }
        let rejection = temperature(&body(&[("temperature", "0.1")]), &o3).unwrap_err();
        assert_eq!(
            rejection.message(),
            "Unsupported value: 'temperature' does not support 0.1 with this model. Only the default (1) value is supported."
        );
        assert_eq!(rejection.param(), Some("temperature"));
        assert_eq!(rejection.code(), Some("unsupported_value"));

        let long = format!("0.{}", "1".repeat(1 << 20));
        let rejection = temperature(&body(&[("temperature", &long)]), &o3).unwrap_err();
        assert!(rejection.message().len() < 200);
        let gpt_4o = known("gpt-4o").unwrap();
        temperature(&body(&[("temperature", "0.1")]), &gpt_4o).unwrap();
    }

    #[test]
    fn a_model_that_may_reason_is_asked_whether_it_does() {
        let newer = Model::new("gpt-5.1").with_features([Feature::Reasoning]);
        let with = |effort| body(&[("reasoning_effort", effort), ("temperature", "0.1")]);
        temperature(&body(&[("temperature", "0.1")]), &newer).unwrap();
        for fine in ["null", r#""none""#, r#""n\u006fne""#] {
            temperature(&with(fine), &newer).unwrap();
        }
        assert!(temperature(&with(r#""low""#), &newer).is_err());
    }

    #[test]
    fn the_first_that_reasoned_know_no_developers() {
        let ask = |roles: &[&'static str]| {
            let request = roles
                .iter()
                .fold(ChatRequest::builder("m"), |request, role| {
                    let request = request.message().text(InputKind::Role, *role, false);
                    request.text(InputKind::Content, "developer", false)
                });
            request.build()
        };
        for name in WITHOUT_DEVELOPERS {
            let model = known(name).unwrap();
            developer_role(&ask(&["user", "assistant"]), &model).unwrap();
            let rejection = developer_role(&ask(&["user", "developer"]), &model).unwrap_err();
            assert_eq!(
                rejection.message(),
                "Unsupported value: 'messages[1].role' does not support 'developer' with this model."
            );
            assert_eq!(rejection.param(), Some("messages[1].role"));
            assert_eq!(rejection.code(), Some("unsupported_value"));
        }
        for name in ["gpt-4o", "gpt-4", "o1", "o3-mini"] {
            developer_role(&ask(&["developer"]), &known(name).unwrap()).unwrap();
        }
    }
}
