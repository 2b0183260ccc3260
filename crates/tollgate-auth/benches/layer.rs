//! What the layer adds to a call, beside the bare service in the same round.
//!
//! `cargo bench -p tollgate-auth`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
};

use http::{Request, Response};
use tollgate_auth::{ApiKeyLayer, ApiKeys};
use tollgate_core::{RequestId, Workspace};
use tollgate_testing::compare_calls;
use tower::{Layer, service_fn};

fn main() {
    // As long as OpenAI's project keys.
    let key = |number: u32| format!("sk-proj-{number:0>156}");
    let keys = (0..10_000).fold(ApiKeys::new(), |keys, number| {
        keys.key(key(number), Workspace::new("acme")).unwrap()
    });
    let mut bare = service_fn(answer);
    let mut layered = ApiKeyLayer::new(keys).layer(bare);
    println!("{} bytes for each service", size_of_val(&layered));

    println!("{:<28} {:>6} {:>6}  ns for each call", "", "bare", "layer");
    for (what, key) in [
        ("one of 10,000 keys", key(4_711)),
        ("a wrong key, refused", key(10_000)),
    ] {
        let request = || {
            let mut request = Request::builder()
                .header("authorization", format!("Bearer {key}"))
                .body(())
                .unwrap();
            request.extensions_mut().insert(RequestId::mint());
            request
        };
        let both = compare_calls(request, &mut bare, &mut layered);
        let [bare, layered] = both.map(|time| time.as_nanos());
        println!("{what:<28} {bare:>6} {layered:>6}");
    }
}

fn answer(request: Request<()>) -> Ready<Result<Response<Vec<u8>>, Infallible>> {
    black_box(request);
    ready(Ok(Response::new(Vec::new())))
}
