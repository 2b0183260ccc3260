use std::fmt::{self, Debug};

use bytes::Bytes;

/// One frame for each byte: the worst that a network can do.
pub fn byte_by_byte(bytes: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    (0..bytes.len()).map(|at| bytes.slice(at..at + 1))
}

/// Checks that it makes no difference how bytes are cut: networks cut as they like.
///
/// They are tried whole, byte by byte, with each single cut, and with pairs of cuts at random, which
/// are the same in every run. Pieces may be empty. That is one run for each byte and more, each over
/// all bytes: give it some kilobytes, not megabytes.
///
/// ```
/// use bytes::Bytes;
/// use tollgate_testing::Splits;
///
/// // Counts words, wherever the pieces end.
/// let count = |pieces: Vec<Bytes>| {
///     let (mut words, mut in_word) = (0, false);
///     for byte in pieces.iter().flatten() {
///         words += u32::from(!in_word && *byte != b' ');
///         in_word = *byte != b' ';
///     }
///     words
/// };
/// assert_eq!(Splits::of("a test of words").check(count), 4);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Splits {
    bytes: Bytes,
    pairs: usize,
    seed: u64,
}

impl Splits {
    /// Of these bytes, with 100 pairs of cuts from the seed 0.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            pairs: 100,
            seed: 0,
        }
    }

    /// With so many pairs of cuts.
    pub fn pairs(mut self, pairs: usize) -> Self {
        self.pairs = pairs;
        self
    }

    /// With pairs of cuts from another seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What `run` makes of the bytes in one piece.
    ///
    /// # Panics
    ///
    /// If it makes anything else of them in other pieces; the message says in which. A panic of
    /// `run` itself is followed by a line about that on stderr.
    pub fn check<T>(self, mut run: impl FnMut(Vec<Bytes>) -> T) -> T
    where
        T: PartialEq + Debug,
    {
        let mut whole = None;
        for cut in self.cuts() {
            let told = Told(cut);
            let output = run(self.pieces(cut));
            compare(&mut whole, output, cut);
            drop(told);
        }
        whole.expect("the bytes in one piece come first")
    }

    /// The same for a function that is async.
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check) does.
    pub async fn check_async<T>(self, mut run: impl AsyncFnMut(Vec<Bytes>) -> T) -> T
    where
        T: PartialEq + Debug,
    {
        let mut whole = None;
        for cut in self.cuts() {
            let told = Told(cut);
            let output = run(self.pieces(cut)).await;
            compare(&mut whole, output, cut);
            drop(told);
        }
        whole.expect("the bytes in one piece come first")
    }

    fn cuts(&self) -> impl Iterator<Item = Cut> + use<> {
        let length = self.bytes.len();
        let mut random = Random(self.seed);
        let seed = self.seed;
        let pairs = (0..self.pairs).map(move |_| {
            let (one, two) = (random.up_to(length), random.up_to(length));
            Cut::Twice(one.min(two), one.max(two), seed)
        });
        [Cut::Nowhere, Cut::Everywhere]
            .into_iter()
            .chain((0..=length).map(Cut::Once))
            .chain(pairs)
    }

    fn pieces(&self, cut: Cut) -> Vec<Bytes> {
        let bytes = &self.bytes;
        match cut {
            Cut::Nowhere => vec![bytes.clone()],
            Cut::Everywhere => byte_by_byte(bytes).collect(),
            Cut::Once(at) => vec![bytes.slice(..at), bytes.slice(at..)],
            Cut::Twice(one, two, _) => {
                vec![
                    bytes.slice(..one),
                    bytes.slice(one..two),
                    bytes.slice(two..),
                ]
            }
        }
    }
}

#[track_caller]
fn compare<T: PartialEq + Debug>(whole: &mut Option<T>, output: T, cut: Cut) {
    match whole {
        None => *whole = Some(output),
        Some(whole) => assert!(
            output == *whole,
            "{cut} make a difference\n whole: {whole:?}\npieces: {output:?}"
        ),
    }
}

#[derive(Clone, Copy)]
enum Cut {
    Everywhere,
    Nowhere,
    Once(usize),
    /// With the seed that it came from.
    Twice(usize, usize, u64),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("cuts after every byte"),
            Self::Nowhere => f.write_str("no cuts"),
            Self::Once(at) => write!(f, "pieces cut at {at}"),
            Self::Twice(one, two, seed) => {
                write!(f, "pieces cut at {one} and {two} (seed {seed})")
            }
        }
    }
}

/// Says what was tried when it panicked.
struct Told(Cut);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was tried with {}", self.0);
        }
    }
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % (most as u64 + 1)).expect("no more than `most`")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn lengths(pieces: &[Bytes]) -> Vec<usize> {
        pieces.iter().map(Bytes::len).collect()
    }

    #[test]
    fn every_way_is_tried() {
        let mut tried = BTreeSet::new();
        let splits = Splits::of("abc").pairs(200);
        let output = splits.check(|pieces| {
            tried.insert(lengths(&pieces));
            pieces.concat()
        });
        assert_eq!(output, b"abc");
        for length in 0..=3 {
            assert!(tried.contains(&vec![length, 3 - length]));
            for second in 0..=3 - length {
                assert!(tried.contains(&vec![length, second, 3 - length - second]));
            }
        }
        assert!(tried.contains(&vec![3]) && tried.contains(&vec![1, 1, 1]));
        assert_eq!(Splits::of("").check(|pieces| pieces.concat()), b"");
    }

    #[test]
    fn a_seed_is_the_same_every_time() {
        let tried = |seed| {
            let mut tried = Vec::new();
            let splits = Splits::of(vec![b'x'; 1_000]).seed(seed).pairs(10);
            splits.check(|pieces| tried.push(lengths(&pieces)));
            tried
        };
        assert_eq!(tried(1), tried(1));
        assert_ne!(tried(1), tried(2));
    }

    #[test]
    #[should_panic(expected = "pieces cut at 2 make a difference")]
    fn who_takes_a_piece_for_a_line_is_caught() {
        let second_line = |pieces: Vec<Bytes>| pieces.len() == 2 && pieces[1].starts_with(b"b");
        Splits::of("a\nb").check(second_line);
    }

    #[test]
    #[should_panic(expected = "cuts after every byte make a difference")]
    fn who_counts_pieces_is_caught() {
        Splits::of("abc").check(|pieces| pieces.len());
    }

    #[test]
    #[should_panic(expected = "(seed 7) make a difference")]
    fn who_cannot_do_with_three_pieces_is_caught() {
        let splits = Splits::of("abcd").seed(7);
        splits.check(|pieces| pieces.len() == 3);
    }

    #[tokio::test]
    #[should_panic(expected = "make a difference")]
    async fn async_functions_are_caught_too() {
        let splits = Splits::of("abc");
        let output = splits
            .clone()
            .check_async(async |pieces| pieces.concat())
            .await;
        assert_eq!(output, b"abc");
        splits.check_async(async |pieces| pieces.len()).await;
    }
}
