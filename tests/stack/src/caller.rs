use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use crate::{HttpClient, KEY, http_client, soon};

/// A caller of a gateway.
#[derive(Clone, Debug)]
pub struct Caller {
    client: HttpClient<Full<Bytes>>,
    address: SocketAddr,
    key: String,
}

impl Caller {
    /// A caller with a valid key.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            client: http_client(),
            address,
            key: KEY.to_owned(),
        }
    }

    /// The same over HTTP/2.
    #[must_use]
    pub fn over_http2(mut self) -> Self {
        self.client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        self
    }

    /// The same with another key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Asks for a chat completion in `eu`, and reads the answer to its end.
    pub async fn chat(&self, body: &Value) -> Answer {
        self.post("/openai/eu/v1/chat/completions", body.to_string())
            .await
    }

    /// Posts JSON, and reads the answer to its end.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        Answer::read(self.open(path, body).await).await
    }

    /// Gets something, and reads the answer to its end.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::read(self.send(Method::GET, path, Bytes::new()).await).await
    }

    /// Posts JSON, and returns with the head of the answer.
    pub async fn open(&self, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        self.send(Method::POST, path, body.into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .unwrap();
        soon(self.client.request(request)).await.unwrap()
    }
}

/// An answer that has been read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn read<B>(response: Response<B>) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
    {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body: soon(body.collect()).await.unwrap().to_bytes(),
        }
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A header as a number.
    #[must_use]
    pub fn number(&self, header: &str) -> u64 {
        let value = self.headers.get(header);
        let value = value.unwrap_or_else(|| panic!("no {header}: {self:?}"));
        value.to_str().unwrap().parse().unwrap()
    }

    /// The texts of a stream that ended as it should.
    #[must_use]
    pub fn streamed_text(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        let events = self.text().strip_suffix("data: [DONE]\n\n");
        let events = events.unwrap_or_else(|| panic!("half an answer: {self:?}"));
        let mut text = String::new();
        for event in events.split_terminator("\n\n") {
            let data: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            let choice = &data["choices"][0];
            assert!(choice.is_object(), "a chunk that nobody asked for: {event}");
            text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        }
        text
    }

    /// Asserts that this is a refusal as OpenAI's clients understand it.
    pub fn assert_refused(&self, status: u16, code: Option<&str>) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(self.headers.contains_key("x-request-id"), "{self:?}");
        let error = &self.json()["error"];
        let members: Vec<_> = error.as_object().unwrap().keys().collect();
        assert_eq!(members, ["code", "message", "param", "type"]);
        assert_eq!(error["code"], json!(code), "{self:?}");
    }
}

/// A call in `eu` with [`KEY`], to be sent or to be given to a service.
#[must_use]
pub fn call<B: From<String>>(body: &Value) -> Request<B> {
    Request::post("/openai/eu/v1/chat/completions")
        .header(AUTHORIZATION, format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(body.to_string().into())
        .unwrap()
}

/// A chat completion request.
#[must_use]
pub fn ask(question: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": question}]})
}

/// The same, streamed.
#[must_use]
pub fn ask_streamed(question: &str) -> Value {
    let mut request = ask(question);
    request["stream"] = json!(true);
    request
}
