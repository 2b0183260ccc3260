//! What it costs to choose an upstream: a call through the whole layer with pools of rising size,
//! to a client that answers at once. All sizes take turns, so that the machine's moods hit them
//! alike; the differences are the cost of choosing.

use std::{
    convert::Infallible,
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::Instant;
use tollgate_core::{Member, Model, RequestBody, SharedBody};
use tollgate_region::{Region, Upstream, UpstreamLayer, Upstreams};
use tower::{Layer, Service, service_fn};

const SIZES: [usize; 4] = [2, 10, 50, 100];
const ROUNDS: usize = 50;
const CALLS: u32 = 2_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime needs nothing");
    let _guard = runtime.enter();

    let eu = Region::new("eu").expect("a legal name");
    let mut services = SIZES.map(|size| {
        let upstreams = (0..size).map(|n| {
            Upstream::azure(
                format!("u{n}"),
                eu.clone(),
                format!("http://u{n}.test"),
                "k",
            )
            .deployment("gpt-4o", "gpt-4o")
        });
        let upstreams = Upstreams::builder().pool(eu.clone(), upstreams);
        let upstreams = upstreams.build().expect("sound upstreams");
        let client = service_fn(|request: Request<RequestBody<Full<Bytes>>>| {
            black_box(request);
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
        UpstreamLayer::new(upstreams).layer(client)
    });
    let shared = SharedBody::new(
        r#"{"model":"gpt-4o"}"#.into(),
        vec![Member::new("model", 1, 9..17)],
    );

    let mut best = [Duration::MAX; SIZES.len()];
    for _ in 0..ROUNDS {
        for (service, best) in services.iter_mut().zip(&mut best) {
            let mut took = Duration::ZERO;
            for _ in 0..CALLS {
                let mut request = Request::new(Full::default());
                let facts = request.extensions_mut();
                facts.insert(eu.clone());
                facts.insert(Model::new("gpt-4o"));
                facts.insert(shared.clone());
                let start = Instant::now();
                let answer = pin!(service.call(request));
                let answer = answer.poll(&mut Context::from_waker(Waker::noop()));
                took += start.elapsed();
                let Poll::Ready(Ok(answer)) = answer else {
                    unreachable!("the client answers at once")
                };
                black_box(answer);
            }
            *best = took.min(*best);
        }
    }
    println!("upstreams    ns a call   ns more than with 2");
    for (size, took) in SIZES.iter().zip(best) {
        let nanos = |time: Duration| time.as_nanos() as f64 / f64::from(CALLS);
        let more = nanos(took) - nanos(best[0]);
        println!("{size:>9} {:>12.0} {more:>21.0}", nanos(took));
    }
}
