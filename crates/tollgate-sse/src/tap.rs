//! Watching and changing events on their way to the caller.

use bytes::Bytes;
use http::Extensions;

use crate::StreamEnd;

/// Sees each event of a stream before it goes out: what a caller would get, after all rules.
///
/// A layer's tap is cloned for each stream, so what it keeps is the stream's own; what is to
/// outlive the stream goes behind an `Arc`. A tap runs inside the body's poll: it must not block.
///
/// ```
/// use tollgate_sse::{Flow, Reframer, Tap};
///
/// /// Hides fingerprints.
/// #[derive(Clone)]
/// struct Anonymous;
///
/// impl Tap for Anonymous {
///     fn event(&mut self, json: &[u8]) -> Flow {
///         match json.windows(11).any(|w| w == b"fingerprint") {
///             true => Flow::Drop,
///             false => Flow::Keep,
///         }
///     }
/// }
///
/// let mut reframer = Reframer::new().tap(Anonymous);
/// reframer.push("data: {\"choices\":[{\"delta\":{}}],\"fingerprint\":1}\n\n");
/// assert_eq!(reframer.take_output(), "");
/// ```
#[diagnostic::on_unimplemented(
    note = "a tap is a type that implements `Tap::event`, not a closure: it is cloned for each stream, \
            and keeps what it has seen of it"
)]
pub trait Tap {
    /// Whether the tap never looks at anything, so that nothing has to be prepared for it.
    const IDLE: bool = false;

    /// A request with these extensions is about to be sent; its answer may become a stream.
    fn start(&mut self, request: &Extensions) {
        let _ = request;
    }

    /// The data of an event, one JSON object. `[DONE]` and errors are not shown.
    fn event(&mut self, json: &[u8]) -> Flow;

    /// The stream has ended by itself. A caller who leaves drops the tap without it.
    fn end(&mut self, end: &StreamEnd) {
        let _ = end;
    }
}

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// It goes out as it is.
    Keep,
    /// It does not go out.
    Drop,
    /// This data goes out instead, on one line: line ends in it become spaces.
    Replace(Bytes),
}

/// No tap: the default.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoTap;

impl Tap for NoTap {
    const IDLE: bool = true;

    fn event(&mut self, _json: &[u8]) -> Flow {
        Flow::Keep
    }
}
