//! Messages of a stream as they go to the wire: encoded once, framed as gRPC wants it, and sent as they are.
//! [`Frames`] is the response's body; what is ready together leaves in one DATA frame.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use prost::Message as _;
use tonic::Status;

use super::convert::{View, event};
use super::pb;
use super::pb::subscribe_response::Message;
use crate::domain::StoredEvent;
use crate::store::LogId;

/// About how much is sent at once.
pub(super) const CHUNK_BYTES: usize = 32 << 10;
/// A byte that tells of compression and four that tell the length.
pub(super) const HEADER_BYTES: usize = 5;

/// An event as a message of a stream, framed.
pub(super) fn event(stored: &StoredEvent, log: LogId, view: View) -> Bytes {
    message(Message::Event(event::to_pb(stored, log, view)))
}

/// A message of a stream, framed.
pub(super) fn message(message: Message) -> Bytes {
    let message = pb::SubscribeResponse { message: Some(message) };
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(length.saturating_add(HEADER_BYTES));
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    let encoded = message.encode(&mut bytes);
    debug_assert!(encoded.is_ok(), "a BytesMut grows as it must");
    bytes.freeze()
}

/// Several pieces as one; a single one is not copied.
pub(super) fn concat(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in &parts {
        all.put_slice(part);
    }
    all.freeze()
}

/// Where a stream puts what it has to send. Holds one chunk at most, or little more.
#[derive(Debug, Clone, Default)]
pub(super) struct Out(Arc<Mutex<Ready>>);

#[derive(Debug, Default)]
struct Ready {
    parts: Vec<Bytes>,
    length: usize,
}

impl Out {
    /// Adds framed messages behind what is ready.
    pub(super) fn push(&self, framed: Bytes) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.length = ready.length.saturating_add(framed.len());
        ready.parts.push(framed);
    }

    /// Waits until there is room for another chunk: the client sets the pace.
    pub(super) async fn room(&self) {
        // No waker is needed: taking what is ready polls this again.
        poll_fn(|_| if self.has_room() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether there is room for another chunk.
    pub(super) fn has_room(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).length < CHUNK_BYTES
    }

    fn take(&self) -> Option<Bytes> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.length = 0;
        let parts = std::mem::take(&mut ready.parts);
        (!parts.is_empty()).then(|| concat(parts))
    }
}

/// How a stream runs: until the caller has what it asked for, or a status says why not.
type Run = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// Told how a stream ended; answers what else its trailers say.
type End = Box<dyn FnOnce(&Result<(), Status>) -> HeaderMap + Send>;

/// The body of a streamed response: whatever `run` puts out, in DATA frames, then its end in trailers.
pub(super) struct Frames {
    run: Option<Run>,
    out: Out,
    trailers: Option<HeaderMap>,
    end: Option<End>,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Frames").field("running", &self.run.is_some()).finish_non_exhaustive()
    }
}

impl Frames {
    /// The body of `run`, which writes to `out`; `end` is told how it ended and adds to the trailers.
    pub(super) fn new(
        run: impl Future<Output = Result<(), Status>> + Send + 'static,
        out: Out,
        end: impl FnOnce(&Result<(), Status>) -> HeaderMap + Send + 'static,
    ) -> Self {
        Self { run: Some(Box::pin(run)), out, trailers: None, end: Some(Box::new(end)) }
    }

    fn trailers_of(&mut self, result: &Result<(), Status>) -> HeaderMap {
        let mut trailers = self.end.take().map(|end| end(result)).unwrap_or_default();
        match result {
            Ok(()) => {
                trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
            }
            // Fails only for a text that is no header, and a status escapes its own.
            Err(status) => drop(status.add_header(&mut trailers)),
        }
        trailers
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(run) = &mut self.run {
            match run.as_mut().poll(context) {
                Poll::Pending => {
                    return match self.out.take() {
                        Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                        None => Poll::Pending,
                    };
                }
                Poll::Ready(result) => {
                    self.run = None;
                    self.trailers = Some(self.trailers_of(&result));
                }
            }
        }
        if let Some(bytes) = self.out.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.run.is_none() && self.trailers.is_none()
    }
}
