//! A proxy in front of a model server: hyper on both sides, Tollgate between.

use std::{env, error::Error};

use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tollgate::{
    HyperUtil, Model, Models, ModelsLayer, Region, RegionLayer, SseLayer, Upstream, UpstreamLayer,
    Upstreams, ValidateLayer,
};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3000".into());
    let server = args.next().unwrap_or("http://127.0.0.1:11434/v1".into());
    let served = args.next().unwrap_or("llama3.2".into());

    // A proxy has one place to send calls to, and its callers may call that what they know.
    let here = Region::new("here").ok_or("no region")?;
    let upstream = Upstream::openai("model-server", here.clone(), server, "unused")
        .deployment("house-model", served);
    let upstreams = Upstreams::builder()
        .pool(here.clone(), [upstream])
        .build()?;
    let models = Models::builder()
        .model(Model::new("house-model"))
        .alias("gpt-4o", "house-model")
        .alias("gpt-4o-mini", "house-model")
        .build()?;

    let client = Client::builder(TokioExecutor::new()).build_http();
    let proxy = ServiceBuilder::new()
        .layer(RegionLayer::with(move |_: &_| Some(here.clone())))
        .layer(ValidateLayer::default())
        .layer(ModelsLayer::new(models))
        .layer(UpstreamLayer::new(upstreams).classify(HyperUtil::default()))
        .layer(SseLayer::new())
        .service(client);

    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        // If it fails, the connection is gone, and says so below.
        stream.set_nodelay(true).ok();
        let service = TowerToHyperService::new(proxy.clone());
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            // hyper's clock for slow heads runs only with a timer.
            server.http1().timer(TokioTimer::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("connection: {error}");
            }
        });
    }
}
