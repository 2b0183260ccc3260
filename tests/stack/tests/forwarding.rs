//! What an answer's body holds goes through the layers as it came: trailers, errors, lengths, ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tollgate::{BudgetLayer, Limits, MemoryStore, Quota};
use tollgate_stack_tests::{Layers, ask};
use tollgate_testing::{ReadyProbe, check_forwarding};
use tower::{ServiceBuilder, ServiceExt};

fn request() -> Request<Full<Bytes>> {
    tollgate_stack_tests::call(&ask("Hi?"))
}

#[tokio::test]
async fn through_all_layers_that_change_no_answer() {
    // Nothing is sent anywhere.
    let layers = Layers::to_address(([127, 0, 0, 1], 1).into());
    let wide = Quota::requests_per_minute(NonZeroU64::new(1_000).unwrap());
    let budget = BudgetLayer::new(MemoryStore::new(), Limits::new(wide));
    check_forwarding(async |body| {
        let body = Arc::new(Mutex::new(Some(body)));
        let inner = ReadyProbe::new(move |_: Request<_>| {
            Response::new(body.lock().unwrap().take().expect("one call"))
        });
        let stack = ServiceBuilder::new()
            .layer(layers.region.clone())
            .layer(layers.keys.clone())
            .layer(layers.validate.clone())
            .layer(layers.models.clone())
            .layer(budget.clone())
            .layer(layers.upstream.clone())
            .service(inner.busy());
        let response = stack.oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    })
    .await;
}
