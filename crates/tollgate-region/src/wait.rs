//! How long an upstream asks to be left alone.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header::RETRY_AFTER};

/// The wait in the headers, the finer one first; at most a day. What is no number, and no date
/// (RFC 9110, section 10.2.3), asks for nothing.
pub(crate) fn in_headers(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &HeaderName| text(name)?.parse::<f64>().ok();
    let millis = number(&RETRY_AFTER_MS).and_then(|millis| bounded(millis / 1_000.0));
    millis.or_else(|| match number(&RETRY_AFTER) {
        Some(seconds) => bounded(seconds),
        None => until(text(&RETRY_AFTER)?, SystemTime::now()),
    })
}

/// Azure's "Please retry after 7 seconds." and OpenAI's "Please try again in 182ms.", for fronts
/// that lose the header.
pub(crate) fn in_words(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    let after = WORDS.iter().find_map(|words| message.split_once(words))?.1;
    let number = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let unit = number.trim_start();
    let number = after.strip_suffix(number)?.parse::<f64>().ok()?;
    if unit.starts_with("ms") || unit.starts_with("milli") {
        return bounded(number / 1_000.0);
    }
    let in_seconds = unit.starts_with("s.") || unit.starts_with("second") || unit == "s";
    bounded(Some(number).filter(|_| in_seconds)?)
}

/// Whole seconds, rounded up and never none.
pub(crate) fn in_seconds(wait: Duration) -> u64 {
    let up = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(up).max(1)
}

/// The time from `now` to a date; none if that is past.
fn until(date: &str, now: SystemTime) -> Option<Duration> {
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(DAY))
}

fn bounded(seconds: f64) -> Option<Duration> {
    let seconds = Some(seconds).filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::from_secs_f64(seconds.min(DAY.as_secs_f64())))
}

pub(crate) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const WORDS: [&str; 2] = ["retry after ", "try again in "];
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wait_of(name: &'static str, value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        in_headers(&headers)
    }

    #[test]
    fn waits_are_numbers_within_reason() {
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(wait_of("retry-after", "7"), secs(7));
        assert_eq!(wait_of("retry-after", "0"), secs(0));
        assert_eq!(wait_of("retry-after", "1e9"), secs(86_400));
        assert_eq!(wait_of("retry-after", "inf"), secs(86_400));
        assert_eq!(
            wait_of("retry-after-ms", "182"),
            Some(Duration::from_millis(182))
        );
        for odd in ["-1", "NaN", "", "soon", "Wed, 21 Oct 2015"] {
            assert_eq!(wait_of("retry-after", odd), None, "{odd}");
        }
        assert_eq!(in_words("Please retry after 26 seconds. Or"), secs(26));
        assert_eq!(in_words("Try again in 26 seconds."), secs(26));
        assert_eq!(in_words("Please try again in 6s. Visit"), secs(6));
        assert_eq!(
            in_words("Please try again in 182ms. Visit"),
            Some(Duration::from_millis(182))
        );
        assert_eq!(
            in_words("Please try again in 1.5s"),
            Some(Duration::from_millis(1_500))
        );
        assert_eq!(in_words("try again in 6m0s"), None);
        assert_eq!(in_words("retry after lunch with seconds"), None);
        assert_eq!(in_words("retry after"), None);
    }

    #[test]
    fn a_wait_that_is_none_leaves_the_other_one() {
        for odd in ["-1", "NaN", "", "soon"] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER_MS, HeaderValue::from_static(odd));
            headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
            assert_eq!(in_headers(&headers), Some(Duration::from_secs(7)), "{odd}");
        }
    }

    #[test]
    fn a_wait_may_be_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        for (date, seconds) in [
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wednesday, 21-Oct-15 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:27:59 GMT", Some(0)),
            ("Fri, 21 Oct 2089 07:28:00 GMT", Some(86_400)),
            ("Wed, 32 Oct 2015 07:28:00 GMT", None),
        ] {
            assert_eq!(until(date, now), seconds.map(Duration::from_secs), "{date}");
        }
        assert_eq!(
            wait_of("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
    }
}
