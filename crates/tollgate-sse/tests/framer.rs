//! The framer beside another one, and its bounds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod random;

use std::num::NonZeroUsize;

use bytes::Bytes;
use random::Random;
use sse_core::{SseDecoder, SseEvent};
use tollgate_sse::{EventTooLarge, Framer};
use tollgate_testing::Splits;

/// Name, data and last id of an event.
type Seen = (String, String, String);

fn framed(pieces: &[Bytes]) -> Vec<Seen> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut framer = Framer::new();
    let mut seen = Vec::new();
    for piece in pieces {
        framer.push(piece.clone());
        while let Some(event) = framer.next_event().unwrap() {
            assert_eq!(event.to_bytes(), event.data());
            seen.push((
                text(event.name().unwrap_or(b"message")),
                text(event.data()),
                text(event.last_event_id()),
            ));
        }
    }
    seen
}

fn decoded(pieces: &[Bytes]) -> Vec<Seen> {
    let mut decoder = SseDecoder::with_limit(NonZeroUsize::new(1 << 20).unwrap());
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.clone();
        while let Some(event) = decoder.next(&mut piece) {
            if let SseEvent::Message(message) = event.unwrap() {
                let id = message.last_event_id.as_deref().unwrap_or_default();
                seen.push((message.event.into_owned(), message.data, id.to_owned()));
            }
        }
    }
    seen
}

#[test]
fn agrees_with_sse_core_on_any_stream_and_any_cuts() {
    const PARTS: [&str; 22] = [
        "data",
        "data:",
        "data: ",
        "data:  ",
        "event: ",
        "event",
        "id: ",
        "id",
        "retry: 10",
        "dat",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        "\u{feff}",
        "é",
        "x",
        "{}",
        "[DONE]",
    ];
    let mut random = Random::new(1);
    for _ in 0..random::cases(100_000) {
        let mut text = String::new();
        for _ in 0..random.below(40) {
            text.push_str(PARTS[random.below(PARTS.len())]);
        }
        let text = Bytes::from(text);
        let expected = decoded(std::slice::from_ref(&text));
        let pieces = random.cuts(&text);
        assert_eq!(framed(std::slice::from_ref(&text)), expected, "{text:?}");
        assert_eq!(framed(&pieces), expected, "{pieces:?}");
    }
}

#[test]
fn data_that_came_in_one_piece_is_shared_with_it() {
    let piece = Bytes::from("\u{feff}event: a\ndata: one\n\n: x\ndata:two\r\n\r\n");
    let mut framer = Framer::new();
    framer.push(piece.clone());
    for at in [18, 32] {
        let event = framer.next_event().unwrap().unwrap();
        assert_eq!(event.to_bytes().as_ptr(), piece[at..].as_ptr());
    }
    assert!(framer.next_event().unwrap().is_none());
}

#[test]
fn what_was_left_in_a_piece_is_not_lost() {
    let mut framer = Framer::new();
    framer.push("data: 1\n\ndata: 2\n\nda");
    assert_eq!(framer.next_event().unwrap().unwrap().data(), b"1");
    framer.push("ta: 3\n\n");
    assert_eq!(framer.next_event().unwrap().unwrap().data(), b"2");
    assert_eq!(framer.next_event().unwrap().unwrap().data(), b"3");
    assert!(framer.next_event().unwrap().is_none());
}

#[test]
fn the_end_of_a_stream_shows_what_was_not_completed() {
    for (text, left) in [
        ("data: a\n\ndata: b", Some("b")),
        ("data: a\n\ndata: b\n", Some("b")),
        ("data: a\n\ndata: b\r", Some("b")),
        ("data: a\n\ndata: b\ndata: c", Some("b\nc")),
        ("data: a\n\ndata", Some("")),
        ("data: a\n\ndat", None),
        ("data: a\n\n", None),
        ("data: a\n\n: data: b", None),
    ] {
        let (events, data) = Splits::of(text).check(|pieces| {
            let mut framer = Framer::new();
            let mut events = 0;
            for piece in pieces {
                framer.push(piece);
                while framer.next_event().unwrap().is_some() {
                    events += 1;
                }
            }
            let data = framer.finish().map(|event| event.data().to_vec());
            assert!(framer.finish().is_none());
            (events, data)
        });
        assert_eq!(events, 1);
        assert_eq!(data.as_deref(), left.map(str::as_bytes), "{text:?}");
    }
}

#[test]
fn ids_and_retries_are_remembered() {
    let mut framer = Framer::new();
    framer.push("id: 7\nretry: 1500\n\nid: 8\nretry: 1x\n");
    assert!(framer.next_event().unwrap().is_none());
    // An id counts once its event is complete, even if that is empty.
    assert_eq!(framer.last_event_id(), b"7");
    assert_eq!(framer.retry().unwrap().as_millis(), 1500);
    framer.push("retry: 99999999999999999999\nid: a\0b\n\n");
    assert!(framer.next_event().unwrap().is_none());
    assert_eq!(framer.last_event_id(), b"8");
    assert_eq!(framer.retry().unwrap().as_millis(), 1500);
}

/// The number of events before an error, for these pieces.
fn until_too_large(max: usize, pieces: impl IntoIterator<Item = Bytes>) -> Result<usize, usize> {
    let mut framer = Framer::new().max_event_bytes(max);
    let mut events = 0;
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_event() {
                Ok(Some(_)) => events += 1,
                Ok(None) => break,
                Err(error) => {
                    let _: EventTooLarge = error;
                    framer.push("data: more\n\n");
                    assert_eq!(framer.next_event().unwrap_err(), error);
                    assert!(framer.finish().is_none());
                    return Err(events);
                }
            }
        }
    }
    Ok(events)
}

#[test]
fn the_same_events_are_too_large_for_any_cuts() {
    let mut random = Random::new(2);
    for _ in 0..random::cases(2_000) {
        let mut text = String::new();
        for _ in 0..random.below(12) {
            let line = "x".repeat(random.below(12));
            text.push_str(["data: ", ": ", "event:", "\n"][random.below(4)]);
            text.push_str(&line);
            text.push_str(["\n", "\n\n"][random.below(2)]);
        }
        let text = Bytes::from(text);
        let max = 10 + random.below(30);
        let whole = until_too_large(max, [text.clone()]);
        let pieces = random.cuts(&text);
        assert_eq!(until_too_large(max, pieces), whole, "{max} {text:?}");
    }
}

#[test]
fn nothing_is_kept_of_what_comes_after_an_error() {
    let mut framer = Framer::new().max_event_bytes(4);
    framer.push("data: too long");
    assert!(framer.next_event().is_err());
    for _ in 0..3 {
        let piece = Bytes::from(vec![b'x'; 100]);
        framer.push(piece.clone());
        assert!(piece.is_unique(), "the framer holds on to it");
    }
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let bounded = |piece: Bytes, times: usize| {
        let (result, measured) = tollgate_testing::measure_allocations(|| {
            until_too_large(1 << 20, std::iter::repeat_n(piece.clone(), times))
        });
        let most = measured.peak_bytes;
        assert!(most < 4 << 20, "{most} bytes");
        result
    };
    let kilobytes = |text: &str| Bytes::from(text.repeat((64 << 10) / text.len()));
    // 64 MB without a line end, as data, as a comment, as anything.
    for text in ["x", ":", "\0"] {
        assert_eq!(bounded(kilobytes(text), 1_000), Err(0));
    }
    // Lines without an end of the event.
    assert_eq!(bounded(kilobytes("data: 0123456789\n"), 1_000), Err(0));
    assert_eq!(bounded(kilobytes("data:\n"), 1_000), Err(0));
    assert_eq!(bounded(kilobytes("data\n"), 1_000), Err(0));
    // Nothing is kept of these, however many there are.
    assert_eq!(bounded(kilobytes(": ping\n"), 200), Ok(0));
    assert_eq!(bounded(kilobytes("id: 1\n"), 200), Ok(0));
    assert_eq!(bounded(kilobytes("\r\n"), 200), Ok(0));
    // A million empty events.
    let empty = bounded(Bytes::from("data:\n\n".repeat(10_000)), 100);
    assert_eq!(empty, Ok(1_000_000));
}

#[test]
fn time_is_linear_even_byte_by_byte() {
    // Looking again at what was looked at before would take hours.
    let event = Bytes::from(format!("data: {}\n\n", "x".repeat(1 << 20)));
    let pieces = tollgate_testing::byte_by_byte(&event);
    assert_eq!(until_too_large(2 << 20, pieces), Ok(1));
    let lines = Bytes::from("data: x\n".repeat(1_000) + "\n");
    let pieces = tollgate_testing::byte_by_byte(&lines);
    assert_eq!(until_too_large(2 << 20, pieces), Ok(1));
}
