//! Usage as an upstream reports it, which may be anything.

use tollgate_core::Usage;

use crate::members;

/// Reads a `usage` object. `None` if it says nothing that could be charged: no prompt is free, so
/// a report without prompt tokens is no report.
///
/// Numbers saturate; what is negative or no number counts as absent. Of a call whose output has
/// been seen to hold `observed` tokens, no fewer are believed.
pub(crate) fn read(json: &str, observed: u64) -> Option<Usage> {
    let names = ["prompt_tokens", "completion_tokens", "total_tokens"];
    let [prompt, completion, total] = members::of(json, names).map(|value| value.and_then(number));
    let completion_known = completion.unwrap_or(0).max(observed);
    let prompt = prompt
        .filter(|prompt| *prompt > 0)
        .or_else(|| total?.checked_sub(completion_known))
        .filter(|prompt| *prompt > 0)?;
    let usage = Usage::new(prompt, completion_known);
    let total = total.unwrap_or(0).max(usage.total_tokens);
    Some(usage.with_total_tokens(total))
}

fn number(json: &str) -> Option<u64> {
    if let Ok(number) = json.parse() {
        return Some(number);
    }
    if json.starts_with('"') {
        return None;
    }
    let number: f64 = json.parse().ok()?;
    // A cast saturates; there are no infinities and no NaN in JSON, only numbers too large.
    (number >= 0.0).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_reports_are_taken_as_they_are() {
        let json = r#"{"prompt_tokens":14,"completion_tokens":7,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":0}}"#;
        assert_eq!(read(json, 3), Some(Usage::new(14, 7)));
        let reasoning = r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":9}"#;
        assert_eq!(
            read(reasoning, 0),
            Some(Usage::new(1, 2).with_total_tokens(9))
        );
        let no_completion = r#"{"prompt_tokens":8,"total_tokens":8}"#;
        assert_eq!(read(no_completion, 0), Some(Usage::new(8, 0)));
    }

    #[test]
    fn hostile_reports_are_bounded_by_what_was_seen() {
        let most = u64::MAX;
        for (completion, believed) in [
            ("0", 5),
            ("4", 5),
            ("-9", 5),
            ("\"12\"", 5),
            ("null", 5),
            ("{}", 5),
            ("6", 6),
            ("7.0", 7),
            ("1e308", most),
            ("18446744073709551615", most),
            ("18446744073709551616", most),
            ("1e999", most),
        ] {
            let json = format!(r#"{{"prompt_tokens":1,"completion_tokens":{completion}}}"#);
            let usage = read(&json, 5).unwrap();
            assert_eq!(usage.completion_tokens, believed, "{completion}");
            assert_eq!(
                usage.total_tokens,
                believed.saturating_add(1),
                "{completion}"
            );
        }
    }

    #[test]
    fn a_report_without_a_prompt_is_none() {
        for json in [
            "{}",
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
            r#"{"prompt_tokens":-1,"completion_tokens":9}"#,
            r#"{"completion_tokens":9,"total_tokens":3}"#,
        ] {
            assert_eq!(read(json, 0), None, "{json}");
        }
        let by_total = r#"{"completion_tokens":9,"total_tokens":30}"#;
        assert_eq!(read(by_total, 0), Some(Usage::new(21, 9)));
    }
}
