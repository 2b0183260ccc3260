use bytes::Bytes;

/// Every way to cut bytes in two, the empty cuts at both ends included.
pub fn two_way_splits(bytes: &Bytes) -> impl Iterator<Item = [Bytes; 2]> + '_ {
    (0..=bytes.len()).map(|at| [bytes.slice(..at), bytes.slice(at..)])
}

/// One frame for each byte: the worst that a network can do.
pub fn byte_by_byte(bytes: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    (0..bytes.len()).map(|at| bytes.slice(at..at + 1))
}
