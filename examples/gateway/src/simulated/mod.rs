//! An upstream for demos and tests: an HTTP server on loopback that behaves like Azure OpenAI.
//!
//! It serves `POST /openai/deployments/{deployment}/chat/completions?api-version=…`, wants its key
//! in `api-key`, and answers in Azure's dialect: content filter results, a first chunk without
//! choices, fingerprints, usage. One server stands for one region and says so in its answers.
//!
//! The end of the last user message steers it:
//!
//! | text | what happens |
//! |---|---|
//! | `!status 429` | Azure's error of that status |
//! | `!hang` | no answer, ever |
//! | `!cut` | the connection breaks in the middle of the answer |
//! | `!slow` | half a second between the pieces of a stream, or before a JSON answer |

mod answer;
mod call;
mod fault;
mod sample;
mod script;

use std::{convert::Infallible, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use self::{answer::Answers, call::Call, fault::Fault, script::Script};

/// A simulated upstream that runs until it is dropped.
pub struct Simulated {
    address: SocketAddr,
    api_key: String,
    server: JoinHandle<()>,
}

impl Simulated {
    /// Starts an upstream for `region` on a free port of the loopback interface.
    ///
    /// `deployments` maps the names in request paths to the models that answer.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start<N, M>(
        region: &str,
        deployments: impl IntoIterator<Item = (N, M)>,
    ) -> io::Result<Self>
    where
        N: Into<String>,
        M: Into<String>,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let api_key = answer::random_hex();
        let upstream = Arc::new(Upstream {
            api_key: api_key.clone(),
            answers: Answers::new(region, deployments),
            place: place_of(region),
        });
        let server = tokio::spawn(serve(listener, upstream));
        Ok(Self {
            address,
            api_key,
            server,
        })
    }

    /// The address that stands for a resource's endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The key that requests must carry in `api-key`.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What all connections share.
struct Upstream {
    api_key: String,
    answers: Answers,
    place: HeaderValue,
}

impl Upstream {
    async fn answer(&self, request: Request<Incoming>) -> Response<Script> {
        let (deployment, call) = match self.read(request).await {
            Ok(understood) => understood,
            Err(fault) => return self.stamp(fault.into_response()),
        };
        match call.trigger {
            call::Trigger::Hang => std::future::pending().await,
            call::Trigger::Status(status) => {
                return self.stamp(Fault::of_status(status).into_response());
            }
            call::Trigger::Slow if !call.stream => tokio::time::sleep(SLOW).await,
            call::Trigger::None | call::Trigger::Cut | call::Trigger::Slow => {}
        }
        let response = self.answers.answer(&deployment, &call);
        let mut response = self.stamp(response);
        if let Ok(name) = HeaderValue::from_str(&deployment) {
            response.headers_mut().insert("x-ms-deployment-name", name);
        }
        response
    }

    /// Checks a request in the order in which Azure does and reads it.
    async fn read(&self, request: Request<Incoming>) -> Result<(String, Call), Fault> {
        let (head, body) = request.into_parts();
        let deployment = deployment_in(head.uri.path()).ok_or_else(Fault::resource_not_found)?;
        let versioned = head.uri.query().is_some_and(|query| {
            query
                .split('&')
                .any(|pair| pair.starts_with("api-version="))
        });
        if head.method != Method::POST || !versioned {
            return Err(Fault::resource_not_found());
        }
        if !self.is_authorised(&head.headers) {
            return Err(Fault::access_denied());
        }
        if !self.answers.knows(deployment) {
            return Err(Fault::deployment_not_found());
        }
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|_| Fault::bad_request("The request body could not be read."))?;
        let call = Call::read(&body.to_bytes())?;
        Ok((deployment.to_owned(), call))
    }

    fn is_authorised(&self, headers: &HeaderMap) -> bool {
        headers
            .get("api-key")
            .is_some_and(|key| key.as_bytes() == self.api_key.as_bytes())
    }

    /// Adds the headers that Azure adds to every answer.
    fn stamp(&self, mut response: Response<Script>) -> Response<Script> {
        let headers = response.headers_mut();
        headers.insert("x-ms-region", self.place.clone());
        headers.insert("x-request-id", answer::random_id_header());
        headers.insert("apim-request-id", answer::random_id_header());
        for (name, value) in AZURE_HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

async fn serve(listener: TcpListener, upstream: Arc<Upstream>) {
    // The set ends with this task, and takes all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        connections.spawn(converse(stream, Arc::clone(&upstream)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, upstream: Arc<Upstream>) {
    // Without it each delta would wait for the acknowledgement of the one before.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { Ok::<_, Infallible>(upstream.answer(request).await) }
    });
    // A broken connection is the caller's business, and after `!cut` it is the plan.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn deployment_in(path: &str) -> Option<&str> {
    path.strip_prefix("/openai/deployments/")?
        .strip_suffix("/chat/completions")
        .filter(|name| !name.is_empty() && !name.contains('/'))
}

/// What Azure would print as the place of a resource in this region.
fn place_of(region: &str) -> HeaderValue {
    match region {
        "eu" => HeaderValue::from_static("Sweden Central"),
        "us" => HeaderValue::from_static("East US 2"),
        _ => HeaderValue::from_static("Nowhere"),
    }
}

fn json_response(status: StatusCode, json: &serde_json::Value) -> Response<Script> {
    let mut response = Response::new(Script::whole(Bytes::from(json.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

const AZURE_HEADERS: [(HeaderName, &str); 4] = [
    (
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        "999",
    ),
    (
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        "999000",
    ),
    (HeaderName::from_static("x-ms-rai-invoked"), "true"),
    (
        HeaderName::from_static("strict-transport-security"),
        "max-age=31536000; includeSubDomains; preload",
    ),
];

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const MAX_BODY: usize = 64 << 20;
const SLOW: Duration = Duration::from_millis(500);
