//! The gateway that is started without a configuration, and what it tells its user.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{Gateway, StartError, config::Config};

/// Starts the demo. With an address of its own it leaves the usual ports alone.
///
/// # Errors
///
/// If the address is taken.
pub async fn start(listen: Option<SocketAddr>) -> Result<Gateway, StartError> {
    let mut config = Config::demo()?;
    if let Some(listen) = listen {
        config.listen = listen;
        config.admin_listen = config.admin_listen.map(any_port);
    }
    match Gateway::start(config.clone()).await {
        // Metrics are no reason to let a demo fail: it says where they are.
        Err(StartError::Bind { address, .. }) if Some(address) == config.admin_listen => {
            config.admin_listen = Some(any_port(address));
            Gateway::start(config).await
        }
        started => started,
    }
}

/// Prints how to talk to the demo: text to paste.
///
/// # Errors
///
/// If it cannot be written.
pub fn introduce(mut out: impl Write, address: SocketAddr) -> io::Result<()> {
    let base = format!("http://{}", reachable(address));
    write!(
        out,
        r#"
This is a demo: the upstreams in `eu` and `us` are simulated. Its API key is sk-demo.

curl -N {base}/openai/eu/v1/chat/completions -H "Authorization: Bearer sk-demo" -H "Content-Type: application/json" -d '{{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Hello!"}}], "stream": true}}'

from openai import OpenAI

client = OpenAI(base_url="{base}/openai/eu/v1", api_key="sk-demo")
stream = client.chat.completions.create(
    model="gpt-4o",
    messages=[{{"role": "user", "content": "Hello!"}}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

"#
    )?;
    out.flush()
}

fn any_port(mut address: SocketAddr) -> SocketAddr {
    address.set_port(0);
    address
}

/// An address that a client on this machine can connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
