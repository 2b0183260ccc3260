use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response,
    header::{ALLOW, CONTENT_TYPE},
    request::Parts,
};
use http_body::{Body, Frame, SizeHint};
use tollgate_core::{
    DefaultRender, Dialect, Fact, Rejection, RejectionKind, Render, Stamps, Workspace,
};
use tower_service::Service;

use crate::{Models, layer::not_found};

/// The service behind `GET …/v1/models` and `GET …/v1/models/{id}`, in OpenAI's form.
///
/// It lists every full name that the caller may put into `model`, aliases included. Route it
/// beside the chat stack, behind `ApiKeyLayer`: as in [`ModelsLayer`](crate::ModelsLayer) the fact
/// [`Workspace`] is required once any workspace has a list.
///
/// A model's id is what follows the path's segment `models`; everything before is routing's
/// business. Other methods than GET and HEAD: 405. Unknown and forbidden ids: the same 404. It is
/// always ready, never fails and does no work that could be cancelled.
///
/// ```
/// use http::Request;
/// use http_body_util::BodyExt;
/// use tollgate_models::{ModelList, Models, known};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let models = Models::builder().model(known("gpt-4o").unwrap()).build()?;
/// let list = ModelList::new(models).owned_by("acme");
///
/// let request = Request::get("/openai/eu/v1/models").body(())?;
/// let body = list.oneshot(request).await?.into_body().collect().await?.to_bytes();
/// assert_eq!(
///     body,
///     r#"{"object":"list","data":[{"id":"gpt-4o","object":"model","created":0,"owned_by":"acme"}]}"#,
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ModelList<R = DefaultRender> {
    models: Models,
    created: u64,
    owned_by: Arc<str>,
    render: R,
}

impl ModelList {
    /// Lists these models.
    #[must_use]
    pub fn new(models: Models) -> Self {
        Self {
            models,
            created: 0,
            owned_by: "tollgate".into(),
            render: DefaultRender::default(),
        }
    }
}

impl<R> ModelList<R> {
    /// Sets when the models were created, in seconds since 1970. Default: 0, unknown.
    #[must_use]
    pub fn created(mut self, unix_seconds: u64) -> Self {
        self.created = unix_seconds;
        self
    }

    /// Sets whom the models belong to. Default: `tollgate`.
    #[must_use]
    pub fn owned_by(mut self, owner: impl Into<Arc<str>>) -> Self {
        self.owned_by = owner.into();
        self
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> ModelList<R2> {
        ModelList {
            models: self.models,
            created: self.created,
            owned_by: self.owned_by,
            render,
        }
    }

    fn answer(&self, head: &Parts) -> Result<String, Rejection> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Rejection::new(RejectionKind::MethodNotAllowed)
                .with_header(ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        let workspace = if self.models.need_workspace() {
            Some(Workspace::require(&head.extensions)?)
        } else {
            Workspace::of(&head.extensions)
        };
        match wanted(head.uri.path()) {
            Wanted::List => {
                let names = self.models.names(workspace);
                let entries: Vec<_> = names.map(|(name, _)| self.entry(name)).collect();
                Ok(format!(
                    r#"{{"object":"list","data":[{}]}}"#,
                    entries.join(",")
                ))
            }
            Wanted::One(id) => match self.models.find(&id, workspace) {
                Some(_) => Ok(self.entry(&id)),
                None => Err(not_found(&id)),
            },
            Wanted::Nothing => Err(Rejection::new(RejectionKind::NotFound)),
        }
    }

    fn entry(&self, id: &str) -> String {
        let [id, owner] = [id, &*self.owned_by].map(serde_json::Value::from);
        let created = self.created;
        format!(r#"{{"id":{id},"object":"model","created":{created},"owned_by":{owner}}}"#)
    }
}

impl<B, R: Render> Service<Request<B>> for ModelList<R> {
    type Response = Response<ListBody>;
    type Error = Infallible;
    type Future = ModelListFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ModelListFuture {
        let (mut head, _) = request.into_parts();
        let stamps = Stamps::open(&mut head.extensions);
        let response = match self.answer(&head) {
            Ok(json) => {
                let mut response = Response::new(Bytes::from(json));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                stamps.pass(headers);
                response
            }
            Err(rejection) => stamps.refuse(rejection, Dialect::of(&head.headers), &self.render),
        };
        let response = response.map(|bytes| ListBody { bytes });
        ModelListFuture(ready(Ok(response)))
    }
}

impl<R> fmt::Debug for ModelList<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelList")
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

/// The answer of a [`ModelList`], which is there at once.
#[derive(Debug)]
pub struct ModelListFuture(Ready<Result<Response<ListBody>, Infallible>>);

impl Future for ModelListFuture {
    type Output = Result<Response<ListBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// The body of a [`ModelList`]'s answer: at most one frame.
#[derive(Debug, Default)]
pub struct ListBody {
    bytes: Bytes,
}

impl Body for ListBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    List,
    One(String),
    Nothing,
}

/// Splits at the first segment `models` behind a `v1`, or else at the first one.
fn wanted(path: &str) -> Wanted {
    let after = |segment: &'static str| {
        let mut places = path.match_indices(segment);
        places.find_map(|(at, found)| {
            let rest = path.get(at + found.len()..)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        })
    };
    let Some(rest) = after("/v1/models").or_else(|| after("/models")) else {
        return Wanted::Nothing;
    };
    match rest.strip_prefix('/') {
        None => Wanted::List,
        Some("") => Wanted::List,
        Some(id) => percent_decoded(id).map_or(Wanted::Nothing, Wanted::One),
    }
}

/// `None` if the bytes behind the escapes are not UTF-8, or an escape is broken.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    let hex = |digit: Option<u8>| char::from(digit?).to_digit(16);
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => u8::try_from(hex(bytes.next())? * 16 + hex(bytes.next())?).ok()?,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_what_follows_models() {
        let one = |id: &str| Wanted::One(id.to_owned());
        for (path, expected) in [
            ("/v1/models", Wanted::List),
            ("/openai/eu/v1/models/", Wanted::List),
            ("/models", Wanted::List),
            ("/openai/eu/v1/models/gpt-4o", one("gpt-4o")),
            ("/openai/models/v1/models/gpt-4o", one("gpt-4o")),
            ("/v1/models/org/models/x", one("org/models/x")),
            ("/v1/models/ft%3Agpt-4o", one("ft:gpt-4o")),
            ("/v1/models/%e4%B8%AD", one("中")),
            ("/v1/models/%ff", Wanted::Nothing),
            ("/v1/models/%4", Wanted::Nothing),
            ("/v1/models/%+4", Wanted::Nothing),
            ("/v1/modelsx", Wanted::Nothing),
            ("/", Wanted::Nothing),
        ] {
            assert_eq!(wanted(path), expected, "{path}");
        }
    }
}
