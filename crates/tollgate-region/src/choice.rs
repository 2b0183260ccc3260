use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::target::Target;

/// Draws two by weight, the first one in turn, and takes the less busy one.
///
/// Never allocates. The first one stays unless it is busier by more than one call of the lighter
/// of both: a smaller difference is chance, and acting on it would turn weights into equal shares.
pub(crate) fn choose<'a>(
    tier: &'a [Arc<Target>],
    usable: impl Fn(&Target) -> bool,
    random: &Random,
) -> Option<&'a Arc<Target>> {
    let weights = tier.iter().filter(|target| usable(target));
    let total: u64 = weights.map(|target| weight(target)).sum();
    let first = draw(tier, &usable, random.turn(total))?;
    let others = |target: &Target| !std::ptr::eq(target, &**first) && usable(target);
    let rest = total.saturating_sub(weight(first));
    if rest == 0 {
        return Some(first);
    }
    let Some(second) = draw(tier, others, random.below(rest)) else {
        return Some(first);
    };
    let load = |of: &Target, other: &Target| u64::from(of.health.outstanding()) * weight(other);
    let excess = load(first, second).saturating_sub(load(second, first));
    Some(if excess > weight(first).max(weight(second)) {
        second
    } else {
        first
    })
}

/// The target in whose stretch of the line of weights the ticket falls. A target that became
/// unusable since the weights were summed leaves the last one.
fn draw(
    tier: &[Arc<Target>],
    usable: impl Fn(&Target) -> bool,
    mut ticket: u64,
) -> Option<&Arc<Target>> {
    let mut last = None;
    for target in tier.iter().filter(|target| usable(target)) {
        last = Some(target);
        match ticket.checked_sub(weight(target)) {
            Some(rest) => ticket = rest,
            None => break,
        }
    }
    last
}

/// The configured weight, as far as the deployment deserves it now.
fn weight(target: &Target) -> u64 {
    u64::from(target.weight.get()) * target.health.merit()
}

/// Numbers that spread load, shared without a lock.
pub(crate) struct Random {
    turns: AtomicU64,
    draws: AtomicU64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            turns: AtomicU64::new(seed),
            draws: AtomicU64::new(seed),
        }
    }

    /// A number below `bound`, 0 if there is none; in a row they are spread more evenly than chance
    /// would have it (Weyl's sequence of the golden ratio).
    fn turn(&self, bound: u64) -> u64 {
        scale(self.turns.fetch_add(GAMMA, Relaxed), bound)
    }

    /// A number below `bound`, 0 if there is none, that nothing else predicts (Steele, Lea and
    /// Flood's `SplitMix64`).
    fn below(&self, bound: u64) -> u64 {
        let mut z = self.draws.fetch_add(GAMMA, Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        scale(z ^ (z >> 31), bound)
    }
}

/// The part of `bound` that `number` is of 2^64.
fn scale(number: u64, bound: u64) -> u64 {
    ((u128::from(number) * u128::from(bound)) >> 64) as u64
}

/// 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_stay_below_their_bound_and_spread() {
        let random = Random::new(7);
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (850..1_150).contains(n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn turns_are_as_even_as_weights_allow() {
        for seed in [0, 7, u64::MAX] {
            let random = Random::new(seed);
            let mut seen = [0_i32; 10];
            for turn in 1..=1_000 {
                seen[random.turn(10) as usize] += 1;
                assert!(seen.iter().all(|n| (n * 10 - turn).abs() <= 30), "{seen:?}");
            }
            assert_eq!(random.turn(0), 0);
        }
    }
}
