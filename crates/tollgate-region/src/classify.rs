use std::sync::Arc;

/// What an error of the inner service says about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The connection broke before the head of an answer came. The upstream may have begun to
    /// work on the call.
    BeforeHead,
    /// There was no connection: the upstream knows nothing of the call.
    Connect,
    /// Anything else, for instance a request body that failed: trying again would not help.
    Other,
}

/// Says what an error of the inner service means. Any `Fn(&E) -> Fault` will do, and an `Arc` of a
/// classifier.
///
/// [`Unclassified`], the default, takes every error for [`Fault::Other`]: without a classifier
/// nothing is tried again after an error.
///
/// ```
/// use std::io::{self, ErrorKind};
/// use tollgate_region::{Fault, UpstreamLayer, Upstreams};
///
/// # fn layer(upstreams: Upstreams) {
/// let layer = UpstreamLayer::new(upstreams).classify(|error: &io::Error| match error.kind() {
///     ErrorKind::ConnectionRefused => Fault::Connect,
///     ErrorKind::ConnectionReset => Fault::BeforeHead,
///     _ => Fault::Other,
/// });
/// # drop(layer);
/// # }
/// ```
pub trait Classify<E> {
    /// The meaning of this error.
    fn classify(&self, error: &E) -> Fault;
}

impl<F, E> Classify<E> for F
where
    F: Fn(&E) -> Fault,
{
    fn classify(&self, error: &E) -> Fault {
        self(error)
    }
}

impl<C: Classify<E> + ?Sized, E> Classify<E> for Arc<C> {
    fn classify(&self, error: &E) -> Fault {
        (**self).classify(error)
    }
}

/// Knows nothing about errors.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Unclassified;

impl<E> Classify<E> for Unclassified {
    fn classify(&self, _error: &E) -> Fault {
        Fault::Other
    }
}

/// Knows the errors of hyper-util's pooled client.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tollgate_core::RequestBody;
/// use tollgate_region::{HyperUtil, UpstreamLayer, Upstreams};
/// use tower::Layer;
///
/// # fn service(upstreams: Upstreams) {
/// let client: Client<_, RequestBody<Full<Bytes>>> =
///     Client::builder(TokioExecutor::new()).build_http();
/// let service = UpstreamLayer::new(upstreams)
///     .classify(HyperUtil::default())
///     .layer(client);
/// # drop(service);
/// # }
/// ```
///
/// Clients that stand on it, such as reqwest, have its error as the source of their own:
///
/// ```
/// use std::error::Error;
///
/// use hyper_util::client::legacy;
/// use tollgate_region::{Classify, Fault, HyperUtil};
///
/// /// For `UpstreamLayer::classify`, where errors are `reqwest::Error`.
/// fn classify(error: &impl Error) -> Fault {
///     let source = error.source().and_then(|source| source.downcast_ref::<legacy::Error>());
///     source.map_or(Fault::Other, |error| HyperUtil::default().classify(error))
/// }
/// # assert_eq!(classify(&std::fmt::Error), Fault::Other);
/// ```
#[cfg(feature = "hyper-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper-util")))]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HyperUtil;

#[cfg(feature = "hyper-util")]
impl Classify<hyper_util::client::legacy::Error> for HyperUtil {
    fn classify(&self, error: &hyper_util::client::legacy::Error) -> Fault {
        use std::error::Error as _;

        if error.is_connect() {
            return Fault::Connect;
        }
        // Whatever else goes wrong inside the client's future goes wrong before the head; only
        // what the request itself is to blame for will not get better.
        let cause = error.source();
        match cause.and_then(|cause| cause.downcast_ref::<hyper::Error>()) {
            Some(cause) if !cause.is_user() => Fault::BeforeHead,
            _ => Fault::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_classifier_is_a_classifier() {
        let shared: Arc<dyn Classify<()>> = Arc::new(|(): &()| Fault::Connect);
        assert_eq!(shared.classify(&()), Fault::Connect);
        assert_eq!(
            Classify::<()>::classify(&Arc::new(Unclassified), &()),
            Fault::Other
        );
    }
}
