//! The gateway measured beside a bare hyper proxy.
fn main() {}
