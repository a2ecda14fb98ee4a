//! Connections that can be cut: a caller must see a reset, with no HTTP answer, not an answer that says so. And a
//! listener that stops listening in an outage, but keeps its port.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::power::Power;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// How long to wait before the port is asked for again, should somebody have it.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// A listener whose connections can be cut from within a request.
pub(crate) struct Cuttable {
    listener: Option<TcpListener>,
    address: SocketAddr,
    /// Not for the control side, which no outage reaches.
    power: Option<Arc<Power>>,
}

impl Cuttable {
    pub(crate) fn new(listener: TcpListener, address: SocketAddr, power: Option<Arc<Power>>) -> Self {
        Self { listener: Some(listener), address, power }
    }

    fn wrap(&self, stream: TcpStream) -> Connection {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY on a connection");
        }
        let token = self.power.as_ref().map_or_else(CancellationToken::new, |power| power.connection());
        let outage = Box::pin(token.clone().cancelled_owned());
        Connection { stream, cutter: Cutter::default(), token, outage }
    }

    /// Nobody is answered, and nobody else can take the port, until the outage is over.
    async fn sit_out(&mut self, power: &Power) {
        self.listener = None;
        let held = bound(self.address).await;
        power.listening(false);
        power.until_refusing(false).await;
        match held.listen(BACKLOG) {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => tracing::warn!(%error, "the sandbox cannot listen again"),
        }
        power.listening(true);
    }
}

/// A socket that has the address but does not listen: who connects is refused.
async fn bound(address: SocketAddr) -> TcpSocket {
    loop {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => return socket,
            Err(error) => tracing::warn!(%error, "the sandbox lost its port for a moment"),
        }
        tokio::time::sleep(REBIND_PAUSE).await;
    }
}

impl Listener for Cuttable {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let power = self.power.clone();
        loop {
            let Some(listener) = &mut self.listener else { std::future::pending().await };
            let Some(power) = &power else {
                let (stream, peer) = Listener::accept(listener).await;
                return (self.wrap(stream), peer);
            };
            tokio::select! {
                biased;
                () = power.until_refusing(true) => self.sit_out(power).await,
                (stream, peer) = Listener::accept(listener) => return (self.wrap(stream), peer),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Cuts the connection a request came by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cutter(Arc<AtomicBool>);

impl Cutter {
    /// From now on nothing is written: the next attempt, such as an answer, resets the connection.
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().cutter.clone()
    }
}

/// A TCP connection with a [`Cutter`], which an outage ends.
pub(crate) struct Connection {
    stream: TcpStream,
    cutter: Cutter,
    token: CancellationToken,
    outage: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.token.is_cancelled() || self.cutter.0.load(Ordering::Acquire) {
            // Closing without lingering sends RST instead of FIN.
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.outage.as_mut().poll(context).is_ready() {
            self.check()?;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
