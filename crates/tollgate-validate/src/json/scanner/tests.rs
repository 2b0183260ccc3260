//! The grammar, held against `serde_json`.

use proptest::prelude::*;

use super::*;
use crate::json::Keys;

fn skip(scanner: &mut Scanner<'_>) -> Result<()> {
    let value = scanner.value()?;
    Keys::default().finish(scanner, value).map(drop)
}

fn scan(json: &str) -> Result<()> {
    let mut scanner = Scanner::new(json, usize::MAX);
    skip(&mut scanner)?;
    scanner.end()
}

#[test]
fn the_grammar_is_rfc_8259() {
    for good in [
        "null",
        " true ",
        "[]",
        "{}",
        "[1,2]",
        r#"{"a":1,"b":[{}]}"#,
        "-0",
        "1.5e-3",
        "0.0",
        r#""\u0000\ud83d\ude80\/""#,
        "\"\u{7f}é\"",
        "1e308",
        "\r\n\t [ ] ",
    ] {
        assert_eq!(scan(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        " ",
        "nul",
        "nulll",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{\"a\"",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{1:2}",
        "{\"a\" 1}",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "NaN",
        "Infinity",
        "'a'",
        "\"a",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        r#""\ud83d""#,
        r#""\ude80""#,
        r#""\ud83d\u0041""#,
        r#""\ud83dx""#,
        "1e999",
        "-1e999",
        "[]]",
        "{}}",
        "[}",
        "{]",
        "1 2",
        "\u{feff}{}",
        "// a",
        "\"\\",
    ] {
        assert_eq!(scan(bad), Err(Malformed::Syntax), "{bad}");
    }
}

#[test]
fn depth_is_counted_in_skipped_values_too() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert_eq!(scan(&nested(64)), Ok(()));
        assert_eq!(scan(&nested(65)), Err(Malformed::TooDeep));
        assert_eq!(scan(&open.repeat(1_000_000)), Err(Malformed::TooDeep));
    }
}

#[test]
fn values_are_counted() {
    let mut scanner = Scanner::new("[1,[2],3]", 4);
    assert_eq!(skip(&mut scanner), Err(Malformed::TooManyValues));
    let mut scanner = Scanner::new("[1,[2],3]", 5);
    assert_eq!(skip(&mut scanner), Ok(()));
}

#[test]
fn a_run_of_plain_bytes_ends_where_it_must() {
    for special in (0..=255).map(char::from) {
        for before in 0..20 {
            for after in [0, 3, 9] {
                let text = format!("{}{special}{}", "é~".repeat(before), "\u{7f}".repeat(after));
                let stops = special < ' ' || special == '"' || special == '\\';
                let expected = if stops { 3 * before } else { text.len() };
                assert_eq!(plain_run(text.as_bytes(), 0), expected, "{text:?}");
            }
        }
    }
}

/// JSON, and text that is nearly JSON.
fn jsonish() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\":",
        "\\",
        "\\u00e9",
        "\\ud83d",
        "\\ude80",
        "\\n",
        "1",
        "-",
        "0",
        ".5",
        "e9",
        "E+400",
        "true",
        "null",
        " ",
        "\n",
        "é",
        "[1,2]",
        "{\"a\":[]}",
        "\"\\\"\"",
    ]);
    prop::collection::vec(token, 0..14).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn verdicts_are_those_of_serde_json(json in jsonish()) {
        let theirs = serde_json::from_str::<serde_json::Value>(&json);
        prop_assert_eq!(scan(&json).is_ok(), theirs.is_ok(), "{}", json);
    }

    #[test]
    fn strings_say_what_serde_json_reads(text in any::<String>()) {
        let json = serde_json::to_string(&text).unwrap();
        let Ok(Value::String(read)) = Scanner::new(&json, 1).value() else {
            panic!("{json} is a string");
        };
        prop_assert!(read.is(&text));
        prop_assert_eq!(read.unescaped(), &*text);
        let inside = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
        prop_assert_eq!(json.get(read.range()), inside);
    }
}
