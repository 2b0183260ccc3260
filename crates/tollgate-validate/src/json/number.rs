//! Numbers as they are spelled, with their exact integer value.

/// A number in the caller's own spelling, which is a legal JSON number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<'j> {
    text: &'j str,
}

impl<'j> Number<'j> {
    pub(super) const fn new(text: &'j str) -> Self {
        Self { text }
    }

    pub(crate) const fn text(self) -> &'j str {
        self.text
    }

    /// The closest double, which is infinite for numbers that are out of its range.
    pub(crate) fn as_f64(self) -> f64 {
        self.text.parse().unwrap_or(f64::INFINITY)
    }

    /// Whether the spelling has a fraction or an exponent.
    pub(crate) fn is_decimal(self) -> bool {
        self.text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E'))
    }

    /// The integer that this number is, however it is spelled (`100`, `100.0`, `1e2`), at the end
    /// of the range if it lies beyond; `None` if it has a fraction.
    pub(crate) fn as_integer(self) -> Option<i128> {
        // Nearly all are small and plainly spelled.
        if let Ok(integer) = self.text.parse::<i64>() {
            return Some(integer.into());
        }
        let (negative, digits) = match self.text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, self.text),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            // An exponent that fits no i64 is as good as the largest that does.
            Some((mantissa, exponent)) => {
                let beyond = if exponent.starts_with('-') {
                    i64::MIN
                } else {
                    i64::MAX
                };
                (mantissa, exponent.parse().unwrap_or(beyond))
            }
            None => (digits, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fraction = fraction.trim_end_matches('0');
        let mut value: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = i128::from(digit.wrapping_sub(b'0'));
            value = value.saturating_mul(10).saturating_add(digit);
        }
        if value == 0 {
            return Some(0);
        }
        let scale = exponent.saturating_sub(i64::try_from(fraction.len()).unwrap_or(i64::MAX));
        let value = if scale >= 0 {
            let factor = u32::try_from(scale).map_or(i128::MAX, |s| 10_i128.saturating_pow(s));
            value.saturating_mul(factor)
        } else {
            shift_down(value, scale.unsigned_abs())?
        };
        Some(if negative {
            value.saturating_neg()
        } else {
            value
        })
    }
}

/// Divides by a power of ten, if nothing is lost.
fn shift_down(mut value: i128, places: u64) -> Option<i128> {
    for _ in 0..places {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_told_from_fractions_whatever_the_spelling() {
        for (text, integer) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("100.0", Some(100)),
            ("1e3", Some(1_000)),
            ("1.5E1", Some(15)),
            ("1500e-2", Some(15)),
            ("0.0e-999999999999999999999", Some(0)),
            ("-9223372036854775808", Some(i128::from(i64::MIN))),
            ("9223372036854775808", Some(1 << 63)),
            ("1.5", None),
            ("15e-1", None),
            ("1e-99999999999999999999", None),
            ("100.00000000000000000000000001", None),
        ] {
            assert_eq!(Number::new(text).as_integer(), integer, "{text}");
        }
    }

    #[test]
    fn what_lies_beyond_stays_beyond() {
        assert_eq!(Number::new("1e999999").as_integer(), Some(i128::MAX));
        let digits = "9".repeat(500);
        assert_eq!(Number::new(&digits).as_integer(), Some(i128::MAX));
        let negative = format!("-{digits}");
        assert_eq!(Number::new(&negative).as_integer(), Some(-i128::MAX));
    }
}
