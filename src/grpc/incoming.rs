//! Connections of clients. They can all be cut at once: a client that reads nothing must not hold up the
//! process when it stops. One that does not begin to speak is not kept.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::gateway::notice::Notice;

/// How long to wait when no connection can be taken, most often because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection may take to say that it speaks HTTP/2. Once it has, pings tell whether it lives.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(30);

/// What it says: `PRI * HTTP/2.0` and so on.
const PREFACE_BYTES: usize = 24;

/// The connections that `listener` takes, until `stop`: then it is closed, so that nobody who comes waits for an
/// answer. Those taken live until `cut`.
pub(super) fn accept(
    listener: TcpListener,
    stop: CancellationToken,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let notice = Notice::default();
    unfold((listener, stop, cut, notice), |(listener, stop, cut, notice)| async move {
        loop {
            let taken = tokio::select! {
                taken = listener.accept() => taken,
                () = stop.cancelled() => return None,
            };
            match taken {
                Ok((stream, _peer)) => {
                    // Without it small messages wait for the client's acknowledgements; a socket that refuses
                    // it is gone already.
                    drop(stream.set_nodelay(true));
                    let connection = Connection {
                        stream,
                        cut: Box::pin(cut.clone().cancelled_owned()),
                        preface: Some(Preface { left: PREFACE_BYTES, due: Box::pin(sleep(PREFACE_TIMEOUT)) }),
                    };
                    return Some((Ok(connection), (listener, stop, cut, notice)));
                }
                Err(error) => {
                    if let Some(suppressed) = notice.permit() {
                        tracing::warn!(%error, suppressed, "a connection could not be taken");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A connection that ends when it is cut.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until it has come.
    preface: Option<Preface>,
}

#[derive(Debug)]
struct Preface {
    /// Bytes still to come.
    left: usize,
    due: Pin<Box<Sleep>>,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Self { stream, preface, .. } = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(stream).poll_read(context, buffer);
        if let Some(Preface { left, due }) = preface {
            *left = left.saturating_sub(buffer.filled().len().saturating_sub(before));
            if *left == 0 {
                *preface = None;
            } else if due.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// The gateway's side of a connection on which a client has said this.
    async fn told(words: &[u8]) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(words).await.unwrap();
        let mut taken = Box::pin(accept(listener, CancellationToken::new(), CancellationToken::new()));
        (client, taken.next().await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn who_does_not_begin_to_speak_is_not_kept() {
        for words in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM"] {
            let (_client, mut connection) = told(words).await;
            tokio::time::pause(); // from here on only the timer is left to wait for
            let mut read = vec![0; 64];
            let ended = loop {
                match connection.read(&mut read).await {
                    Ok(_) => {}
                    Err(error) => break error.kind(),
                }
            };
            assert_eq!(ended, io::ErrorKind::TimedOut);
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn who_has_begun_may_be_silent() {
        let (_client, mut connection) = told(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut read = [0; PREFACE_BYTES];
        connection.read_exact(&mut read).await.unwrap();
        assert!(connection.preface.is_none());
    }
}
