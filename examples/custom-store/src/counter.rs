//! The counter: holds everybody's windows. How they slide is what `MemoryStore` knows already.

use std::{collections::HashMap, io};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tollgate::{
    MemoryStore,
    budget::{Charge, Decision, Store},
};

use crate::wire::{Answer, Ask};

pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    let store = MemoryStore::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let store = store.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(stream, store).await {
                eprintln!("gateway: {error}");
            }
        });
    }
}

/// Answers one gateway. If it dies, what it holds stays charged until a minute has passed.
async fn answer(stream: TcpStream, store: MemoryStore) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (asks, mut answers) = stream.into_split();
    let mut asks = BufReader::new(asks).lines();
    let mut open = HashMap::new();
    while let Some(line) = asks.next_line().await? {
        let ask: Ask = serde_json::from_str(&line)?;
        let Some(target) = &ask.charge else {
            // Names of an earlier connection mean nothing here.
            if let Some(held) = open.remove(&ask.id) {
                store.settle(held, ask.units());
            }
            continue;
        };
        let windows = target.windows();
        let charge = Charge::new(&target.workspace, &windows, ask.units());
        let decision = store.reserve(&charge).await.map_err(io::Error::other)?;
        let line = serde_json::to_string(&Answer::of(&decision))? + "\n";
        if let Decision::Granted { held, .. } = decision {
            open.insert(ask.id, held);
        }
        answers.write_all(line.as_bytes()).await?;
    }
    Ok(())
}
