//! Any bytes, cut anywhere: the same events, and none that is too large.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tollgate_sse::Framer;

const MAX_EVENT_BYTES: usize = 256;

/// Name, data and id of each event, and `None` for an error.
type Seen = Vec<Option<(Option<Vec<u8>>, Vec<u8>, Vec<u8>)>>;

fuzz_target!(|input: &[u8]| {
    let (whole, pieces) = pieces(input);
    assert_eq!(frame(vec![whole]), frame(pieces));
});

fn frame(pieces: Vec<Bytes>) -> Seen {
    let mut framer = Framer::new().max_event_bytes(MAX_EVENT_BYTES);
    let mut seen = Seen::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_event() {
                Ok(Some(event)) => {
                    assert!(event.data().len() <= MAX_EVENT_BYTES);
                    assert_eq!(event.to_bytes(), event.data());
                    let name = event.name().map(<[u8]>::to_vec);
                    seen.push(Some((
                        name,
                        event.data().to_vec(),
                        event.last_event_id().to_vec(),
                    )));
                }
                Ok(None) => break,
                Err(_) => {
                    seen.push(None);
                    return seen;
                }
            }
        }
    }
    if let Some(event) = framer.finish() {
        seen.push(Some((None, event.data().to_vec(), Vec::new())));
    }
    seen
}

/// The stream stands before the last NUL; the bytes behind it are the sizes of its pieces.
fn pieces(input: &[u8]) -> (Bytes, Vec<Bytes>) {
    let end = input
        .iter()
        .rposition(|byte| *byte == 0)
        .unwrap_or(input.len());
    let (whole, sizes) = input.split_at(end);
    let whole = Bytes::copy_from_slice(whole);
    let mut rest = whole.clone();
    let sizes = sizes.iter().map(|size| usize::from(*size));
    let mut pieces: Vec<Bytes> = sizes
        .map(|size| rest.split_to(size.min(rest.len())))
        .collect();
    pieces.push(rest);
    (whole, pieces)
}
