//! A line to the server that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Forwards connections, and cuts them where a test says.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            cuts: Arc::default(),
        };
        let cuts = Arc::clone(&proxy.cuts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cuts = Arc::clone(&cuts);
                tokio::spawn(async move { forward(client, server, &cuts).await });
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Of the next so many answers the server's, none comes through: their connections are cut
    /// instead, after the server has done what it was asked.
    pub(crate) fn cut_answers(&self, answers: u64) {
        self.cuts.store(answers, Ordering::SeqCst);
    }

    /// How many of them are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn forward(client: TcpStream, server: SocketAddr, cuts: &AtomicU64) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asks = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let answers = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let cut = |left: u64| left.checked_sub(1);
            if cuts
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, cut)
                .is_ok()
            {
                return;
            }
            let Some(read) = buffer.get(..read) else {
                return;
            };
            if to_client.write_all(read).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asks => {}
        () = answers => {}
    }
}
