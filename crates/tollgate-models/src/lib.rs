//! Which models may be called, by whom, under which names: a tower layer, and the list of models.
//!
//! [`ModelsLayer`] resolves the model that a [`ChatRequest`] names, through aliases and each
//! workspace's allow-list, refuses what the model cannot do, and publishes the fact [`Model`].
//! [`ModelList`] answers `GET …/v1/models` with the same names.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tollgate_core::{ChatRequest, Fact, Model};
//! use tollgate_models::{Models, ModelsLayer, known};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let models = Models::builder()
//!     .model(known("gpt-4o").unwrap())
//!     .model(Model::new("house-model").with_context_window(32_768))
//!     .alias("fast", "house-model")
//!     .build()?;
//!
//! let which = service_fn(|request: Request<()>| async move {
//!     let model = Model::of(request.extensions()).unwrap();
//!     Ok::<_, std::convert::Infallible>(Response::new(model.name().to_string()))
//! });
//! let service = ModelsLayer::new(models).layer(which);
//!
//! // `ValidateLayer` writes this fact from the body; here we write it ourselves.
//! let ask = |model: &str| {
//!     let mut request = Request::new(());
//!     request.extensions_mut().insert(ChatRequest::builder(model).build());
//!     request
//! };
//! let response = service.clone().oneshot(ask("fast")).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//!
//! let response = service.oneshot(ask("gpt-9")).await?;
//! assert_eq!(response.status(), StatusCode::NOT_FOUND);
//! # Ok(())
//! # }
//! ```
//!
//! Allow-lists belong to workspaces; see [`ModelsBuilder::allow`]:
//!
//! ```
//! use tollgate_core::Workspace;
//! use tollgate_models::{Models, known};
//!
//! let acme = Workspace::new("acme");
//! let models = Models::builder()
//!     .model(known("gpt-4o").unwrap())
//!     .model(known("gpt-35-turbo").unwrap())
//!     .alias("gpt-3.5-turbo", "gpt-35-turbo")
//!     .allow(acme.clone(), ["gpt-35-*"])
//!     .build()?;
//! assert!(models.resolve("gpt-3.5-turbo", Some(&acme)).is_some());
//! assert!(models.resolve("gpt-4o", Some(&acme)).is_none());
//! # Ok::<_, tollgate_models::ConfigError>(())
//! ```
//!
//! # Placement
//!
//! Inside `ApiKeyLayer` and `ValidateLayer`, outside `BudgetLayer` and whatever talks to an
//! upstream: these key, address and count by the model that this layer resolves.
//!
//! # Facts
//!
//! * Required: [`ChatRequest`]; and [`Workspace`](tollgate_core::Workspace) as soon as any
//!   workspace has a list. Without it the answer is a 500, never a default tenant.
//! * Optional: [`SharedBody`](tollgate_core::SharedBody). Where the caller's spelling is not the
//!   model's name, the body's `model` is replaced by the name; all other bytes stay.
//! * Written: [`Model`].
//!
//! # Refusals
//!
//! * 404 `model_not_found` for unknown and forbidden models alike, so that nobody can probe what
//!   others may use.
//! * 400 where the request needs what the model cannot do, with OpenAI's messages: JSON mode,
//!   `json_schema`, tools, images, audio, logprobs, reasoning, verbosity, web search, a temperature
//!   where the model reasons, the role `developer` where it is unknown, an output cap above the
//!   model's, and `context_length_exceeded`. Only what a model's configuration states is checked: no features at all means that nothing is known, and the upstream decides.
//!   [`Feature::ParallelTools`](tollgate_core::Feature) is never a reason to refuse: it is the
//!   upstream's default and a permission, not a demand.
//!
//! The context window is checked against the tokens that a prompt has for certain: it never
//! refuses on an estimate. With the default [`ByteRule`](tollgate_core::ByteRule) that catches
//! only gross excess; give [`ModelsLayer::counter`] an exact counter to catch the rest.
//!
//! # Cost
//!
//! 150 ns for a call that passes (two hash lookups, one allocation to publish the fact), 300 ns for
//! one that is refused; 8 bytes for each service. Nothing is awaited, so there is nothing to cancel.
//!
//! A prompt that fits into the context window by its bytes alone is not looked at. Others cost the
//! counter's bounds, and a count if these leave it open whether they fit; it is kept in the
//! `ChatRequest` for the budget.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod capabilities;
mod catalogue;
mod config_error;
mod layer;
mod list;
mod models;
mod values;
mod window;

pub use catalogue::known;
pub use config_error::ConfigError;
pub use layer::{ModelsGate, ModelsLayer};
pub use list::{ListBody, ModelList, ModelListFuture};
pub use models::{Models, ModelsBuilder};

#[doc(no_inline)]
pub use tollgate_core::{ChatRequest, Model};
