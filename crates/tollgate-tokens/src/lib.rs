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
//!   OpenAI cookbook publishes.
//! * Tools, functions and response formats: an estimate. How they are rendered is not published,
//!   so a prompt that has any is never counted exactly: `lower < upper`.
//! * Images, by [`ImageRule`], from the size in a data URL's header. Nothing is ever fetched, and
//!   base64 is never counted as text. An image of unknown size costs between the least and the
//!   most that its model charges.
//! * Audio and files: [`ByteRule::OPAQUE_PART`](tollgate_core::ByteRule::OPAQUE_PART).
//!
//! For models whose vocabulary is not known the lower bound of a text is 0, and the upper one is
//! its bytes all the same.
//!
//! # Accuracy
//!
//! The estimate's error against the exact count, on texts of 200 bytes to 4 KB in 20 languages,
//! source code and JSON: see [`Estimator::text`].
//!
//! # Cost
//!
//! Bounds take one pass over the text, up to a cap of 256 KiB for each request, and allocate only
//! to resolve escapes. Exact counting is linear but slow on runs of punctuation (1 MB/s at worst),
//! so it has a cap of its own, 32 KiB. Nothing is awaited and nothing blocks, but for
//! `ExactCounter::load`.
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
