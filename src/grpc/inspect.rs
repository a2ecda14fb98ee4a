//! The conversions without a server or a client. Not part of what the crate offers: tests outside of it, and the fuzz
//! targets, try them with far more than a socket would carry.

use bytes::Bytes;

use super::convert::{Invalid, InvalidField, View, content, request};
use super::{frame, pb};
use crate::domain::{ActionRequest, Content, StoredEvent};
use crate::store::LogId;

/// An event as the message of a stream that it is sent in, with everything there is to it.
pub fn event(stored: &StoredEvent, log: LogId) -> Bytes {
    frame::event(stored, log, View::Raw).split_off(frame::HEADER_BYTES)
}

/// Content as readers see it.
pub fn content(content: &Content) -> pb::Content {
    content::to_pb(content)
}

/// What a `Send` asks for; or each field at fault, and why.
pub fn send(request: pb::SendRequest) -> Result<ActionRequest, Vec<(String, String)>> {
    match request::send(request, String::new()) {
        Ok(asked) => Ok(asked.request),
        Err(Invalid::Fields(faults)) => {
            Err(faults.into_iter().map(|InvalidField { field, description }| (field, description)).collect())
        }
        Err(Invalid::Content { media_type: _, description }) => {
            Err(vec![("content".to_owned(), description)])
        }
    }
}
