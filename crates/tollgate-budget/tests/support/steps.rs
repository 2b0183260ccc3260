//! Histories of a store.

use std::num::NonZeroU64;

use proptest::prelude::*;
use tollgate_budget::{Limit, Span, Units, WindowSpec};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) kind: u8,
    /// Which key, levels and limits, or which open reservation.
    pub(crate) choice: u8,
    pub(crate) requests: u8,
    pub(crate) tokens: u8,
    pub(crate) millis: u16,
}

impl Step {
    pub(crate) fn units(self) -> Units {
        Units::new(self.requests.into(), self.tokens.into())
    }
}

/// One number for each step is made faster than its six parts.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = any::<u64>().prop_map(|number| {
        let [kind, choice, requests, tokens, low, high, ..] = number.to_le_bytes();
        Step {
            kind,
            choice,
            requests: requests % 3,
            tokens: tokens % 60,
            // Up to 65 seconds.
            millis: u16::from_le_bytes([low, high]),
        }
    });
    prop::collection::vec(step, 1..30)
}

/// A call that comes some time after the one before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) millis: u64,
    pub(crate) reserved: u64,
    pub(crate) actual: u64,
    /// Whether the oldest open call is settled then.
    pub(crate) settles: bool,
}

pub(crate) fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = any::<u64>().prop_map(|number| {
        let [low, high, reserved, actual, settles, ..] = number.to_le_bytes();
        Call {
            millis: u64::from(u16::from_le_bytes([low, high])) / 5,
            reserved: u64::from(reserved) % 60,
            actual: u64::from(actual) % 90,
            settles: settles % 2 == 0,
        }
    });
    prop::collection::vec(call, 1..40)
}

pub(crate) fn windows(choice: u8) -> (&'static str, Vec<WindowSpec<'static>>) {
    let limit = |requests, tokens| Limit {
        requests: NonZeroU64::new(requests),
        tokens: NonZeroU64::new(tokens),
    };
    let workspace = if choice & 1 == 0 { "acme" } else { "other" };
    let name = if choice & 2 == 0 { "gpt-4" } else { "gpt-4o" };
    // Limits that change from call to call.
    let wide = u64::from(choice >> 5);
    let minute = limit(4 + wide, 120 + wide);
    let mut windows = vec![WindowSpec::new("", name, Span::Minute, minute)];
    if choice & 4 != 0 {
        windows.push(WindowSpec::new("", name, Span::Second, limit(2, 0)));
    }
    if choice & 8 != 0 {
        let limit = limit(0, 200);
        windows.push(WindowSpec::new("workspace", "", Span::Minute, limit));
    }
    if choice & 16 != 0 {
        windows.push(WindowSpec::new("user", "joe", Span::Second, limit(3, 90)));
    }
    (workspace, windows)
}
