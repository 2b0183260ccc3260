//! The rules beside a slow and obvious version of them, on random streams with random cuts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod random;

use bytes::Bytes;
use random::Random;
use tollgate_sse::{Reframer, StreamEnd};

/// JSON whose members keep their order and whose scalars keep their spelling.
#[derive(Clone, Debug)]
enum Node {
    Text(&'static str),
    Array(Vec<Node>),
    Object(Vec<(&'static str, Node)>),
}

use Node::{Array, Object, Text};

impl Node {
    fn get(&self, key: &str) -> Option<&Self> {
        let Object(members) = self else { return None };
        members
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    fn is(&self, text: &str) -> bool {
        matches!(self, Text(own) if *own == text)
    }

    fn remove(&mut self, keys: &[&str]) {
        if let Object(members) = self {
            members.retain(|(name, _)| !keys.contains(name));
        }
    }

    fn print(&self, space: &mut dyn FnMut() -> &'static str, out: &mut String) {
        let (open, close, items): (_, _, Vec<(Option<&str>, &Self)>) = match self {
            Text(text) => return out.push_str(text),
            Array(items) => ('[', ']', items.iter().map(|item| (None, item)).collect()),
            Object(items) => {
                let members = items.iter().map(|(key, value)| (Some(*key), value));
                ('{', '}', members.collect())
            }
        };
        out.push(open);
        out.push_str(space());
        for (at, (key, value)) in items.into_iter().enumerate() {
            if at > 0 {
                out.push(',');
                out.push_str(space());
            }
            if let Some(key) = key {
                out.push_str(&format!("\"{key}\"{}:{}", space(), space()));
            }
            value.print(space, out);
            out.push_str(space());
        }
        out.push(close);
    }

    fn compact(&self) -> String {
        let mut out = String::new();
        self.print(&mut || "", &mut out);
        out
    }
}

/// JSON without the white space between its tokens.
fn compacted(json: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    let kept = json.chars().filter(|c| {
        if in_string {
            in_string = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !c.is_ascii_whitespace()
    });
    kept.collect()
}

fn one_of<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())]
}

fn scalar(random: &mut Random) -> Node {
    Text(one_of(
        random,
        &[
            "null",
            "true",
            "-0.0",
            "1e5",
            "12345678901234567890123",
            "-1.0e-4",
            "\"\"",
            "\"é\"",
            r#""\u00e9\"\\,]}{""#,
            r#""\"usage\":{}""#,
            "\"data: [DONE]\"",
        ],
    ))
}

fn anything(random: &mut Random, depth: usize) -> Node {
    const KEYS: [&str; 6] = [
        "a",
        "usage",
        "content_filter_results",
        "delta",
        "error",
        "choices",
    ];
    match random.below(if depth == 0 { 1 } else { 4 }) {
        1 => Array(
            (0..random.below(3))
                .map(|_| anything(random, depth - 1))
                .collect(),
        ),
        2 => {
            let member = |random: &mut Random| (one_of(random, &KEYS), anything(random, depth - 1));
            Object((0..random.below(3)).map(|_| member(random)).collect())
        }
        _ => scalar(random),
    }
}

fn shuffled(random: &mut Random, mut members: Vec<(&'static str, Node)>) -> Node {
    for at in (1..members.len()).rev() {
        members.swap(at, random.below(at + 1));
    }
    Object(members)
}

/// Adds each of these members sometimes.
fn sometimes(random: &mut Random, members: &mut Vec<(&'static str, Node)>, keys: &[&'static str]) {
    for key in keys {
        if random.below(6) == 0 {
            members.push((key, anything(random, 2)));
        }
    }
}

const CHOICE_FILTERS: [&str; 4] = [
    "content_filter_results",
    "content_filter_result",
    "content_filter_offsets",
    "content_filter_raw",
];
const ROOT_FILTERS: [&str; 2] = ["prompt_filter_results", "prompt_annotations"];

fn choice(random: &mut Random) -> Node {
    let mut members = vec![("index", Text(one_of(random, &["0", "0", "0", "1"])))];
    let finish = one_of(
        random,
        &["null", "null", "null", "\"stop\"", "\"new_reason\"", "\"\""],
    );
    members.push(("finish_reason", Text(finish)));
    match random.below(8) {
        0 => {}
        1 => members.push(("delta", Text("null"))),
        2 => members.push(("delta", Object(Vec::new()))),
        _ => {
            let mut delta = vec![("content", Text(one_of(random, &CONTENTS)))];
            sometimes(random, &mut delta, &["role", "x"]);
            members.push(("delta", shuffled(random, delta)));
        }
    }
    sometimes(random, &mut members, &CHOICE_FILTERS);
    sometimes(random, &mut members, &["logprobs", "x"]);
    shuffled(random, members)
}

fn chunk(random: &mut Random) -> Node {
    let mut members = Vec::new();
    for (key, values) in [
        (
            "id",
            &[
                "\"c1\"", "\"c1\"", "\"c1\"", "\"c2\"", "\"\"", "\" \"", "null",
            ][..],
        ),
        (
            "object",
            &[
                "\"chat.completion.chunk\"",
                "\"chat.completion.chunk\"",
                "\"\"",
            ],
        ),
        ("created", &["17", "17", "0", "null"]),
        ("model", &["\"m\"", "\"m\"", "\"\""]),
    ] {
        if random.below(12) > 0 {
            members.push((key, Text(one_of(random, values))));
        }
    }
    match random.below(40) {
        0 => {}
        1 => members.push(("choices", scalar(random))),
        _ => {
            let count = one_of(random, &[0, 1, 1, 1, 1, 2, 3]);
            let choices = (0..count).map(|_| choice(random)).collect();
            members.push(("choices", Array(choices)));
        }
    }
    match random.below(8) {
        0 => {
            let tokens = vec![
                ("prompt_tokens", Text("5")),
                ("completion_tokens", Text("7")),
            ];
            members.push(("usage", shuffled(random, tokens)));
        }
        1 | 2 => members.push(("usage", Text("null"))),
        _ => {}
    }
    if random.below(30) == 0 {
        members.push(("error", Text(one_of(random, &["null", "null", "\"gone\""]))));
    }
    if random.below(4) == 0 {
        members.push((
            "obfuscation",
            Text(one_of(random, &["\"\"", "\"xy\"", "\"abc\""])),
        ));
    }
    sometimes(random, &mut members, &ROOT_FILTERS);
    sometimes(random, &mut members, &["x", "y"]);
    shuffled(random, members)
}

enum Event {
    Chunk(Node),
    /// What is no JSON object.
    Broken(Vec<u8>),
    /// What means nothing.
    Noise(&'static str),
    Done,
}

fn event(random: &mut Random) -> Event {
    match random.below(60) {
        0 => Event::Broken(broken(random)),
        1..=6 => Event::Noise(one_of(
            random,
            &[": ping", "event: x", "data:", "data:  ", "id: 1"],
        )),
        7 => Event::Done,
        _ => Event::Chunk(chunk(random)),
    }
}

fn broken(random: &mut Random) -> Vec<u8> {
    const BROKEN: [&str; 6] = ["[1]", "{", "{}}", "7", "{\"choices\":[}", "\"x\""];
    // What looks like any other chunk but for its text.
    const TEXTS: [&[u8]; 6] = [b"\xff", b"\t", b"\\x", b"\\u12", b"\"", b"\xe2\x82"];
    if random.below(2) == 0 {
        return one_of(random, &BROKEN).into();
    }
    let text = one_of(random, &TEXTS);
    [
        br#"{"choices":[{"index":0,"delta":{"content":""#,
        text,
        br#""}}]}"#,
    ]
    .concat()
}

/// The same chunk with other texts.
fn retold(random: &mut Random, chunk: &Node) -> Node {
    match chunk {
        Text(text) => Text(text),
        Array(items) => Array(items.iter().map(|item| retold(random, item)).collect()),
        Object(members) => {
            let member = |(key, value): &(&'static str, Node)| match (*key, value) {
                ("content" | "obfuscation", Text(text)) if *text != "null" => {
                    (*key, Text(one_of(random, &CONTENTS)))
                }
                _ => (*key, retold(random, value)),
            };
            Object(members.iter().map(member).collect())
        }
    }
}

const CONTENTS: [&str; 7] = [
    "\"\"",
    "\"a\"",
    r#""\"b\\""#,
    "\"日本\"",
    r#""\u65e5\ud83d\ude00""#,
    "\"a longer text, of some words\"",
    r#""}],\"usage\":{}""#,
];

/// The rules, written down as they are told.
struct Oracle {
    show_usage: bool,
    keep_filters: bool,
    known: Vec<(&'static str, Node)>,
    begun: Vec<String>,
    finished: Vec<String>,
    usage: bool,
    out: Vec<String>,
    over: bool,
}

impl Oracle {
    fn event(&mut self, event: &Event) {
        match event {
            _ if self.over => {}
            Event::Noise(_) => {}
            Event::Done => self.end("[DONE]"),
            Event::Broken(_) => self.end("upstream_invalid_event"),
            Event::Chunk(chunk) => self.chunk(chunk.clone()),
        }
    }

    fn end(&mut self, last: &str) {
        self.out.push(last.to_owned());
        self.over = true;
    }

    fn chunk(&mut self, mut chunk: Node) {
        if chunk.get("error").is_some_and(|error| !error.is("null")) {
            return self.end("gone");
        }
        let has_usage = matches!(chunk.get("usage"), Some(Object(_)));
        self.usage |= has_usage;
        let Some(Array(choices)) = chunk.get("choices") else {
            return;
        };
        let mut left = Vec::new();
        for choice in choices {
            let mut choice = choice.clone();
            let unfinished = |reason: &Node| reason.is("null") || reason.is("\"\"");
            let finished = !choice.get("finish_reason").is_none_or(unfinished);
            if !matches!(choice.get("delta"), Some(Object(_))) {
                if !finished {
                    continue;
                }
                let Object(members) = &mut choice else {
                    panic!()
                };
                match members.iter_mut().find(|(key, _)| *key == "delta") {
                    Some((_, delta)) => *delta = Object(Vec::new()),
                    None => members.insert(0, ("delta", Object(Vec::new()))),
                }
            }
            let index = choice.get("index").unwrap().compact();
            if finished {
                self.finished.push(index.clone());
            }
            self.begun.push(index);
            if !self.keep_filters {
                choice.remove(&CHOICE_FILTERS);
            }
            left.push(choice);
        }
        let silent = left.is_empty() && !(has_usage && self.show_usage);
        let mut missing = Vec::new();
        for (key, own) in [
            ("id", "\"chatcmpl-own\""),
            ("object", "\"chat.completion.chunk\""),
            ("created", "42"),
            ("model", "\"asked\""),
        ] {
            let blank = |value: &Node| {
                ["\"\"", "\" \"", "null", "0"]
                    .iter()
                    .any(|blank| value.is(blank))
            };
            let known = self.known.iter().position(|(known, _)| *known == key);
            match chunk.get(key) {
                Some(value) if !blank(value) => {
                    if known.is_none() {
                        self.known.push((key, value.clone()));
                    }
                }
                value => {
                    let fill = known.map_or(Text(own), |at| self.known[at].1.clone());
                    if value.is_none() {
                        missing.push((key, fill));
                    } else if let Object(members) = &mut chunk {
                        members.iter_mut().find(|(own, _)| *own == key).unwrap().1 = fill;
                    }
                }
            }
        }
        if silent {
            return;
        }
        let Object(members) = &mut chunk else {
            panic!()
        };
        members
            .iter_mut()
            .find(|(key, _)| *key == "choices")
            .unwrap()
            .1 = Array(left);
        members.splice(0..0, missing);
        if !self.show_usage {
            chunk.remove(&["usage"]);
        }
        if !self.keep_filters {
            chunk.remove(&ROOT_FILTERS);
        }
        self.out.push(chunk.compact());
    }

    fn finish(&mut self) {
        if self.over {
            return;
        }
        let whole = self.begun.iter().all(|index| self.finished.contains(index));
        if whole && !self.begun.is_empty() {
            self.end("[DONE]");
        } else {
            self.end("upstream_stream_truncated");
        }
    }
}

#[test]
fn the_rules_are_kept_on_any_stream_and_any_cuts() {
    let mut random = Random::new(3);
    for round in 0..random::cases(4_000) {
        let mut oracle = Oracle {
            show_usage: random.below(2) == 0,
            keep_filters: random.below(4) == 0,
            known: Vec::new(),
            begun: Vec::new(),
            finished: Vec::new(),
            usage: false,
            out: Vec::new(),
            over: false,
        };
        let text = stream(&mut random, &mut oracle);
        oracle.finish();
        let text = Bytes::from(text);
        let (whole, usage) = reframed(&oracle, [text.clone()]);
        let (cut, cut_usage) = reframed(&oracle, random.cuts(&text));
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(whole, cut, "{round}: {shown}");
        assert_eq!(
            (usage, cut_usage),
            (oracle.usage, oracle.usage),
            "{round}: {shown}"
        );
        let events: Vec<&str> = whole.split_terminator("\n\n").collect();
        assert_eq!(events.len(), oracle.out.len(), "{round}: {shown}\n{whole}");
        for (event, expected) in events.iter().zip(&oracle.out) {
            let data = event.strip_prefix("data: ").unwrap();
            assert!(!data.contains(['\n', '\r']));
            if expected.starts_with('{') {
                assert_eq!(&compacted(data), expected, "{round}: {shown}");
            } else {
                assert!(data.contains(&**expected), "{round}: {data} {expected}");
            }
        }
    }
}

/// A random stream as bytes, of which the oracle has been told.
fn stream(random: &mut Random, oracle: &mut Oracle) -> Vec<u8> {
    let mut text = Vec::new();
    let line_end = one_of(random, &["\n", "\n", "\n", "\r\n", "\r"]);
    // Most streams are printed tightly and say the same again and again.
    let spaced = random.below(3) == 0;
    let mut last = chunk(random);
    for _ in 0..random.below(30) {
        let next = match random.below(3) {
            0 => event(random),
            _ => Event::Chunk(retold(random, &last)),
        };
        oracle.event(&next);
        match &next {
            Event::Noise(line) => text.extend_from_slice(line.as_bytes()),
            Event::Done => text.extend_from_slice(b"data: [DONE] "),
            Event::Broken(data) => text.extend_from_slice(&[b"data: ", &data[..]].concat()),
            Event::Chunk(chunk) => {
                last = chunk.clone();
                let mut json = String::new();
                let mut space = || match random.below(if spaced { 3 } else { 400 }) {
                    0 => one_of(random, &[" ", "\t", "\n"]),
                    _ => "",
                };
                chunk.print(&mut space, &mut json);
                let prefix = one_of(random, &["data: ", "data: ", "data:", "data:  "]);
                let lines: Vec<String> = json
                    .split('\n')
                    .map(|line| format!("{prefix}{line}"))
                    .collect();
                text.extend_from_slice(lines.join(line_end).as_bytes());
            }
        }
        text.extend_from_slice(line_end.as_bytes());
        text.extend_from_slice(line_end.as_bytes());
    }
    text
}

fn reframed(oracle: &Oracle, pieces: impl IntoIterator<Item = Bytes>) -> (String, bool) {
    let mut reframer = Reframer::new()
        .show_usage(oracle.show_usage)
        .keep_filters(oracle.keep_filters)
        .fill_with("chatcmpl-own", "asked", 42);
    let mut output = Vec::new();
    for piece in pieces {
        reframer.push(piece);
        output.extend_from_slice(&reframer.take_output());
    }
    reframer.finish();
    output.extend_from_slice(&reframer.take_output());
    let text = String::from_utf8(output).unwrap();
    let whole = text.ends_with("data: [DONE]\n\n");
    assert_eq!(reframer.end() == Some(&StreamEnd::Complete), whole);
    (text, reframer.usage().is_some())
}

#[test]
fn to_look_like_a_good_event_is_no_excuse() {
    let event = |text: &[u8]| -> Bytes {
        let start = br#"data: {"id":"c","choices":[{"index":0,"delta":{"content":""#;
        [start, text, b"\"}}]}\n\n"].concat().into()
    };
    for (text, good) in [
        (&b"\xff"[..], false),
        (b"\xe2\x82", false),
        (b"\t", false),
        (b"\\x", false),
        (b"\\u12", false),
        (b"\"", false),
        (b"\\", false),
        (b"\xe2\x82\xac\\u20ac\\\"", true),
        (b"", true),
    ] {
        let mut reframer = Reframer::new();
        reframer.push(event(b"a"));
        reframer.push(event(b"bcd"));
        reframer.push(event(text));
        assert_eq!(reframer.end().is_none(), good, "{text:?}");
    }
}

#[test]
fn a_known_event_must_stand_where_an_event_can_stand() {
    let json = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let known = format!("data: {json}\n\n");
    let on_lines = json.replace(',', ",\ndata: ");
    for (text, events) in [
        // In a comment, in another field, in the middle of data, without its empty line.
        (format!(": {known}"), 0),
        (format!("event: {known}"), 0),
        (format!("data: 1\n{known}"), usize::MAX),
        (known.replace("\n\n", "\n"), 0),
        (known.replace("\n\n", "\nid: 1\n\n"), 1),
        (known.replace("\n\n", "\r\n\n"), 1),
        (known.replace("\n\n", "x\n\n"), usize::MAX),
        (
            known.replace("\"a", &format!("\"{}", "b".repeat(1_000))),
            usize::MAX,
        ),
        (format!("\n{known}"), 1),
        (format!("id: 1\n{known}"), 1),
        // It is known on several lines; on several lines that are no data it is none.
        (format!("data: {on_lines}\n\n"), 1),
        (
            format!("data: {}\n\n", json.replace(',', ",\n")),
            usize::MAX,
        ),
    ] {
        let passed = tollgate_testing::Splits::of(text.clone()).check(|pieces| {
            let mut reframer = Reframer::new().max_event_bytes(500);
            reframer.push(known.clone() + &known);
            reframer.push(format!("data: {on_lines}\n\n").repeat(2));
            reframer.take_output();
            for piece in pieces {
                reframer.push(piece);
            }
            let output = reframer.take_output();
            let passed = output.windows(2).filter(|end| *end == b"\n\n").count();
            match reframer.end() {
                None => passed,
                Some(_) => usize::MAX,
            }
        });
        assert_eq!(passed, events, "{text:?}");
    }
}

fn reframed_whole(stream: &str) -> String {
    let mut reframer = Reframer::new();
    reframer.push(stream.to_owned());
    reframer.finish();
    String::from_utf8(reframer.take_output().into()).unwrap()
}

#[test]
fn every_error_but_null_is_one() {
    let chunk = r#"{"id":"c","object":"o","created":1,"model":"m","choices":[]"#;
    for error in [
        r#""""#,
        r#"" ""#,
        "false",
        "0",
        "[]",
        "{}",
        r#"{"message":""}"#,
    ] {
        let output = reframed_whole(&format!(
            "data: {chunk},\"error\":{error}}}\n\ndata: [DONE]\n\n"
        ));
        assert_eq!(
            output,
            "data: {\"error\":{\"message\":\"The server had an error while processing your request. \
             Sorry about that!\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
            "{error}"
        );
    }
    let null = format!("data: {chunk},\"error\":null}}\n\ndata: [DONE]\n\n");
    assert_eq!(reframed_whole(&null), "data: [DONE]\n\n");
}

#[test]
fn a_last_event_without_an_end_counts_if_it_is_whole() {
    let finished =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for (last, code) in [
        ("{}", None),
        ("[1]", Some("upstream_invalid_event")),
        ("null", Some("upstream_invalid_event")),
        ("\"x\"\n", Some("upstream_invalid_event")),
        ("{\"error\":7}", Some("Sorry about that!")),
        ("{\"choices\":", None),
        ("[DON", None),
        ("\"x", None),
    ] {
        let output = reframed_whole(&format!("{finished}data: {last}"));
        match code {
            None => assert!(output.ends_with("data: [DONE]\n\n"), "{last}: {output}"),
            Some(code) => {
                assert!(output.contains(code), "{last}: {output}");
                assert!(!output.contains("[DONE]"), "{last}: {output}");
            }
        }
    }
}

#[test]
fn a_known_event_is_too_large_from_the_same_byte_on() {
    let event = |text: &str| {
        format!("data: {{\"id\":\"c\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let large = Bytes::from(event(&"b".repeat(300)));
    let max = large.len() - "]}\n\n".len();
    let fresh = || {
        let mut reframer = Reframer::new().max_event_bytes(max);
        reframer.push(event("a").repeat(2));
        reframer
    };
    let mut reframer = fresh();
    for come in 1..=large.len() {
        reframer.push(large.slice(come - 1..come));
        let mut other = fresh();
        other.push(large.slice(..come));
        assert_eq!(reframer.end(), other.end(), "{come}");
        assert_eq!(other.end().is_some(), come > max, "{come}");
    }
}

#[test]
fn known_events_are_filled_with_what_the_upstream_has_sent_since() {
    let without = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    let with = without.replace("{\"choices", "{\"id\":\"theirs\",\"choices");
    let mut reframer = Reframer::new().fill_with("ours", "m", 1);
    for (event, id) in [
        (without, "ours"),
        (without, "ours"),
        (&with, "theirs"),
        (without, "theirs"),
    ] {
        reframer.push(event.to_owned());
        let output = reframer.take_output();
        let output = std::str::from_utf8(&output).unwrap();
        assert!(output.contains(&format!("\"id\":\"{id}\"")), "{output}");
    }
}

#[test]
fn what_fills_gaps_is_short() {
    let small = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    for model in ["asked".to_owned(), "m".repeat(1 << 20)] {
        let mut reframer = Reframer::new().fill_with("chatcmpl-own", &model, 42);
        for key in ["id", "model", "object", "created"] {
            let long = format!("\"{key}\":\"1{}\"", "x".repeat(100_000));
            reframer.push(small.replacen('{', &format!("{{{long},"), 1));
            let output = reframer.take_output();
            assert!(output.len() > 100_000, "what was sent stays");
        }
        reframer.push(small.repeat(1_000));
        let output = reframer.take_output();
        assert!(output.len() < small.len() * 1_000 * 4, "{}", output.len());
    }
}

#[test]
fn nothing_of_a_stream_can_be_printed() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"canary\"}}]}\n\n";
    let error = "data: {\"error\":{\"message\":\"canary\"}}\n\n";
    for rest in ["", event.trim_end(), error] {
        let mut reframer = Reframer::new();
        reframer.push(format!("{event}{event}{rest}"));
        let printed = format!("{reframer:?}");
        assert_eq!(
            printed,
            format!("Reframer {{ is_over: {}, .. }}", rest == error)
        );
    }
}
