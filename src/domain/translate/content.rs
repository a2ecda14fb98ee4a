//! What messages say, as LIME documents: read, and written.

mod read;
mod write;

pub use read::content_of;
pub use write::content_document;
