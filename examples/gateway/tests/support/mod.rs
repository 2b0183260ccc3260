//! A gateway in this process, and callers that see what goes over the wire.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

pub mod process;
pub mod upstream;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use gateway::{Gateway, config::Config};
use http::{HeaderMap, Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tollgate_stack_tests::ScriptedUpstream;

/// Two regions with a simulated upstream each; `{}` is replaced by what a test adds on top.
pub const CONFIG: &str = r#"
listen = "127.0.0.1:0"
default_region = "eu"
token_counts = "estimate"
{}

[[workspaces]]
name = "acme"
api_keys = ["sk-acme-1"]

[[workspaces]]
name = "small"
api_keys = ["sk-small-1"]
models = ["gpt-4o-mini"]
budget = { requests_per_minute = 2 }

[models.gpt-4o]
[models.gpt-4o-mini]
aliases = ["mini"]
[models.gpt-4]

[[regions.eu.upstreams]]
name = "sweden"
kind = "simulated"
deployments = { "gpt-4o" = "deployment-of-sweden", "gpt-4o-mini" = "mini-of-sweden", "gpt-4" = "old-of-sweden" }

[[regions.us.upstreams]]
name = "virginia"
kind = "simulated"
"#;

pub const KEY: &str = "sk-acme-1";

/// Starts a gateway; `more` is put at the top of its configuration.
pub async fn start(more: &str) -> Gateway {
    start_config(&CONFIG.replacen("{}", more, 1)).await
}

/// Starts a gateway with this configuration, and waits until it is ready.
pub async fn start_config(text: &str) -> Gateway {
    let mut config = parse(text);
    config.admin_listen = Some(([127, 0, 0, 1], 0).into());
    let gateway = Gateway::start(config).await.unwrap();
    let admin = Caller::at(gateway.admin_address().unwrap());
    while admin.get("/readyz").await.status != StatusCode::OK {
        sleep(Duration::from_millis(5)).await;
    }
    gateway
}

/// One workspace and one model.
pub const ACME: &str = r#"
listen = "127.0.0.1:0"
token_counts = "estimate"
[[workspaces]]
name = "acme"
api_keys = ["sk-acme-1"]
[models.gpt-4o]
"#;

/// Those with one upstream; `more` comes after what is known of that.
pub fn config_to(upstream: &ScriptedUpstream, more: &str) -> String {
    let url = upstream.url();
    format!(
        r#"{ACME}
[[regions.eu.upstreams]]
name = "sweden"
url = "{url}"
api_key = "upstream-key"
deployments = {{ gpt-4o = "of-4o" }}
{more}
"#
    )
}

/// A budget that no test exhausts.
pub const AMPLE: &str = r#"
[budget]
requests_per_minute = 100_000
tokens_per_minute = 100_000_000
"#;

pub fn parse(text: &str) -> Config {
    Config::parse("test.toml", text, &|_| None).unwrap()
}

/// An answer that has been read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The JSON of each event, and whether `[DONE]` came last.
    pub fn events(&self) -> (Vec<Value>, bool) {
        let mut events: Vec<&str> = self.text().split("\n\n").collect();
        assert_eq!(events.pop(), Some(""), "the last event is whole");
        let data = |event: &&str| event.strip_prefix("data: ").unwrap().to_owned();
        let mut data: Vec<String> = events.iter().map(data).collect();
        let done = data.last().is_some_and(|last| last == "[DONE]");
        if done {
            data.pop();
        }
        let parse = |text: &String| serde_json::from_str(text).unwrap();
        (data.iter().map(parse).collect(), done)
    }

    /// Asserts that this is a refusal as OpenAI's clients understand it, and gives nothing away.
    pub fn assert_refusal(&self, status: u16, code: Option<&str>) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let error = self.assert_envelope();
        assert_eq!(error["code"], json!(code), "{error}");
        self.assert_nothing_leaks();
        error
    }

    /// Asserts that this is an error as OpenAI's clients understand it.
    pub fn assert_envelope(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        let id = self.header("x-request-id").unwrap();
        assert!(id.starts_with("req_") && id.len() == 36, "{id}");
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        let error = body["error"].as_object().unwrap();
        let mut members: Vec<_> = error.keys().collect();
        members.sort();
        assert_eq!(members, ["code", "message", "param", "type"]);
        assert!(
            error["message"].is_string() && error["type"].is_string(),
            "{body}"
        );
        assert!(
            error["param"].is_string() || error["param"].is_null(),
            "{body}"
        );
        assert!(
            error["code"].is_string() || error["code"].is_null(),
            "{body}"
        );
        body["error"].clone()
    }

    pub fn assert_nothing_leaks(&self) {
        let seen = format!("{:?} {}", self.headers, String::from_utf8_lossy(&self.body));
        for secret in [
            "sk-",
            "127.0.0.1",
            "http:",
            "of-sweden",
            "api-version",
            "Azure",
            "subscription",
        ] {
            assert!(!seen.contains(secret), "{secret} leaks: {seen}");
        }
        for name in [
            "x-ms-region",
            "x-ms-deployment-name",
            "x-ms-rai-invoked",
            "apim-request-id",
            "strict-transport-security",
            "set-cookie",
            "server",
        ] {
            assert!(!self.headers.contains_key(name), "{name} leaks");
        }
    }
}

/// A caller with a pool of connections.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    pub key: &'static str,
}

impl Caller {
    pub fn new(gateway: &Gateway) -> Self {
        Self::at(gateway.address())
    }

    pub fn at(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            client,
            address,
            key: KEY,
        }
    }

    pub async fn chat(&self, region: &str, body: &Value) -> Answer {
        self.send(self.chat_request(region, body)).await
    }

    pub fn chat_request(&self, region: &str, body: &Value) -> Request<Full<Bytes>> {
        let path = format!("/openai/{region}/v1/chat/completions");
        self.post_request(&path, body.to_string())
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(self.post_request(path, body)).await
    }

    fn post_request(&self, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::post(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Full::default())
            .unwrap();
        self.send(request).await
    }

    /// Sends a request whose URI is a path.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = self.open(request).await;
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        }
    }

    /// Sends a request and returns with the head of its answer.
    pub async fn open(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> http::Response<hyper::body::Incoming> {
        let uri = format!("http://{}{}", self.address, request.uri());
        *request.uri_mut() = uri.parse().unwrap();
        let answer = timeout(PATIENCE, self.client.request(request)).await;
        answer.unwrap().unwrap()
    }
}

/// A chat completion request that asks this.
pub fn ask(question: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": question}]})
}

/// The same, streamed.
pub fn ask_streamed(question: &str) -> Value {
    let mut request = ask(question);
    request["stream"] = json!(true);
    request
}

/// A request as a caller with a pen writes it.
pub fn raw_head(method: &Method, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\n{headers}\r\n")
}

/// Writes these bytes and reads one answer with a `content-length`.
pub async fn raw(stream: &mut TcpStream, bytes: &[u8]) -> Answer {
    stream.write_all(bytes).await.unwrap();
    read_answer(stream).await
}

/// Reads one answer with a `content-length`.
pub async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut read = Vec::new();
    loop {
        let ends = read.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = ends {
            let (head, body) = read.split_at(end + 4);
            let (status, headers) = parse_head(head);
            let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
            if body.len() >= length {
                return Answer {
                    status,
                    headers,
                    body: Bytes::copy_from_slice(&body[..length]),
                };
            }
        }
        let bytes = timeout(PATIENCE, stream.read_buf(&mut read))
            .await
            .unwrap()
            .unwrap();
        assert!(bytes > 0, "cut: {}", String::from_utf8_lossy(&read));
    }
}

fn parse_head(head: &[u8]) -> (StatusCode, HeaderMap) {
    let head = std::str::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    (status.parse().unwrap(), headers)
}

pub fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.trim_end_matches('=').chars() {
        bits = bits << 6 | u32::try_from(DIGITS.find(digit).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    bytes
}

/// Numbers that are random enough, and the same every time (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) % end as u64) as usize
    }
}

/// Lets this process open so many files: systems start with as few as 256, and allow more to
/// whoever asks.
#[cfg(unix)]
pub fn allow_files(files: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        limit.current = Some(files);
        setrlimit(Resource::Nofile, limit).expect("the system allows it");
    }
}

/// There is no such limit here.
#[cfg(not(unix))]
pub fn allow_files(_files: u64) {}

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);
