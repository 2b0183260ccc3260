//! A server behind TLS, and servers that only look like it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer, version::TLS13};
use support::{Instance, ask, limit};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tollgate_budget::Units;
use tollgate_budget_redis::RedisSettings;
use tollgate_testing::RedisServer;

const ONE: Units = Units::new(1, 10);
const SECRET: &str = "canary53cr3t";

/// Takes TLS off what goes to a server; its URL.
async fn terminate(identity: &CertifiedKey<KeyPair>, server: SocketAddr) -> String {
    let key = PrivateKeyDer::Pkcs8(identity.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut caller = acceptor.accept(caller).await?;
                let mut server = TcpStream::connect(server).await?;
                copy_bidirectional(&mut caller, &mut server).await
            });
        }
    });
    format!("rediss://:{SECRET}@localhost:{port}/")
}

fn settings(url: &str) -> RedisSettings {
    let settings = RedisSettings::new(url).unwrap();
    settings.patience(Duration::from_secs(10))
}

/// Why a store decides nothing.
async fn complaint(settings: RedisSettings) -> String {
    let instance = Instance::with(settings);
    let error = ask(&instance.store, limit(0, 0), ONE).await.unwrap_err();
    format!("{error} {error:?}")
}

// One test: the cryptography is the process's, and the first lines need one without.
#[tokio::test]
async fn only_who_is_vouched_for_is_trusted() {
    let server = RedisServer::start_with_password(SECRET);
    let identity = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let url = terminate(&identity, server.address()).await;
    let error = RedisSettings::new(&*url).unwrap_err().to_string();
    assert!(error.contains("cryptography"), "{error}");
    ring::default_provider().install_default().unwrap();

    let root = identity.cert.pem();
    let instance = Instance::with(settings(&url).root_certificates(&*root).unwrap());
    ask(&instance.store, limit(1, 0), ONE)
        .await
        .unwrap()
        .unwrap();

    // Nobody that browsers know, another name, another root, no TLS at all.
    let unnamed = url.replace("localhost", "127.0.0.1");
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let plain = server.url().replace("redis://", "rediss://");
    let mut said = String::new();
    for untrusted in [
        settings(&url),
        settings(&unnamed).root_certificates(&*root).unwrap(),
        settings(&url).root_certificates(other.cert.pem()).unwrap(),
        settings(&plain).root_certificates(&*root).unwrap(),
    ] {
        said += &complaint(untrusted).await;
    }
    for wrong in [
        "",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        let error = settings(&url).root_certificates(wrong).unwrap_err();
        said += &format!("{error} {error:?}");
    }
    let error = settings(&server.url())
        .root_certificates(&*root)
        .unwrap_err();
    said += &format!("{error} {error:?} {:?}", settings(&url));
    assert!(!said.contains(SECRET), "{said}");
}
