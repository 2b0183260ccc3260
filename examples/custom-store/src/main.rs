//! A budget store of your own: gateways that ask one counter service, and so share one budget.

use std::{env, error::Error, num::NonZeroU64};

use axum::{Router, extract::Request, routing::post};
use tokio::net::TcpListener;
use tollgate::{BudgetLayer, Cost, Limits, Model, Quota, Workspace};
use tower::ServiceBuilder;

use crate::store::SharedStore;

mod counter;
mod store;
mod wire;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["counter", address] => {
            let listener = TcpListener::bind(address).await?;
            println!("listening on {}", listener.local_addr()?);
            counter::serve(listener).await?;
        }
        ["gateway", address, counter] => {
            let listener = TcpListener::bind(address).await?;
            println!("listening on http://{}", listener.local_addr()?);
            axum::serve(listener, gateway((*counter).to_owned())).await?;
        }
        _ => return Err("usage: custom-store counter ADDRESS | gateway ADDRESS COUNTER".into()),
    }
    Ok(())
}

const MINUTE: Quota = Quota::per_minute(
    NonZeroU64::new(10).unwrap(),
    NonZeroU64::new(10_000).unwrap(),
);

/// Only the store is new: the layer is the same, and so is what it answers.
fn gateway(counter: String) -> Router {
    let budget = BudgetLayer::new(SharedStore::at(counter), Limits::new(MINUTE));
    Router::new()
        .route("/v1/embeddings", post(embed))
        .layer(ServiceBuilder::new().map_request(facts).layer(budget))
}

/// Stands in for the layers that find out who asks, for what.
fn facts(mut request: Request) -> Request {
    let extensions = request.extensions_mut();
    extensions.insert(Workspace::new("acme"));
    extensions.insert(Model::new("embedder"));
    extensions.insert(Cost::tokens(100));
    request
}

/// Stands in for the model.
async fn embed() -> &'static str {
    r#"{"object":"list","data":[]}"#
}
