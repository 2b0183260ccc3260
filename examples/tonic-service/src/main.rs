//! Chat completions over gRPC: the layers that read heads around the server, the others around the
//! client that its methods call.

use std::{env, error::Error, num::NonZeroU64};

use http::request::Parts;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tollgate::{
    ApiKeyLayer, ApiKeys, BudgetLayer, Fact, HyperUtil, Limits, MemoryStore, Models, ModelsLayer,
    Quota, Region, RegionLayer, Rejection, RejectionKind, SseLayer, Upstream, UpstreamLayer,
    Upstreams, Workspace, known,
};
use tonic::transport::{Server, server::TcpIncoming};
use tonic_web::GrpcWebLayer;
use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    generated::chat_server::ChatServer,
    methods::{ChatMethods, Stack},
};

#[allow(warnings, clippy::all, reason = "generated")]
#[path = "generated/chat.v1.rs"]
#[rustfmt::skip]
mod generated;
mod methods;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:50051".into());
    let azure = args
        .next()
        .ok_or("usage: tonic-service ADDRESS AZURE_URL AZURE_KEY")?;
    let azure_key = args.next().unwrap_or_default();

    let keys = ApiKeys::new().key("sk-acme-1", Workspace::new("acme"))?;
    let incoming = TcpIncoming::bind(address.parse()?)?;
    println!("listening on http://{}", incoming.local_addr()?);
    Server::builder()
        // Browsers speak gRPC over HTTP/1; what is inside need not know.
        .accept_http1(true)
        .layer(GrpcWebLayer::new())
        // They read metadata, and leave messages alone.
        .layer(ApiKeyLayer::new(keys))
        .layer(RegionLayer::with(region_of_workspace))
        .add_service(ChatServer::new(ChatMethods::new(stack(azure, azure_key)?)))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

/// A gRPC path has no place for a region: here it belongs to the customer.
fn region_of_workspace(head: &Parts) -> Result<Region, Rejection> {
    let region = match Workspace::require(&head.extensions)?.as_str() {
        "acme" => Region::new("eu"),
        _ => None,
    };
    region.ok_or_else(|| Rejection::new(RejectionKind::PermissionDenied))
}

const MINUTE: Quota = Quota::per_minute(
    NonZeroU64::new(5).unwrap(),
    NonZeroU64::new(20_000).unwrap(),
);

/// What a method calls. Each layer finds its facts where the method has put them.
fn stack(azure: String, azure_key: String) -> Result<Stack, Box<dyn Error>> {
    let models = Models::builder()
        .model(known("gpt-4o").ok_or("not known")?)
        .alias("best", "gpt-4o")
        .build()?;
    let eu = Region::new("eu").ok_or("not a name")?;
    let sweden =
        Upstream::azure("sweden", eu.clone(), azure, azure_key).deployment("gpt-4o", "gpt-4o-eu");
    let upstreams = Upstreams::builder().pool(eu, [sweden]).build()?;

    let client = Client::builder(TokioExecutor::new()).build_http();
    let stack = ServiceBuilder::new()
        .map_response(|response: http::Response<_>| {
            response.map(|body| BodyExt::map_err(body, Into::into).boxed_unsync())
        })
        .map_err(Into::into)
        .layer(ModelsLayer::new(models))
        .layer(BudgetLayer::new(MemoryStore::new(), Limits::new(MINUTE)))
        .layer(UpstreamLayer::new(upstreams).classify(HyperUtil::default()))
        .layer(SseLayer::new())
        .service(client);
    // One box at the edge, so that the methods need not name all of it.
    Ok(BoxCloneSyncService::new(stack))
}
