//! A pull scanner for JSON that knows where everything stands.
//!
//! The validator needs positions (of members that are edited, of texts that are counted) and must
//! check what it skips as strictly as what it reads. A deserialiser gives neither: it has no
//! positions, copies strings that hold escapes, and looks away inside ignored values. So the bytes
//! are walked here, once, and the tests hold every verdict against `serde_json`.

mod keys;
mod number;
mod scanner;
mod text;

pub(crate) use keys::{Keys, Mark};
pub(crate) use number::Number;
pub(crate) use scanner::{Malformed, Scanner, Value};
pub(crate) use text::Text;
