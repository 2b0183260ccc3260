//! What the head of a request says about its body.

use http::{
    HeaderMap, Method,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};
use tollgate_core::Rejection;

use crate::errors;

/// Whether the body is worth reading, and the length that the head declares for it.
pub(crate) fn check(head: &Parts, max_bytes: u64) -> Result<Option<u64>, Rejection> {
    if head.method != Method::POST {
        return Err(errors::method_not_allowed(&head.method));
    }
    let declared = declared_length(&head.headers)?;
    if declared.is_some_and(|length| length > max_bytes) {
        return Err(errors::body_too_large(max_bytes));
    }
    if !is_json(&head.headers) {
        return Err(errors::unsupported_media_type());
    }
    if !is_plain(&head.headers) {
        return Err(errors::unsupported_encoding());
    }
    Ok(declared)
}

/// `application/json` in UTF-8, said once.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let mut parts = value
        .as_bytes()
        .split(|b| *b == b';')
        .map(<[u8]>::trim_ascii);
    let is_json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case(b"application/json"));
    is_json && parts.all(is_utf8_if_charset)
}

fn is_utf8_if_charset(parameter: &[u8]) -> bool {
    let mut sides = parameter.splitn(2, |b| *b == b'=');
    let name = sides.next().unwrap_or_default();
    let value = sides.next().unwrap_or_default();
    let value = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value);
    // Every US-ASCII text is UTF-8 too.
    let utf8: [&[u8]; 3] = [b"utf-8", b"utf8", b"us-ascii"];
    !name.trim_ascii().eq_ignore_ascii_case(b"charset")
        || utf8.iter().any(|name| value.eq_ignore_ascii_case(name))
}

fn is_plain(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    encodings.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Servers see to it that the length is good; whoever sets it by hand is held to it here.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Rejection> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
        let text = value.to_str().ok().filter(|_| digits);
        let this = text.and_then(|text| text.parse().ok());
        if this.is_none() || length.is_some_and(|length| Some(length) != this) {
            return Err(errors::bad_content_length());
        }
        length = this;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn json(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        is_json(&headers)
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json ; profile=x",
        ] {
            assert!(json(&[good]), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonl",
            "application/x-json",
            "application/json; charset=utf-16",
            "application/json; charset=latin1",
            "multipart/form-data; boundary=x",
        ] {
            assert!(!json(&[bad]), "{bad}");
        }
        assert!(!json(&[]));
        assert!(!json(&["application/json", "text/plain"]));
    }

    #[test]
    fn a_body_that_is_too_large_is_so_whatever_it_is() {
        let (mut head, ()) = http::Request::post("/").body(()).unwrap().into_parts();
        let mut check_with = |length: &'static str| {
            let value = HeaderValue::from_static(length);
            head.headers.insert(CONTENT_LENGTH, value);
            check(&head, 10).unwrap_err().status().as_u16()
        };
        assert_eq!([check_with("10"), check_with("11")], [415, 413]);
    }

    #[test]
    fn lengths_must_agree() {
        let length = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            declared_length(&headers).ok()
        };
        assert_eq!(length(&[]), Some(None));
        assert_eq!(length(&["12"]), Some(Some(12)));
        assert_eq!(length(&["12", "12"]), Some(Some(12)));
        for bad in [
            &["12", "13"][..],
            &["+1"],
            &["-1"],
            &[""],
            &["1a"],
            &["99999999999999999999"],
        ] {
            assert_eq!(length(bad), None, "{bad:?}");
        }
    }
}
