//! What the layer adds to a call, beside the bare service in the same round.
//!
//! `cargo bench -p tollgate-models`.
#![allow(
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Waker},
    time::Instant,
};

use http::{Request, Response};
use tollgate_core::{ChatRequest, Feature, InputKind, RequestId, Workspace};
use tollgate_models::{Models, ModelsLayer, known};
use tower::{Layer, Service, service_fn};

const ROUNDS: usize = 50;
const CALLS: usize = 2_000;

fn main() {
    let acme = Workspace::new("acme");
    let models = Models::builder()
        .model(known("gpt-4o").unwrap())
        .model(known("gpt-4").unwrap())
        .alias("best", "gpt-4o")
        .alias("gpt-4o-*", "gpt-4o")
        .allow(acme.clone(), ["gpt-4o"])
        .build()
        .unwrap();
    let bare = service_fn(answer);
    let layered = ModelsLayer::new(models).layer(bare);
    println!("{} bytes for each service", size_of_val(&layered));

    println!("{:<28} {:>6} {:>6}  ns for each call", "", "bare", "layer");
    for (what, model) in [
        ("its own name", "gpt-4o"),
        ("an alias", "best"),
        ("a pattern", "gpt-4o-2024-08-06"),
        ("unknown, refused", "gpt-9"),
    ] {
        let request = || {
            let mut request = Request::new(());
            let extensions = request.extensions_mut();
            extensions.insert(RequestId::mint());
            extensions.insert(acme.clone());
            let chat = ChatRequest::builder(model)
                .needs(Feature::Tools, "tools")
                .message()
                .text(InputKind::Content, vec![b'a'; 1_000], false);
            extensions.insert(chat.build());
            request
        };
        let (mut best_bare, mut best_layered) = (u128::MAX, u128::MAX);
        for _ in 0..ROUNDS {
            best_bare = best_bare.min(round(&request, &mut bare.clone()));
            best_layered = best_layered.min(round(&request, &mut layered.clone()));
        }
        println!("{what:<28} {best_bare:>6} {best_layered:>6}");
    }
}

fn answer(request: Request<()>) -> Ready<Result<Response<Vec<u8>>, Infallible>> {
    black_box(request);
    ready(Ok(Response::new(Vec::new())))
}

/// Nanoseconds for each of some calls.
fn round<S>(request: &impl Fn() -> Request<()>, service: &mut S) -> u128
where
    S: Service<Request<()>, Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    let requests: Vec<_> = (0..CALLS).map(|_| request()).collect();
    let start = Instant::now();
    for request in requests {
        let _ready = black_box(service.poll_ready(&mut context));
        let _answer = black_box(pin!(service.call(request)).poll(&mut context));
    }
    start.elapsed().as_nanos() / CALLS as u128
}
