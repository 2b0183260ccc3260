//! What images cost.

mod data_url;
mod header;
mod rule;

pub use data_url::image_size;
pub(crate) use data_url::image_size_within;
pub use rule::ImageRule;
