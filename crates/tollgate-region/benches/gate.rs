//! What [`RegionLayer`] adds to a call, beside the bare service in the same round.
//!
//! `cargo bench -p tollgate-region --bench gate`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
};

use http::{Request, Response};
use tollgate_core::RequestId;
use tollgate_region::{Region, RegionLayer};
use tollgate_testing::compare_calls;
use tower::{Layer, service_fn};

fn main() {
    let regions = ["eu", "us"].map(|name| Region::new(name).unwrap());
    let mut bare = service_fn(answer);
    let mut layered = RegionLayer::new(regions).layer(bare);
    println!("{} bytes for each service", size_of_val(&layered));

    println!("{:<28} {:>6} {:>6}  ns for each call", "", "bare", "layer");
    for (what, region) in [("a region", "us"), ("an unknown one, refused", "cn")] {
        let request = || {
            let mut request = Request::new(());
            *request.uri_mut() = format!("/openai/{region}/v1/chat/completions")
                .parse()
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
