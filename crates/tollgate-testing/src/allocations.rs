use std::{future::poll_fn, pin::pin};

/// What code allocated on the thread that ran it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allocations {
    /// How many allocations there were.
    pub count: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The most bytes that it held at a time.
    pub peak_bytes: u64,
    /// How many more allocations there are than before; less than zero if it freed others.
    pub kept: i64,
    /// How many more bytes are held than before; less than zero if it freed others.
    pub kept_bytes: i64,
}

/// Runs something, and counts what it allocates on this thread.
///
/// ```
/// let (text, allocations) = tollgate_testing::measure_allocations(|| String::from("twelve bytes"));
/// assert_eq!((allocations.count, allocations.kept_bytes), (1, 12));
/// # drop(text);
/// ```
pub fn measure_allocations<T>(run: impl FnOnce() -> T) -> (T, Allocations) {
    let mut output = None;
    let info = allocation_counter::measure(|| output = Some(run()));
    let allocations = Allocations {
        count: info.count_total,
        bytes: info.bytes_total,
        peak_bytes: info.bytes_max,
        kept: info.count_current,
        kept_bytes: info.bytes_current,
    };
    (output.expect("it has run"), allocations)
}

/// Polls a future to its end, and counts what it allocates in its polls.
///
/// What other tasks do in the meantime does not count, and tasks that it spawns do not either.
pub async fn measure_allocations_async<F: Future>(future: F) -> (F::Output, Allocations) {
    let mut future = pin!(future);
    let mut sum = Allocations::default();
    let output = poll_fn(|cx| {
        let (poll, more) = measure_allocations(|| future.as_mut().poll(cx));
        let held = u64::try_from(sum.kept_bytes).unwrap_or(0);
        sum.peak_bytes = sum.peak_bytes.max(held + more.peak_bytes);
        sum.count += more.count;
        sum.bytes += more.bytes;
        sum.kept += more.kept;
        sum.kept_bytes += more.kept_bytes;
        poll
    })
    .await;
    (output, sum)
}

/// Runs something that may allocate so often on this thread, and no more.
///
/// Let it run once before, if the first time is to cost more: thread-locals, caches, logging.
///
/// ```
/// let mut sum = 0;
/// tollgate_testing::assert_allocations(0, || sum += 1);
/// ```
///
/// # Panics
///
/// If it allocates more.
#[track_caller]
pub fn assert_allocations<T>(most: u64, run: impl FnOnce() -> T) -> T {
    let (output, allocations) = measure_allocations(run);
    allocations.assert_at_most(most);
    output
}

/// Polls a future to its end that may allocate so often in its polls, and no more.
///
/// # Panics
///
/// If it allocates more.
pub async fn assert_allocations_async<F: Future>(most: u64, future: F) -> F::Output {
    let (output, allocations) = measure_allocations_async(future).await;
    allocations.assert_at_most(most);
    output
}

impl Allocations {
    #[track_caller]
    fn assert_at_most(&self, most: u64) {
        let Self { count, bytes, .. } = self;
        assert!(
            *count <= most,
            "{count} allocations in place of {most} at most, of {bytes} bytes"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, task::Poll};

    use super::*;

    fn boxed<const N: usize>() -> Box<[u8; N]> {
        black_box(Box::new([0; N]))
    }

    /// A runtime's own way to do this allocates.
    async fn pending_once() {
        let mut pending = true;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            match std::mem::take(&mut pending) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    #[test]
    fn each_figure_is_what_it_says() {
        let (kept, allocations) = measure_allocations(|| {
            drop(boxed::<100>());
            let kept = boxed::<10>();
            drop(boxed::<20>());
            kept
        });
        let expected = Allocations {
            count: 3,
            bytes: 130,
            peak_bytes: 100,
            kept: 1,
            kept_bytes: 10,
        };
        assert_eq!(allocations, expected);
        let ((), freed) = measure_allocations(|| drop(kept));
        assert_eq!((freed.count, freed.kept, freed.kept_bytes), (0, -1, -10));
    }

    #[tokio::test]
    async fn polls_count_and_what_happens_between_does_not() {
        let future = async {
            let kept = boxed::<10>();
            pending_once().await;
            drop(boxed::<20>());
            pending_once().await;
            drop(kept);
        };
        let noise = async {
            for _ in 0..3 {
                drop(boxed::<1_000>());
                pending_once().await;
            }
        };
        let (((), allocations), ()) = tokio::join!(measure_allocations_async(future), noise);
        let expected = Allocations {
            count: 2,
            bytes: 30,
            peak_bytes: 30,
            kept: 0,
            kept_bytes: 0,
        };
        assert_eq!(allocations, expected);
    }

    #[tokio::test]
    async fn as_many_as_are_allowed_pass() {
        assert_eq!(assert_allocations(1, || *boxed::<1>()), [0]);
        assert_allocations_async(1, async { drop(boxed::<1>()) }).await;
    }

    #[test]
    #[should_panic(expected = "2 allocations in place of 1 at most, of 3 bytes")]
    fn one_too_many_is_caught() {
        assert_allocations(1, || drop((boxed::<1>(), boxed::<2>())));
    }

    #[tokio::test]
    #[should_panic(expected = "1 allocations in place of 0 at most")]
    async fn one_too_many_in_a_later_poll_is_caught() {
        let late = async {
            pending_once().await;
            drop(boxed::<1>());
        };
        assert_allocations_async(0, late).await;
    }
}
