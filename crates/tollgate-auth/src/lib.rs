//! API keys to workspaces: a tower layer that knows who is calling, or answers 401.
//!
//! [`ApiKeyLayer`] reads `authorization: Bearer …`, looks the key up in a [`KeyRing`] and
//! publishes the fact [`Workspace`], by which budgets and allow-lists tell tenants apart.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tollgate_auth::{ApiKeyLayer, ApiKeys};
//! use tollgate_core::{Fact, Workspace};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = ApiKeys::new()
//!     .key("sk-acme-1", Workspace::new("acme"))?
//!     .key("sk-acme-2", Workspace::new("acme"))?;
//!
//! let whoami = service_fn(|request: Request<()>| async move {
//!     let workspace = Workspace::of(request.extensions()).unwrap();
//!     Ok::<_, std::convert::Infallible>(Response::new(workspace.to_string()))
//! });
//! let service = ApiKeyLayer::new(keys).layer(whoami);
//!
//! let request = Request::builder().header("authorization", "Bearer sk-acme-2").body(())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), StatusCode::OK);
//!
//! let request = Request::builder().header("authorization", "Bearer sk-guess").body(())?;
//! assert_eq!(service.oneshot(request).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # Placement
//!
//! Outside everything that reads bodies or holds permits: it needs the head alone, so a refusal
//! costs the caller nothing but its head. It needs no fact and works as a server layer under
//! tonic, where refusals come out as `UNAUTHENTICATED`.
//!
//! Keys that live in a database belong into your own middleware, which inserts [`Workspace`] and
//! makes this layer superfluous: a [`KeyRing`] is asked synchronously.
//!
//! # Refusals
//!
//! 401 with `www-authenticate: Bearer`. No key at all: OpenAI's text that explains the header,
//! `code` null. Any wrong key, and any request with several `authorization` headers: `code`
//! `invalid_api_key`, the same bytes for all of them; nothing of the key is echoed. The
//! `api-key` header that Azure's clients send is not read.
//!
//! # Secrets
//!
//! [`ApiKeys`] keeps no key, only its SHA-256, or less: what is looked up is an HMAC of that
//! digest under a secret of the process, compared in constant time. The `authorization` header is
//! marked sensitive before anybody else sees it, so `Debug` output of a request does not show it.
//!
//! # Cost
//!
//! Two short hashes for each request, no allocation but for the fact: 350 ns with a key as long as
//! OpenAI's, one of 10,000, and 530 ns if it is refused (`cargo bench -p tollgate-auth`). A service
//! has 8 bytes. Nothing is awaited, so there is nothing to cancel.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod keys;
mod layer;

pub use keys::{ApiKeys, ConfigError, KeyRing};
pub use layer::{ApiKeyGate, ApiKeyLayer};

#[doc(no_inline)]
pub use tollgate_core::Workspace;
