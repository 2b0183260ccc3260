//! What `.when` takes looks at the head of a request.
//~ to implement `Matcher`

use http::{Method, request::Parts};
use tollgate::ValidateLayer;

fn layer() {
    #[cfg(not(fixed))]
    let _ = ValidateLayer::default().when("/v1/chat/completions");
    #[cfg(fixed)]
    let _ = ValidateLayer::default().when(|head: &Parts| head.method == Method::POST);
}
