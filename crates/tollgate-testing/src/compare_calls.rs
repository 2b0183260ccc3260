use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower_service::Service;

/// How long one call of each of two services takes, the drop of its answer included: what a layer
/// costs, if the second is the first behind that layer.
///
/// They are called in turns, in 50 rounds of 2,000 calls each, and what counts is each one's fastest
/// round, which other work on the machine disturbed least. Requests are made before the time begins.
/// A call is polled once, so nothing in a service may wait.
///
/// ```
/// use std::{convert::Infallible, future::ready};
///
/// use http::{Request, Response};
/// use tollgate_testing::compare_calls;
/// use tower::{Layer, layer::layer_fn, service_fn};
///
/// let mut bare = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
/// let my_layer = layer_fn(|service| service); // put your layer here
/// let mut layered = my_layer.layer(bare.clone());
///
/// let [bare, layered] = compare_calls(|| Request::new(()), &mut bare, &mut layered);
/// println!("{bare:?} alone, {layered:?} with the layer");
/// ```
///
/// # Panics
///
/// If a service is not ready at once, fails, or waits in a call.
pub fn compare_calls<Q, A, B>(
    request: impl Fn() -> Q,
    first: &mut A,
    second: &mut B,
) -> [Duration; 2]
where
    A: Service<Q>,
    B: Service<Q>,
{
    let mut least = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        least[0] = least[0].min(time_calls(CALLS, &request, first));
        least[1] = least[1].min(time_calls(CALLS, &request, second));
    }
    least
}

fn time_calls<Q, S: Service<Q>>(calls: u32, request: &impl Fn() -> Q, service: &mut S) -> Duration {
    let mut cx = Context::from_waker(Waker::noop());
    let requests: Vec<_> = (0..calls).map(|_| request()).collect();
    #[expect(clippy::disallowed_types, reason = "the clock that nobody can pause")]
    let start = std::time::Instant::now();
    for request in requests {
        let is_ready = matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(())));
        assert!(is_ready, "the service is not ready");
        let answer = pin!(service.call(black_box(request))).poll(&mut cx);
        let is_answer = matches!(black_box(answer), Poll::Ready(Ok(_)));
        assert!(is_answer, "the service waits in a call, or fails");
    }
    start.elapsed() / calls
}

const ROUNDS: usize = 50;
const CALLS: u32 = 2_000;

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{pending, ready},
        sync::atomic::{AtomicU32, Ordering::Relaxed},
    };

    use tower::service_fn;

    use super::*;

    #[test]
    fn each_request_is_called_once_and_counts() {
        let called = AtomicU32::new(0);
        let mut service = service_fn(|pause: Duration| {
            called.fetch_add(1, Relaxed);
            std::thread::sleep(pause);
            ready(Ok::<_, Infallible>(()))
        });
        let pause = Duration::from_millis(2);
        let took = time_calls(5, &|| pause, &mut service);
        assert_eq!(called.load(Relaxed), 5);
        assert!(took >= pause, "{took:?}");
    }

    #[test]
    #[should_panic(expected = "waits in a call")]
    fn a_service_that_waits_is_no_benchmark() {
        time_calls(
            1,
            &|| (),
            &mut service_fn(|()| pending::<Result<(), Infallible>>()),
        );
    }
}
