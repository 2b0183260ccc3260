//! How many tokens a prompt has: bounds at once, an exact count where it matters.
//!
//! Both counters implement [`TokenCounter`](tollgate_core::TokenCounter), which `ModelsLayer` and
//! `BudgetLayer` take. [`Estimator`] needs no vocabulary: it bounds a prompt for certain and
//! estimates it well. `ExactCounter` (feature `exact`) does the same until a decision hangs on
//! the difference, and then counts.
//!
//! ```
//! use tollgate_core::{ChatRequest, InputKind, Model, TokenCounter};
//! use tollgate_tokens::Estimator;
//!
//! let request = ChatRequest::builder("gpt-4o")
//!     .message()
//!     .text(InputKind::Role, "user", false)
//!     .text(InputKind::Content, "Write a short poem about cats.", false)
//!     .build();
//! let bounds = Estimator::new().bounds(&request, &Model::new("gpt-4o"));
//! assert!(bounds.lower <= 14 && 14 <= bounds.upper);
//! assert!(bounds.estimate.abs_diff(14) <= 2);
//! ```
#![cfg_attr(
    feature = "exact",
    doc = r#"
Exactly, once the vocabulary has been loaded:

```
use tollgate_core::{ChatRequest, InputKind, Model, TokenBounds, TokenCounter};
use tollgate_tokens::{Encoding, ExactCounter};

let counter = ExactCounter::new([Encoding::O200kBase]);
counter.load(); // or `load_in_background`, and listen meanwhile

let request = ChatRequest::builder("gpt-4o")
    .message()
    .text(InputKind::Role, "user", false)
    .text(InputKind::Content, "Write a short poem about cats.", false)
    .build();
let model = Model::new("gpt-4o");
assert_eq!(counter.count(&request, &model), TokenBounds::exact(14));
```
"#
)]
//!
//! # What is counted
//!
//! * Text, by the model's [`Encoding`]. Special tokens in a caller's text are plain text.
//! * Chat framing: 3 tokens for each message, 1 for each name, 3 that open the answer, as the
//!   OpenAI cookbook publishes; 2 less for a message of the role `function`, as the API was seen to
//!   charge.
//! * Tools by the cookbook's formula, functions as the TypeScript that the API was seen to charge
//!   for, response formats as JSON. How they are rendered today is not published, so a prompt that
//!   has any is never counted exactly: `lower < upper`. The formulas are the `estimate` of
//!   [`count`](tollgate_core::TokenCounter::count); for mere bounds the bytes of the JSON will do.
//! * Earlier calls of tools and functions: name, arguments and 3 tokens, an estimate as well.
//! * Images, by [`ImageRule`], from the size in a data URL's header. Nothing is ever fetched, and
//!   base64 is never counted as text. An image of unknown size costs between the least and the
//!   most that its model charges.
//! * Audio and files: [`ByteRule::OPAQUE_PART`](tollgate_core::ByteRule::OPAQUE_PART).
//!
//! For models whose vocabulary is not known the lower bound of text and framing is 0; the upper one
//! of a text is its bytes all the same.
//!
//! # Placement
//!
//! Counters are not layers. Give one to `ModelsLayer::counter`, so that what exceeds a context
//! window is refused, and to `BudgetLayer::counter`, so that what is reserved is close to what will
//! be charged. Both ask for bounds first and for a count only where the bounds leave the decision
//! open, so an `ExactCounter` costs most requests no more than an [`Estimator`] does: it is the one
//! to use where 50 MB are not too many. Load it in the background, only with the vocabularies that
//! the configured models need (`ExactCounter::for_models`).
//!
//! # Accuracy
//!
//! The bounds of texts are certain for both encodings; those of images and framing are so as far as
//! OpenAI's published figures are. Audio and files are a guess. The estimate of a text is off by 4 to
//! 8 % in the median, and by 25 % once in a hundred times; see [`Estimator::text`].
//!
//! # Cost
//!
//! On one core of a rented server (AMD Zen 4), prompts in messages of 512 bytes:
//!
//! | | [`ByteRule`](tollgate_core::ByteRule) | bounds | exact count |
//! |---|---|---|---|
//! | 1 KB of English | 5 ns | 1.7 µs | 16 µs |
//! | 16 KB of English | 30 ns | 28 µs | 270 µs |
//! | 16 KB of source code | 30 ns | 33 µs | 310 µs |
//! | 16 KB of Chinese | 30 ns | 37 µs | 210 µs |
//! | 1 MB of spaces | 30 ns | 100 µs | 4.4 ms, uncapped |
//!
//! Bounds take one pass over the text, up to a cap of 256 KiB for each request, and allocate only to
//! resolve escapes. Exact counting has a cap of its own, 32 KiB: half a millisecond, and 5 at worst,
//! for random letters. Long runs of punctuation would take ten times as long and are only bounded.
//! Nothing is awaited and nothing blocks, but for `ExactCounter::load`.
//!
//! # Features
//!
//! * `exact`: `ExactCounter`, with the vocabularies built into the binary, which grows by 50 MB.
//!   Off by default.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod encoding;
mod estimator;
#[cfg(feature = "exact")]
mod exact;
mod features;
mod functions;
mod images;
mod scan;
mod schemas;
mod text;
mod texts;
mod tools;

pub use encoding::Encoding;
pub use estimator::Estimator;
#[cfg(feature = "exact")]
pub use exact::ExactCounter;
pub use images::{ImageRule, image_size};
