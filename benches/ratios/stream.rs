//! The reading side: a bare HTTP/2 client that counts gRPC messages and decodes none. The same for ours and for
//! the yardsticks, so what it costs weighs on both alike.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use crate::crew::{Board, Crew};
use crate::load::share;

/// What one stream may have under way unread; what usual gRPC clients grow to.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for a connection of a hundred streams and more.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Bytes before each gRPC message: a flag and a length.
const PREFIX: usize = 5;

/// How often a crew looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A request as it goes over the wire.
pub(crate) fn framed(request: &impl Message) -> Result<Bytes> {
    let length = u32::try_from(request.encoded_len())?;
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(length);
    request.encode(&mut framed)?;
    Ok(framed.freeze())
}

/// One HTTP/2 connection, driven by the runtime it was opened on.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    requests: SendRequest<Bytes>,
}

impl Channel {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let socket =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Bytes>(socket)
            .await?;
        // Ends with the connection; an error shows in every stream.
        let _detached = tokio::spawn(connection);
        Ok(Self { requests })
    }

    /// Opens a stream; returns once its headers are here.
    pub(crate) async fn subscribe(&self, request: Bytes) -> Result<Subscription> {
        self.open("http://localhost/deskgate.v1.EventService/Subscribe", request).await
    }

    /// Calls a method that gives one answer; returns once that is here with the end, any end but `OK` is an error.
    pub(crate) async fn call(&self, method: &str, request: Bytes) -> Result<()> {
        let mut answer = self.open(method, request).await?;
        let messages = answer.drain().await?;
        ensure!(messages == 1, "a call was answered by {messages} messages");
        Ok(())
    }

    async fn open(&self, method: &str, request: Bytes) -> Result<Subscription> {
        let mut requests = self.requests.clone().ready().await?;
        let head = Request::post(method)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (answer, mut body) = requests.send_request(head, false)?;
        body.send_data(request, true)?;
        let answer = answer.await?;
        ensure!(answer.status() == StatusCode::OK, "a stream was answered {}", answer.status());
        if answer.headers().contains_key("grpc-status") {
            bail!("a stream was refused: {:?}", answer.headers());
        }
        Ok(Subscription { body: answer.into_body(), count: Counter::default() })
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Subscription {
    body: RecvStream,
    count: Counter,
}

/// One DATA frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// How many messages end in it.
    pub(crate) messages: u64,
}

impl Subscription {
    /// The next frame; `None` once the stream has ended with `OK`, any other end is an error.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>> {
        let Some(bytes) = self.body.data().await else {
            return match self.body.trailers().await? {
                Some(trailers) if is_ok(&trailers) => Ok(None),
                end => bail!("a stream ended with {end:?}"),
            };
        };
        let bytes = bytes?;
        self.body.flow_control().release_capacity(bytes.len())?;
        let messages = self.count.feed(&bytes);
        Ok(Some(Frame { bytes, messages }))
    }

    /// Reads to the end.
    pub(crate) async fn drain(&mut self) -> Result<u64> {
        let mut messages = 0;
        while let Some(frame) = self.frame().await? {
            messages += frame.messages;
        }
        Ok(messages)
    }
}

fn is_ok(trailers: &HeaderMap) -> bool {
    trailers.get("grpc-status").is_some_and(|status| status == "0")
}

/// Takes one whole message with its prefix off the front.
pub(crate) fn split_message(bytes: &mut Bytes) -> Option<Bytes> {
    let [_flag, length @ ..] = *bytes.first_chunk::<PREFIX>()?;
    let whole = PREFIX + usize::try_from(u32::from_be_bytes(length)).ok()?;
    (whole <= bytes.len()).then(|| bytes.split_to(whole))
}

/// Counts messages in a stream of bytes by their prefixes alone.
#[derive(Debug, Default)]
struct Counter {
    prefix: [u8; PREFIX],
    /// How much of the prefix is here.
    have: usize,
    /// How much of the message is still to come.
    missing: usize,
}

impl Counter {
    fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let mut messages = 0;
        loop {
            if self.have < PREFIX {
                let Some((byte, rest)) = bytes.split_first() else { return messages };
                if let Some(place) = self.prefix.get_mut(self.have) {
                    *place = *byte;
                }
                (self.have, bytes) = (self.have + 1, rest);
                if self.have < PREFIX {
                    continue;
                }
                let [_flag, length @ ..] = self.prefix;
                self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            }
            let here = self.missing.min(bytes.len());
            bytes = bytes.get(here..).unwrap_or_default();
            self.missing -= here;
            if self.missing > 0 {
                return messages;
            }
            (self.have, messages) = (0, messages + 1);
        }
    }
}

/// What each stream of a fleet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Reads to the end, and begins again. All begin at once.
    Repeat,
    /// Stays open and reads whatever comes. All begin at once.
    StayAtOnce,
    /// The same, but on each connection one begins after the other.
    StayInTurn,
}

/// A crew of streams: how many connections, how many streams in all, what each asks and does.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) request: Bytes,
    pub(crate) habit: Habit,
    /// A stream has begun once it has a first message, not with its headers already.
    pub(crate) greeted: bool,
}

impl Fleet {
    /// Opens the streams and keeps them until the crew is told to stop.
    pub(crate) fn sail(&self, address: SocketAddr) -> Result<Crew> {
        let fleet = self.clone();
        let crew = Crew::start(move |index, board| {
            let mut mine = fleet.clone();
            mine.connections = share(fleet.connections, index);
            mine.streams = fleet.streams * mine.connections / fleet.connections;
            mine.run(address, board)
        });
        crew.wait_ready(self.streams)?;
        Ok(crew)
    }

    async fn run(self, address: SocketAddr, board: Board) -> Result<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let channel = Channel::connect(address).await?;
            let streams = self.streams / self.connections;
            tasks.spawn(self.clone().open(channel, streams, board.clone()));
        }
        while !board.is_stopped() {
            tokio::select! {
                Some(ended) = tasks.join_next() => ended??,
                () = sleep(LOOK_EVERY) => {}
            }
        }
        Ok(())
    }

    /// Opens what belongs to one connection, and waits for it.
    async fn open(self, channel: Channel, streams: usize, board: Board) -> Result<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            let stream = match self.habit {
                Habit::StayInTurn => Some(self.begin(&channel).await?),
                Habit::StayAtOnce | Habit::Repeat => None,
            };
            tasks.spawn(self.clone().follow(channel.clone(), stream, board.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn begin(&self, channel: &Channel) -> Result<Subscription> {
        let mut stream = channel.subscribe(self.request.clone()).await?;
        if self.greeted {
            stream.frame().await?.context("a stream ended before its first message")?;
        }
        Ok(stream)
    }

    async fn follow(self, channel: Channel, stream: Option<Subscription>, board: Board) -> Result<()> {
        let mut stream = match stream {
            Some(stream) => stream,
            None => self.begin(&channel).await?,
        };
        board.ready();
        loop {
            while let Some(frame) = stream.frame().await? {
                board.add(frame.messages);
            }
            ensure!(self.habit == Habit::Repeat, "a stream that should stay ended");
            stream = self.begin(&channel).await?;
        }
    }
}
