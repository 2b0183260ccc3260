//! Random input that is the same in every run.
#![allow(dead_code, reason = "not every test uses all of it")]

use bytes::Bytes;

/// How many cases to try: `TOLLGATE_CASES`, or this many.
pub(crate) fn cases(default: usize) -> usize {
    let asked = std::env::var("TOLLGATE_CASES").ok();
    asked.map_or(default, |cases| cases.parse().unwrap())
}

/// Splitmix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// The bytes in pieces of all sizes, empty ones among them.
    pub(crate) fn cuts(&mut self, bytes: &Bytes) -> Vec<Bytes> {
        let longest = 1 + self.below(40);
        let mut rest = bytes.clone();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            pieces.push(rest.split_to(self.below(longest + 1).min(rest.len())));
        }
        pieces
    }
}
