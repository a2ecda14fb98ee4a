//! Whether a request has begun to leave. HTTP asks for its body once a connection stands, and not before: until then it can
//! be called off, and it is sure that nothing was sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

const WAITING: u8 = 0;
const GONE: u8 = 1;
const CALLED_OFF: u8 = 2;

/// What is known of one request's departure.
#[derive(Debug)]
pub(super) struct Departure(Arc<AtomicU8>);

/// The body of that request, whole.
#[derive(Debug)]
pub(super) struct Body {
    json: Option<Bytes>,
    departure: Arc<AtomicU8>,
}

/// The request was called off before it left.
#[derive(Debug, thiserror::Error)]
#[error("the request was called off before it left")]
pub(super) struct CalledOff;

impl Departure {
    /// Of a request with this body.
    pub(super) fn of(json: Vec<u8>) -> (Self, Body) {
        let departure = Arc::new(AtomicU8::new(WAITING));
        (Self(Arc::clone(&departure)), Body { json: Some(json.into()), departure })
    }

    /// Sees to it that the request does not leave any more; `false` where it may have begun to.
    pub(super) fn call_off(&self) -> bool {
        leave(&self.0, CALLED_OFF) == CALLED_OFF
    }
}

/// Leaves the state of waiting for another, and answers the state there is now: only the first to leave it chooses.
fn leave(state: &AtomicU8, to: u8) -> u8 {
    state.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).err().unwrap_or(to)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = CalledOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CalledOff>>> {
        if leave(&self.departure, GONE) == CALLED_OFF {
            return Poll::Ready(Some(Err(CalledOff)));
        }
        Poll::Ready(self.json.take().map(|json| Ok(Frame::data(json))))
    }

    fn is_end_stream(&self) -> bool {
        self.json.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.json.as_ref().map_or(0, Bytes::len);
        u64::try_from(left).map(SizeHint::with_exact).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn it_leaves_or_is_called_off_and_never_both() {
        let (departure, mut body) = Departure::of(b"{}".to_vec());
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(2));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{}");
        assert!(body.frame().await.is_none());
        assert!(!departure.call_off(), "it has gone");
        let (departure, mut body) = Departure::of(b"{}".to_vec());
        assert!(departure.call_off());
        body.frame().await.unwrap().unwrap_err();
    }
}
