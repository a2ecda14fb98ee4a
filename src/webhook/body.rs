//! Reads a body whole, bounded in size and time.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::FutureExt as _;
use http_body::Body;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a whole body may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What is left of that once the process is told to stop: nothing was accepted yet.
const READ_STOPPING_TIMEOUT: Duration = Duration::from_secs(2);

/// A body that announces more than this gets the rest of its memory as it arrives.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// What is read of a refused body, lest the caller meets a reset where the answer stands. A caller who brought
/// a valid key may have written more.
const DISCARD_BYTES_MAX: usize = 64 * 1024;
const DISCARD_ADMITTED_BYTES_MAX: usize = 8 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    Stalled,
    /// The caller hung up.
    Gone,
}

/// Reads a body of at most `bytes_max`. It is copied once: what the connection's buffer lends keeps all of that
/// buffer alive, and events stay in memory for a while. Once `soft` is cancelled there is little time left.
pub(super) async fn read<B>(body: &mut B, bytes_max: usize, soft: &CancellationToken) -> Result<Bytes, Unread>
where
    B: Body + Unpin,
    B::Data: Buf,
{
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let reading = async {
        let mut whole = Vec::with_capacity(expected.min(bytes_max).min(RESERVE_BYTES_MAX));
        while let Some(mut data) = next(body).await? {
            if data.remaining() > bytes_max - whole.len() {
                return Err(Unread::TooLarge);
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                whole.extend_from_slice(chunk);
                data.advance(chunk.len());
            }
        }
        Ok(Bytes::from(whole))
    };
    let stopping = async {
        soft.cancelled().await;
        sleep(READ_STOPPING_TIMEOUT).await;
    };
    // Most bodies are here with their head: no timer, nobody to wake.
    let mut reading = std::pin::pin!(reading);
    if let Some(read) = reading.as_mut().now_or_never() {
        return read;
    }
    tokio::select! {
        biased;
        read = timeout(READ_TIMEOUT, reading) => read.unwrap_or(Err(Unread::Stalled)),
        () = stopping => Err(Unread::Stalled),
    }
}

/// Reads on for a while, for nothing.
pub(super) async fn discard<B>(body: &mut B, admitted: bool)
where
    B: Body + Unpin,
    B::Data: Buf,
{
    let mut left = if admitted { DISCARD_ADMITTED_BYTES_MAX } else { DISCARD_BYTES_MAX };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if body.is_end_stream() || announced > left {
        return;
    }
    let reading = async {
        while let Ok(Some(data)) = next(body).await {
            left = left.saturating_sub(data.remaining());
            if left == 0 {
                break;
            }
        }
    };
    // Late or not, the answer goes out now.
    let _ = timeout(DISCARD_TIMEOUT, reading).await;
}

/// The next piece of data; trailers are passed over.
async fn next<B: Body + Unpin>(body: &mut B) -> Result<Option<B::Data>, Unread> {
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Unread::Gone),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use tokio_stream::StreamExt;

    use super::*;

    fn pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames: Vec<_> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        StreamBody::new(tokio_stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        let soft = CancellationToken::new();
        assert_eq!(read(&mut pieces(&["ab", "", "cd"]), 4, &soft).await.unwrap(), "abcd");
        assert_eq!(read(&mut pieces(&["ab", "cd", "e"]), 4, &soft).await, Err(Unread::TooLarge));
        assert_eq!(read(&mut Full::new(Bytes::from_static(b"abcde")), 4, &soft).await, Err(Unread::TooLarge));
        assert_eq!(read(&mut Full::new(Bytes::new()), 4, &soft).await.unwrap(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let soft = CancellationToken::new();
        let frames = tokio_stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"ab")))]);
        let mut body = StreamBody::new(frames.chain(tokio_stream::pending()));
        assert_eq!(read(&mut body, 4, &soft).await, Err(Unread::Stalled));
        discard(&mut body, true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_does_not_hold_up_a_stop() {
        let frames = tokio_stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"ab")))]);
        let mut body = StreamBody::new(frames.chain(tokio_stream::pending()));
        let (soft, begun) = (CancellationToken::new(), tokio::time::Instant::now());
        soft.cancel();
        assert_eq!(read(&mut body, 4, &soft).await, Err(Unread::Stalled));
        assert_eq!(begun.elapsed(), READ_STOPPING_TIMEOUT);
        assert_eq!(read(&mut pieces(&["ab"]), 4, &soft).await.unwrap(), "ab");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_gone() {
        let soft = CancellationToken::new();
        let frames = [Ok(Frame::data(Bytes::from_static(b"ab"))), Err(std::io::Error::other("reset"))];
        assert_eq!(read(&mut StreamBody::new(tokio_stream::iter(frames)), 4, &soft).await, Err(Unread::Gone));
    }
}
