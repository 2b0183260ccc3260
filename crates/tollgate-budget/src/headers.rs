//! What callers learn about their budget.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::{Model, Rejection, RejectionKind};

use crate::{Denial, Dimension, Span, Standings};

/// Replaces the inner service's rate-limit headers: they speak of a budget that is not the
/// caller's.
pub(crate) fn replace(headers: &mut HeaderMap, standings: &Standings) {
    let foreign = |name: &&HeaderName| name.as_str().starts_with("x-ratelimit-");
    while let Some(name) = headers.keys().find(foreign).cloned() {
        headers.remove(name);
    }
    fold(standings, headers, |headers, name, value| {
        headers.insert(name, value);
        headers
    });
}

/// OpenAI's refusal: "not yet" with a wait, or "never" without.
///
/// `spread` is added to the announced wait, so that all who were refused in one slot do not come
/// back in the same millisecond.
pub(crate) fn refuse(
    denial: &Denial,
    span: Span,
    requested: u64,
    model: Option<&Model>,
    spread: Duration,
) -> Rejection {
    let Denial {
        dimension, limit, ..
    } = *denial;
    let mut message = String::with_capacity(160);
    message.push_str(match denial.retry {
        Some(_) => "Rate limit reached",
        None => "Request too large",
    });
    push_model(&mut message, model);
    let initial = match dimension {
        Dimension::Requests => 'R',
        Dimension::Tokens => 'T',
    };
    let (per, unit) = match span {
        Span::Minute => ("min", 'M'),
        Span::Second => ("sec", 'S'),
    };
    let _ = write!(
        message,
        " on {dimension} per {per} ({initial}P{unit}): Limit {limit}, "
    );
    let rejection = match denial.retry {
        Some(wait) => {
            let wait = up_to_millis(wait);
            let _ = write!(
                message,
                "Used {}, Requested {requested}. Please try again in {}.",
                denial.used,
                go_duration(wait)
            );
            Rejection::new(RejectionKind::BudgetExceeded)
                .with_retry_after(wait.saturating_add(spread))
        }
        None => {
            let _ = write!(
                message,
                "Requested {requested}. The input or output tokens must be reduced in order to \
                 run successfully."
            );
            Rejection::new(RejectionKind::BudgetImpossible).with_should_retry(false)
        }
    };
    let rejection = rejection.with_type(dimension.name()).with_message(message);
    fold(&denial.standings, rejection, Rejection::with_header)
}

/// As many calls are open as may be; when one ends is not known.
pub(crate) fn refuse_crowd(limit: u32, model: Option<&Model>) -> Rejection {
    let mut message = String::from("Rate limit reached");
    push_model(&mut message, model);
    let _ = write!(
        message,
        " on concurrent requests: Limit {limit}, Used {limit}, Requested 1. Please try again in 1s."
    );
    Rejection::new(RejectionKind::BudgetExceeded)
        .with_message(message)
        .with_retry_after(Duration::from_secs(1))
}

fn push_model(message: &mut String, model: Option<&Model>) {
    if let Some(model) = model {
        let _ = write!(message, " for {}", model.name());
    }
}

/// Puts the headers of these standings into `to`, one after the other.
fn fold<T>(standings: &Standings, mut to: T, put: impl Fn(T, HeaderName, HeaderValue) -> T) -> T {
    for dimension in Dimension::ALL {
        let Some(standing) = standings.of(dimension) else {
            continue;
        };
        let [limit, remaining, reset] = match dimension {
            Dimension::Requests => [LIMIT_REQUESTS, REMAINING_REQUESTS, RESET_REQUESTS],
            Dimension::Tokens => [LIMIT_TOKENS, REMAINING_TOKENS, RESET_TOKENS],
        };
        to = put(to, limit, number(standing.limit).value());
        to = put(to, remaining, number(standing.remaining).value());
        to = put(to, reset, go_duration(up_to_millis(standing.reset)).value());
    }
    to
}

const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const LIMIT_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const REMAINING_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
const RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
const RESET_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-reset-tokens");

/// Whole milliseconds, never less: who comes back at the printed time is not refused again.
fn up_to_millis(time: Duration) -> Duration {
    let millis = time.as_secs().saturating_mul(1_000);
    let rest = time.subsec_nanos().div_ceil(1_000_000);
    Duration::from_millis(millis.saturating_add(rest.into()))
}

fn number(number: u64) -> Text {
    let mut text = Text::default();
    text.number(number);
    text
}

/// A duration of whole milliseconds as Go prints it: `12ms`, `17.5s`, `6m0s`, `1h2m3s`.
fn go_duration(time: Duration) -> Text {
    let (seconds, millis) = (time.as_secs(), u64::from(time.subsec_millis()));
    let mut text = Text::default();
    text.letter(b's');
    if seconds == 0 && millis > 0 {
        text.letter(b'm');
        text.number(millis);
        return text;
    }
    if millis > 0 {
        let (mut fraction, mut digits) = (millis, 3);
        while fraction % 10 == 0 {
            (fraction, digits) = (fraction / 10, digits - 1);
        }
        for _ in 0..digits {
            text.number(fraction % 10);
            fraction /= 10;
        }
        text.letter(b'.');
    }
    text.number(seconds % 60);
    if seconds >= 60 {
        text.letter(b'm');
        text.number(seconds / 60 % 60);
    }
    if seconds >= 3_600 {
        text.letter(b'h');
        text.number(seconds / 3_600);
    }
    text
}

/// A number or a duration, written from its end, without an allocation. Six are printed on each
/// answer, and a `HeaderValue` that prints a number itself allocates twice.
struct Text {
    bytes: [u8; LONGEST],
    start: usize,
}

impl Text {
    fn letter(&mut self, letter: u8) {
        self.start -= 1;
        self.bytes[self.start] = letter;
    }

    fn number(&mut self, mut number: u64) {
        while number > 9 {
            self.letter(b'0' + (number % 10) as u8);
            number /= 10;
        }
        self.letter(b'0' + number as u8);
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.as_bytes()).expect("digits and letters are visible")
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.as_bytes()).unwrap_or_default())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST],
            start: LONGEST,
        }
    }
}

// The longest number has 20 digits, and the longest duration is `5124095576030431h0m15.999s`.
const LONGEST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_does() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (182, "182ms"),
            (1_000, "1s"),
            (17_500, "17.5s"),
            (18_642, "18.642s"),
            (60_000, "1m0s"),
            (60_050, "1m0.05s"),
            (360_000, "6m0s"),
            (3_723_000, "1h2m3s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)).to_string(), text);
        }
        let longest = go_duration(Duration::MAX);
        assert_eq!(longest.to_string(), "5124095576030431h0m15.999s");
        assert_eq!(number(u64::MAX).to_string(), u64::MAX.to_string());
        assert_eq!(number(0).to_string(), "0");
        assert_eq!(up_to_millis(Duration::from_nanos(1)).as_millis(), 1);
        assert_eq!(up_to_millis(Duration::from_nanos(2_000_000)).as_millis(), 2);
        assert_eq!(
            up_to_millis(Duration::MAX).as_millis(),
            u128::from(u64::MAX)
        );
    }
}
