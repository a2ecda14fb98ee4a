//! What streaming is compared with: HTTP/2 by hand, which sends frames that are ready, now or when told, or
//! nothing.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// More than any row opens on one connection.
const STREAMS_MAX: u32 = 100_000;

/// What every stream is sent after its headers.
#[derive(Debug, Clone)]
pub(super) enum Script {
    /// These, then the end.
    Frames(Arc<[Bytes]>),
    /// These each time the number changes, and no end.
    EachTime(Arc<[Bytes]>, watch::Receiver<u64>),
    /// Nothing, and no end.
    Nothing,
}

/// Writes frames down for [`read`].
pub(crate) fn write(file: &Path, frames: &[Bytes]) -> Result<()> {
    let mut text = Vec::new();
    for frame in frames {
        text.extend_from_slice(&u32::try_from(frame.len())?.to_be_bytes());
        text.extend_from_slice(frame);
    }
    Ok(std::fs::write(file, text)?)
}

pub(super) fn read(file: &Path) -> Result<Arc<[Bytes]>> {
    let mut rest = Bytes::from(std::fs::read(file)?);
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let head = rest.split_to_checked(4).context("half a length")?;
        let length = u32::from_be_bytes(head.as_ref().try_into()?);
        frames.push(rest.split_to_checked(usize::try_from(length)?).context("half a frame")?);
    }
    Ok(frames.into())
}

trait SplitChecked: Sized {
    fn split_to_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitChecked for Bytes {
    fn split_to_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_to(at))
    }
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, script: Script) -> Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let script = script.clone();
        // A connection that breaks concerns only its client, which says so.
        let _detached = tokio::spawn(serve_connection(socket, script));
    }
}

async fn serve_connection(socket: TcpStream, script: Script) -> Result<()> {
    let mut connection =
        h2::server::Builder::new().max_concurrent_streams(STREAMS_MAX).handshake::<_, Bytes>(socket).await?;
    let mut held: Vec<SendStream<Bytes>> = Vec::new();
    while let Some(request) = connection.accept().await {
        let (_request, mut answer) = request?;
        let script = match &script {
            Script::Nothing => {
                held.push(answer.send_response(head()?, false)?);
                continue;
            }
            Script::Frames(_) | Script::EachTime(..) => script.clone(),
        };
        let stream = answer.send_response(head()?, false)?;
        let _detached = tokio::spawn(perform(stream, script));
    }
    Ok(())
}

fn head() -> Result<Response<()>> {
    Ok(Response::builder().header("content-type", "application/grpc").body(())?)
}

async fn perform(mut stream: SendStream<Bytes>, script: Script) -> Result<()> {
    match script {
        Script::Nothing => {}
        Script::Frames(frames) => send(&mut stream, &frames).await?,
        Script::EachTime(frames, mut number) => loop {
            number.changed().await?;
            send(&mut stream, &frames).await?;
        },
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(stream.send_trailers(trailers)?)
}

/// Sends as hyper does: a frame is handed over as soon as there is any room for it.
async fn send(stream: &mut SendStream<Bytes>, frames: &[Bytes]) -> Result<()> {
    for frame in frames {
        stream.reserve_capacity(1);
        while stream.capacity() == 0 {
            std::future::poll_fn(|context| stream.poll_capacity(context)).await.context("closed")??;
        }
        stream.send_data(frame.clone(), false)?;
    }
    Ok(())
}
