//! What can be required of a request is a `Fact`.
//~ impl Fact for Tenant { const NAME

use http::request::Parts;
use tollgate::{Fact, Rejection};

#[derive(Clone)]
struct Tenant;

#[cfg(fixed)]
impl Fact for Tenant {
    const NAME: &'static str = "Tenant";
    const WRITTEN_BY: &'static str = "our authentication";
}

fn needs<F: Fact>(head: &mut Parts) -> Result<(), Rejection> {
    F::require(&head.extensions).map(drop)
}

fn gate(head: &mut Parts) -> Result<(), Rejection> {
    needs::<Tenant>(head)
}
