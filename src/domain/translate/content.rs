//! What messages say, as LIME documents: read, and written.

mod parts;
mod read;
mod write;

pub use read::content_of;
pub use write::{add, clash, content_document};

use serde_json::Value;

use crate::domain::content::Content;
use crate::lime::MediaType;

/// [`content_of`] by the text of a type.
pub fn reading(media_type: &str, document: Value) -> Content {
    content_of(&MediaType::new(media_type), document)
}
