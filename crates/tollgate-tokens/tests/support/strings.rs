//! Strings of many scripts, and of what tokenizers stumble over.

use proptest::{char::range, collection::vec, prelude::*, sample::select};

pub(crate) fn strings() -> impl Strategy<Value = String> {
    vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

fn piece() -> impl Strategy<Value = String> {
    let run = |chars: &'static [&'static str]| {
        (select(chars), 1..40_usize).prop_map(|(chars, times)| chars.repeat(times))
    };
    prop_oneof![
        4 => "[ ]?[a-zA-Z]{1,12}",
        2 => "[0-9]{1,8}",
        2 => "[ ]?[!-/:-@\\[-`{-~]{1,4}",
        2 => select(WORDS).prop_map(str::to_owned),
        2 => select(SCRIPTS).prop_flat_map(|(first, last)| {
            vec(range(first, last), 1..8).prop_map(|chars| chars.into_iter().collect())
        }),
        1 => "\\PC{1,4}",
        // Not what is unassigned: tables of later editions of Unicode may call it a letter.
        1 => "[\\p{Cc}\\p{Cf}\\p{Co}]",
        1 => run(&[" ", "\n", "\r\n", "\t", "\u{a0}", "\u{3000}", "\u{85}", "-", "=", "*", "a", "0", "ß", "中"]),
    ]
}

const WORDS: &[&str] = &[
    "don't",
    "I'LL",
    "we'Ve",
    "'s",
    "'ſ",
    "O'Neill's",
    "camelCase",
    "HTTPServer",
    "snake_case",
    "x.y",
    "\"key\":",
    "<|endoftext|>",
    "<|im_start|>",
    "https://a.example/b?c=d",
    "e\u{301}",
    "n\u{303}o",
    "👩‍👩‍👧",
    "⛵\u{fe0f}",
    "🇵🇹",
    "\u{feff}",
    "\u{200b}",
    "\u{0}",
    "½",
    "²",
    "Ⅻ",
    "٣",
    "ǅ",
    "ʰ",
    "İ",
    "\\n",
];

// A range of characters of each script.
const SCRIPTS: &[(char, char)] = &[
    ('à', 'ÿ'),
    ('ā', 'ž'),
    ('α', 'ω'),
    ('а', 'я'),
    ('ա', 'և'),
    ('א', 'ת'),
    ('ا', 'ي'),
    ('ऄ', 'ह'),
    ('\u{93e}', '\u{94d}'),
    ('অ', 'হ'),
    ('அ', 'ஹ'),
    ('ก', 'ฺ'),
    ('က', 'အ'),
    ('ა', 'ჰ'),
    ('ሀ', 'ፗ'),
    ('ក', 'ឳ'),
    ('ぁ', 'ん'),
    ('ァ', 'ヶ'),
    ('一', '龥'),
    ('가', '힣'),
    ('😀', '🙏'),
    ('𝐀', '𝟿'),
    ('\u{300}', '\u{36f}'),
    ('⁰', '₟'),
    ('←', '⇿'),
    ('A', 'Z'),
];
