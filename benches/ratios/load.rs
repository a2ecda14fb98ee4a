//! The webhook load: closed-loop, keep-alive HTTP/1.1 over bare sockets, one request in flight a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::crew::{Board, Crew, THREADS};
use crate::webhooks::{self, Message};

/// The number of the next message, shared by all who post.
pub(crate) type Numbers = Arc<AtomicU64>;

/// How many connections post what has to be there before a measurement.
const FILLING_CONNECTIONS: usize = 32;

/// Posts messages over `connections` connections until the crew is told to stop.
pub(crate) fn start(address: SocketAddr, connections: usize, numbers: &Numbers) -> Result<Crew> {
    let numbers = Arc::clone(numbers);
    let crew = Crew::start(move |index, board| {
        let mine = share(connections, index);
        drive(address, mine, Arc::clone(&numbers), board)
    });
    crew.wait_ready(connections)?;
    Ok(crew)
}

/// How many of `total` the thread of this index takes.
pub(crate) fn share(total: usize, index: usize) -> usize {
    (total + THREADS - 1 - index) / THREADS
}

async fn drive(address: SocketAddr, connections: usize, numbers: Numbers, board: Board) -> Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(post_until_stopped(address, Arc::clone(&numbers), board.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn post_until_stopped(address: SocketAddr, numbers: Numbers, board: Board) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let mut message = Message::requests()?;
    board.ready();
    while !board.is_stopped() {
        let request = message.number(numbers.fetch_add(1, Ordering::Relaxed));
        match connection.post(request).await? {
            200 => board.add(1),
            503 => board.refuse(),
            status => bail!("a webhook was answered {status}"),
        }
    }
    Ok(())
}

/// Posts the documents of all tickets, so that the messages that follow belong to known ones.
pub(crate) fn seed_tickets(address: SocketAddr) -> Result<()> {
    let requests = (0..webhooks::TICKETS).map(|number| webhooks::request(&webhooks::ticket_body(number)));
    post_all(address, requests.collect())
}

/// Posts this many messages.
pub(crate) fn post_messages(address: SocketAddr, count: u64) -> Result<()> {
    let mut message = Message::requests()?;
    post_all(address, (0..count).map(|number| message.number(number).to_vec()).collect())
}

fn post_all(address: SocketAddr, requests: Vec<Vec<u8>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let mut requests = requests.into_iter();
        let share = requests.len().div_ceil(FILLING_CONNECTIONS);
        for _ in 0..FILLING_CONNECTIONS {
            let mine: Vec<_> = requests.by_ref().take(share).collect();
            tasks.spawn(async move {
                let mut connection = Connection::open(address).await?;
                for request in mine {
                    let status = connection.post(&request).await?;
                    ensure!(status == 200, "a webhook was answered {status}");
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    })
}

/// Connections that post one message each, all at the same time.
#[derive(Debug)]
pub(crate) struct Posters {
    runtime: tokio::runtime::Runtime,
    connections: Vec<(Connection, Message)>,
}

impl Posters {
    pub(crate) fn open(address: SocketAddr, connections: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = runtime.block_on(async {
            let mut opened = Vec::new();
            for _ in 0..connections {
                opened.push((Connection::open(address).await?, Message::requests()?));
            }
            anyhow::Ok(opened)
        })?;
        Ok(Self { runtime, connections })
    }

    /// Posts one message over each connection; returns once all are answered.
    pub(crate) fn post_each(&mut self, numbers: &Numbers) -> Result<()> {
        let posts = self.connections.iter_mut().map(|(connection, message)| async {
            let status = connection.post(message.number(numbers.fetch_add(1, Ordering::Relaxed))).await?;
            ensure!(status == 200, "a webhook was answered {status}");
            Ok(())
        });
        self.runtime.block_on(try_join_all(posts)).map(|_| ())
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let socket =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(2048) })
    }

    /// Sends a request and waits for the whole answer; tells its status.
    pub(crate) async fn post(&mut self, request: &[u8]) -> Result<u16> {
        self.socket.write_all(request).await?;
        self.buffer.clear();
        loop {
            let read = self.socket.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed a connection");
            if let Some(status) = whole_answer(&self.buffer)? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer, once it is here with its body.
fn whole_answer(bytes: &[u8]) -> Result<Option<u16>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(bytes.get(..head).unwrap_or_default())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
    Ok((bytes.len() >= head + 4 + length).then_some(status))
}
