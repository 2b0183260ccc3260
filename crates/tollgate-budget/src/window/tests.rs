//! What is true inside a window after each step.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

use proptest::prelude::*;

use super::*;

const SHAPE: Shape = Shape {
    slot: NonZeroU64::new(10).unwrap(),
    slots: 6,
};

/// I5. Slots are in order and within reach of the newest, and the sum is theirs: nothing was ever
/// taken from where it was not.
fn check(window: &Window) -> Result<(), TestCaseError> {
    let slots: Vec<_> = window.slots().collect();
    prop_assert!(slots.is_sorted_by(|one, next| one.at < next.at));
    let reach = u64::from(SHAPE.slots);
    prop_assert!(
        slots
            .iter()
            .all(|slot| slots[slots.len() - 1].at - slot.at <= reach)
    );
    let sum = slots.iter().fold(Units::ZERO, |sum, slot| {
        sum.zip(slot.units, |sum, own| sum.checked_add(own).unwrap())
    });
    prop_assert_eq!(sum, window.used);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_sum_is_that_of_its_slots(steps in prop::collection::vec(any::<u64>(), 1..60)) {
        let limit = Limit { requests: NonZeroU64::new(8), tokens: NonZeroU64::new(500) };
        let (mut window, mut open, mut now) = (Window::default(), Vec::new(), 0_u64);
        for step in steps {
            let [kind, time, requests, tokens, which, ..] = step.to_le_bytes();
            let moment = Moment::new(SHAPE, now);
            let units = Units::new(u64::from(requests) % 3, tokens.into());
            match kind % 8 {
                0..3 => {
                    let current = window.advance(&moment);
                    if window.full(&moment, units, limit).is_none() {
                        open.push((window.charge(current, units), units));
                    }
                }
                3..6 if !open.is_empty() => {
                    let (origin, cost) = open.swap_remove(usize::from(which) % open.len());
                    window.settle(origin, cost, units, |window| window.advance(&moment));
                }
                // The clock steps back, sometimes by more than a window.
                6 if which % 8 == 0 => now = now.saturating_sub(u64::from(time)),
                _ => now += u64::from(time) % 25,
            }
            check(&window)?;
        }
    }
}
