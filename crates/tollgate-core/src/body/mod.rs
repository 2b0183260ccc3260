//! The bodies that layers hand on.

mod request;
mod response;
mod shared;

pub use request::RequestBody;
pub use response::ResponseBody;
pub use shared::{EditsClosed, Member, SharedBody};
