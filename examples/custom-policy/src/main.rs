//! Rules of your own for chat completions, and errors in a shape of your own.

use std::{env, error::Error};

use axum::{Router, routing::post};
use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use serde_json::json;
use tokio::net::TcpListener;
use tollgate::{
    Dialect, Policy, Rejection, RejectionKind, ValidateLayer,
    validate::{Kind, Param},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = Router::new()
        .route("/v1/chat/completions", post(model))
        .layer(ValidateLayer::new(policy()).render(problem));
    axum::serve(listener, app).await?;
    Ok(())
}

/// What most callers of OpenAI's API send, and then what this house does.
fn policy() -> Policy {
    Policy::compatible()
        // What the model behind understands, and OpenAI's do not.
        .param(Param::new("top_k", Kind::Integer { min: 1, max: 500 }))
        // What it does not understand.
        .refuse("logit_bias")
        // What it need not know.
        .absorb("metadata")
        // Of several it would obey the first, and nobody would notice.
        .rule("stop", |json| {
            if json.starts_with('[') {
                return Err(refusal("Name one string at which to stop.", "stop"));
            }
            Ok(())
        })
        .request_rule(|request, _body| match request.user() {
            Some(_) => Ok(()),
            None => Err(refusal("Say on whose behalf you ask.", "user")),
        })
}

fn refusal(message: &'static str, param: &'static str) -> Rejection {
    Rejection::new(RejectionKind::InvalidRequest)
        .with_message(message)
        .with_param(param)
}

/// Problem details (RFC 9457) in place of OpenAI's error object.
fn problem(rejection: &Rejection, _dialect: Dialect) -> Response<Bytes> {
    let body = json!({
        "title": rejection.message(),
        "status": rejection.status().as_u16(),
        "parameter": rejection.param(),
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = rejection.status();
    let problem = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, problem);
    response
}

/// Stands in for the model: it repeats what reaches it.
async fn model(body: String) -> String {
    body
}
