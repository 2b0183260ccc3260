use std::sync::atomic::{AtomicU64, Ordering};

/// Names for reservations, which no other process makes.
pub(crate) struct Ids {
    first: u128,
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self {
            first: random(),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> u128 {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.first.wrapping_add(next.into())
    }
}

/// A number that nobody else has.
pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    u128::from_ne_bytes(bytes)
}
