//! How long answers get whose callers state no cap.

use std::{collections::HashMap, sync::PoisonError};

use tollgate_core::Model;

use crate::sync::{Mutex, MutexGuard};

/// What is reserved for the output of a call that states no cap; never more than an eighth of the
/// limit on tokens, nor than what an idle budget has room for beside the prompt.
///
/// The default is [`learnt(99)`](Self::learnt).
///
/// ```
/// # use tollgate_budget::{BudgetLayer, DefaultOutput, MemoryStore};
/// # fn layer(layer: BudgetLayer<MemoryStore>) {
/// // For a model that is brief: nine answers in ten take no more than is reserved.
/// let layer = layer.default_output(DefaultOutput::learnt(90).start(256));
/// # drop(layer);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultOutput {
    start: u64,
    percentile: Option<u8>,
}

impl DefaultOutput {
    /// What is reserved before anything was learnt: 1,024 tokens.
    pub const START: u64 = 1_024;

    /// Always this many tokens for each answer.
    #[must_use]
    pub const fn fixed(tokens: u64) -> Self {
        Self {
            start: tokens,
            percentile: None,
        }
    }

    /// What this percentage of the key's recent outputs stayed below, rounded up by at most a
    /// quarter; [`START`](Self::START) or more until 50 were seen. Percentages above 100 are 100.
    ///
    /// Learnt from the usage of calls that stated no cap either. About a thousand recent calls
    /// count. At most 16,384 keys are remembered.
    #[must_use]
    pub const fn learnt(percentile: u8) -> Self {
        Self {
            start: Self::START,
            percentile: Some(percentile),
        }
    }

    /// Replaces [`START`](Self::START).
    #[must_use]
    pub const fn start(mut self, tokens: u64) -> Self {
        self.start = tokens;
        self
    }

    pub(crate) const fn is_learnt(self) -> bool {
        self.percentile.is_some()
    }
}

impl Default for DefaultOutput {
    fn default() -> Self {
        Self::learnt(99)
    }
}

/// What is reserved for which model.
#[derive(Clone, Debug, Default)]
pub(crate) struct DefaultOutputs {
    pub(crate) all: DefaultOutput,
    /// Those that differ.
    pub(crate) models: HashMap<Box<str>, DefaultOutput>,
}

impl DefaultOutputs {
    pub(crate) fn of(&self, model: Option<&Model>) -> DefaultOutput {
        let own = model.and_then(|model| self.models.get(&**model.name()));
        own.copied().unwrap_or(self.all)
    }
}

/// The recent outputs of each key, by the key's hash: two keys that share one learn together.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    shards: [Mutex<HashMap<u64, Histogram>>; SHARDS],
}

impl Outputs {
    pub(crate) fn foresee(&self, key: u64, rule: DefaultOutput) -> u64 {
        let Some(percentile) = rule.percentile else {
            return rule.start;
        };
        let shard = self.shard(key);
        let Some(seen) = shard.get(&key) else {
            return rule.start;
        };
        let tokens = seen.quantile(percentile);
        if seen.total < ENOUGH {
            tokens.max(rule.start)
        } else {
            tokens
        }
    }

    pub(crate) fn learn(&self, key: u64, tokens: u64) {
        let mut shard = self.shard(key);
        // Whoever makes up keys makes everyone forget, and forgetting is safe.
        if shard.len() >= MAX_KEYS && !shard.contains_key(&key) {
            shard.clear();
        }
        shard.entry(key).or_default().add(tokens);
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, Histogram>> {
        let at = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        let shard = self.shards[at].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }
}

const SHARDS: usize = 16;
const MAX_KEYS: usize = 1_024;
const ENOUGH: u32 = 50;

/// Counts by size, four sizes to each doubling.
#[derive(Debug)]
struct Histogram {
    counts: [u16; SIZES],
    total: u32,
}

impl Histogram {
    fn add(&mut self, tokens: u64) {
        if self.total >= MEMORY {
            self.total = 0;
            for count in &mut self.counts {
                *count /= 2;
                self.total += u32::from(*count);
            }
        }
        self.counts[size(tokens)] += 1;
        self.total += 1;
    }

    /// A bound that this percentage of outputs stayed below or at.
    fn quantile(&self, percentile: u8) -> u64 {
        let share = u64::from(self.total) * u64::from(percentile.min(100));
        let needed = share.div_ceil(100);
        let mut seen = 0;
        for (size, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= needed && seen > 0 {
                return largest_of(size);
            }
        }
        0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; SIZES],
            total: 0,
        }
    }
}

fn size(tokens: u64) -> usize {
    let tokens = tokens.clamp(4, MAX_TOKENS);
    let log = tokens.ilog2() as usize;
    // The two bits below the highest.
    let quarter = (tokens >> (log - 2)) & 3;
    (log - 2) * 4 + usize::try_from(quarter).unwrap_or_default()
}

fn largest_of(size: usize) -> u64 {
    let quarter = (size % 4) as u64;
    ((5 + quarter) << (size / 4)) - 1
}

const MEMORY: u32 = 1_000;
const MAX_TOKENS: u64 = (1 << 21) - 1;
const SIZES: usize = 19 * 4;

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_size_holds_what_belongs_to_it() {
        for tokens in (0..5_000).chain([MAX_TOKENS - 1, MAX_TOKENS]) {
            let largest = largest_of(size(tokens));
            assert!(tokens <= largest, "{tokens} {largest}");
            assert!(largest <= tokens.max(4) * 5 / 4, "{tokens} {largest}");
        }
        assert_eq!(size(u64::MAX), SIZES - 1);
    }

    #[test]
    fn the_start_holds_until_enough_was_seen() {
        let outputs = Outputs::default();
        let rule = DefaultOutput::default();
        assert_eq!(outputs.foresee(7, rule), 1_024);
        outputs.learn(7, 5_000);
        assert_eq!(outputs.foresee(7, rule), 5_119);
        assert_eq!(outputs.foresee(8, rule), 1_024);
        for _ in 0..49 {
            outputs.learn(8, 100);
        }
        assert_eq!(outputs.foresee(8, rule), 1_024);
        outputs.learn(8, 100);
        assert_eq!(outputs.foresee(8, rule), 111);
        assert_eq!(outputs.foresee(8, DefaultOutput::fixed(3)), 3);
    }

    #[test]
    fn what_changed_long_ago_is_forgotten() {
        let outputs = Outputs::default();
        for _ in 0..1_000 {
            outputs.learn(1, 8_000);
        }
        let rule = DefaultOutput::learnt(50);
        assert_eq!(outputs.foresee(1, rule), 8_191);
        for _ in 0..2_000 {
            outputs.learn(1, 10);
        }
        assert_eq!(outputs.foresee(1, rule), 11);
        // The last percent is remembered longer.
        assert_eq!(outputs.foresee(1, DefaultOutput::learnt(200)), 8_191);
    }

    #[test]
    fn keys_are_forgotten_before_they_are_too_many() {
        let outputs = Outputs::default();
        for key in 0..100_000 {
            outputs.learn(key, 9_000);
        }
        let remembered: usize = (0..16).map(|at| outputs.shard(at).len()).sum();
        assert!(remembered <= SHARDS * MAX_KEYS, "{remembered}");
    }
}
