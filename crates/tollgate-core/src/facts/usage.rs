use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::Fact;

/// The tokens that a call really took, as the upstream reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of all outputs.
    pub completion_tokens: u64,
    /// What the call is charged: the reported total, or the sum.
    pub total_tokens: u64,
}

impl Usage {
    /// Usage of this many prompt and output tokens; the total is their sum.
    #[must_use]
    pub const fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
        }
    }

    /// Replaces the total, for upstreams whose total is more than the sum.
    #[must_use]
    pub const fn with_total_tokens(mut self, total_tokens: u64) -> Self {
        self.total_tokens = total_tokens;
        self
    }
}

/// Where a call's usage is put once it is known, long after the head of the answer has gone.
///
/// Made by the layer that wants to know (`BudgetLayer`), filled by whoever finds out: `SseLayer`,
/// a reader of JSON answers, or your own handler. Clones share the slot.
///
/// ```
/// use http::Request;
/// use tollgate_core::{Fact, Usage, UsageSlot};
///
/// /// A handler that runs the model itself.
/// fn generate<B>(request: &Request<B>) -> String {
///     if let Some(slot) = UsageSlot::of(request.extensions()) {
///         slot.record(Usage::new(12, 1));
///     }
///     "Hello".to_owned()
/// }
///
/// // Whoever counts has put a slot in, and looks into it when the answer has ended.
/// let mut request = Request::new(());
/// let slot = UsageSlot::new();
/// request.extensions_mut().insert(slot.clone());
/// generate(&request);
/// assert_eq!(slot.usage(), Some(Usage::new(12, 1)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct UsageSlot(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    usage: Mutex<Option<Usage>>,
    is_watched: AtomicBool,
    output_pieces: AtomicU64,
    output_bytes: AtomicU64,
}

impl UsageSlot {
    /// An empty slot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the usage that the upstream reports; a later report replaces an earlier one.
    pub fn record(&self, usage: Usage) {
        *self.0.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }

    /// Says that somebody counts the output, so that none is taken for none. Whoever calls
    /// [`add_output`](Self::add_output) calls it before the answer begins.
    pub fn watch_output(&self) {
        self.0.is_watched.store(true, Ordering::Relaxed);
    }

    /// Whether somebody counts the output. Otherwise all that is known of it is how many bytes the
    /// answer has.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.0.is_watched.load(Ordering::Relaxed)
            || self.output_pieces() > 0
            || self.output_bytes() > 0
    }

    /// Counts output that was passed on, so that a call whose usage never comes is charged for what
    /// its caller got: pieces that hold a token at least each, and the bytes of their text.
    pub fn add_output(&self, pieces: u64, bytes: u64) {
        self.0.output_pieces.fetch_add(pieces, Ordering::Relaxed);
        self.0.output_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The usage last recorded.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        *self.0.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pieces of output passed on so far, such as the deltas of a stream.
    #[must_use]
    pub fn output_pieces(&self) -> u64 {
        self.0.output_pieces.load(Ordering::Relaxed)
    }

    /// The bytes of output text passed on so far.
    #[must_use]
    pub fn output_bytes(&self) -> u64 {
        self.0.output_bytes.load(Ordering::Relaxed)
    }
}

impl Fact for UsageSlot {
    const NAME: &'static str = "UsageSlot";
    const WRITTEN_BY: &'static str = "BudgetLayer";
}
