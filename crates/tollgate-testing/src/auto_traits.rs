/// Fails to compile unless the service can stand in `axum::Router::layer`, under
/// `tonic::transport::Server::layer`, and be shared by threads.
pub fn assert_layered<S: Clone + Send + Sync + 'static>(_service: &S) {}

/// Fails to compile unless the future can be spawned.
pub fn assert_future<F: Future + Send + 'static>(_future: &F) {}
