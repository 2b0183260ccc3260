//! What the layer adds to a call, beside the bare service in the same round.
//!
//! `cargo bench -p tollgate-models`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
};

use http::{Request, Response};
use tollgate_core::{ChatRequest, Feature, InputKind, RequestId, Workspace};
use tollgate_models::{Models, ModelsLayer, known};
use tollgate_testing::compare_calls;
use tower::{Layer, service_fn};

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
    let mut bare = service_fn(answer);
    let mut layered = ModelsLayer::new(models).layer(bare);
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
        let both = compare_calls(request, &mut bare, &mut layered);
        let [bare, layered] = both.map(|time| time.as_nanos());
        println!("{what:<28} {bare:>6} {layered:>6}");
    }
}

fn answer(request: Request<()>) -> Ready<Result<Response<Vec<u8>>, Infallible>> {
    black_box(request);
    ready(Ok(Response::new(Vec::new())))
}
