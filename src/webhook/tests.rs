//! The answers Blip gets, first without and then with sockets.

use std::sync::Mutex;

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::BotKeys;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Keeps what it is given, and answers as told.
struct Fake {
    answer: Result<Accepted, AppendError>,
    received: Mutex<Vec<Received>>,
    /// A permit is one webhook that may finish.
    gate: Semaphore,
    elsewhere: Mutex<Vec<(Arc<str>, String)>>,
}

struct World {
    webhook: Arc<Webhook<Arc<Fake>>>,
    fake: Arc<Fake>,
    shutdown: Shutdown,
    registry: Registry,
}

impl Accept for Arc<Fake> {
    async fn accept(&self, received: Received) -> Result<Accepted, AppendError> {
        self.received.lock().unwrap().push(received);
        self.gate.acquire().await.unwrap().forget();
        self.answer.clone()
    }

    fn token_elsewhere(&self, bot: &Arc<str>, header: &str) {
        self.elsewhere.lock().unwrap().push((Arc::clone(bot), header.to_owned()));
    }
}

fn world(answer: Result<Accepted, AppendError>) -> World {
    let bot = |bot: &str, tokens: &[&str]| BotKeys {
        bot: bot.into(),
        headers: vec![http::header::AUTHORIZATION],
        tokens: tokens.iter().map(|token| SecretString::from(*token)).collect(),
    };
    let keys = Arc::new(Keys::new(vec![bot("suporte", &["s3cret", "a/b c"]), bot("aberto", &[])]));
    let (mut registry, shutdown) = (Registry::default(), Shutdown::new());
    let metrics = WebhookMetrics::register(&mut registry);
    let (received, elsewhere) = (Mutex::default(), Mutex::default());
    let fake = Arc::new(Fake { answer, received, gate: Semaphore::new(1000), elsewhere });
    let webhook =
        Webhook::new(Arc::clone(&fake), keys, 64, metrics, shutdown.clone(), Uuid::from_u64_pair(7, 1));
    World { webhook: Arc::new(webhook), fake, shutdown, registry }
}

fn accepting() -> World {
    world(Ok(Accepted::Event("message.customer")))
}

fn post(path: &str) -> http::request::Builder {
    Request::post(path).header("authorization", "Key s3cret")
}

impl World {
    async fn send(
        &self,
        request: http::request::Builder,
        body: &'static str,
    ) -> (http::response::Parts, String) {
        let response =
            self.webhook.handle(request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap());
        let (parts, body) = response.await.into_parts();
        (parts, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn status(&self, request: http::request::Builder, body: &'static str) -> u16 {
        self.send(request, body).await.0.status.as_u16()
    }

    fn counted(&self, bot: &str, outcome: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = format!("webhooks_total{{bot=\"{bot}\",outcome=\"{outcome}\"}} ");
        text.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }

    async fn serve(&self) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = serve(listener, Arc::clone(&self.webhook), self.shutdown.clone(), stop.clone());
        (address, stop, self.shutdown.spawn(serving))
    }
}

/// Writes bytes, and reads until the answer has `end` in it or the connection ends.
async fn talk(socket: &mut TcpStream, bytes: &[u8], end: &str) -> String {
    socket.write_all(bytes).await.unwrap();
    let (mut said, mut buffer) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&said).contains(end) {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => said.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8(said).unwrap()
}

fn raw(length: usize, body: &str) -> Vec<u8> {
    format!(
        "POST /webhooks/suporte HTTP/1.1\r\nhost: a\r\nauthorization: s3cret\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn what_is_durable_gets_an_empty_200() {
    let world = accepting();
    let request = post("/webhooks/suporte?x=1").header("x-request-id", "abc").header("traceparent", TRACE);
    let (parts, body) = world.send(request, "{}").await;
    assert_eq!((parts.status.as_u16(), body.as_str()), (200, ""));
    assert_eq!(parts.headers["x-request-id"], "abc");
    let received = world.fake.received.lock().unwrap().pop().unwrap();
    assert_eq!(
        (&*received.bot, &received.body[..], received.traceparent.as_str()),
        ("suporte", &b"{}"[..], TRACE)
    );
    assert_eq!(world.counted("suporte", "accepted"), 1);
}

#[tokio::test]
async fn content_is_never_refused() {
    for (answer, outcome) in [(Accepted::Duplicate, "duplicate"), (Accepted::Quarantined, "quarantined")] {
        let world = world(Ok(answer));
        assert_eq!(
            world.status(post("/webhooks/suporte").header("traceparent", "junk"), "no JSON").await,
            200
        );
        assert_eq!(world.fake.received.lock().unwrap()[0].traceparent, "");
        assert_eq!(world.status(post("/webhooks/suporte"), "").await, 200);
        assert_eq!(world.counted("suporte", outcome), 2);
    }
}

#[tokio::test]
async fn the_key_may_stand_in_the_path() {
    let world = accepting();
    for path in
        ["/webhooks/suporte/s3cret", "/webhooks/suporte/a/b%20c", "/webhooks/aberto", "/webhooks/aberto/"]
    {
        assert_eq!(world.status(Request::post(path), "{}").await, 200, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_key_and_an_unknown_bot_are_401_and_bounded_in_metrics() {
    let world = accepting();
    for path in
        ["/webhooks/suporte", "/webhooks/suporte/", "/webhooks/suporte/wrong", "/webhooks/vendas/s3cret"]
    {
        assert_eq!(world.status(Request::post(path), "{}").await, 401, "{path}");
    }
    assert!(world.fake.received.lock().unwrap().is_empty());
    assert_eq!((world.counted("suporte", "denied"), world.counted("unknown", "denied")), (3, 1));
    assert_eq!(world.counted("vendas", "denied"), 0);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &world.registry).unwrap();
    assert!(!text.contains("bot=\"unknown\",outcome=\"accepted\""), "what cannot be is no series");
}

#[tokio::test]
async fn a_key_in_another_header_is_401_and_told() {
    let world = accepting();
    let request = |value| Request::post("/webhooks/suporte").header("x-other", value);
    assert_eq!(world.status(request("Key wrong"), "{}").await, 401);
    assert!(world.fake.elsewhere.lock().unwrap().is_empty());
    let (parts, body) = world.send(request("Key s3cret"), "{}").await;
    assert_eq!(
        (parts.status.as_u16(), body.as_str()),
        (401, "no valid key for this bot\n"),
        "as for any other"
    );
    assert_eq!(*world.fake.elsewhere.lock().unwrap(), [("suporte".into(), "x-other".to_owned())]);
    assert_eq!(world.counted("suporte", "denied"), 2);
    assert!(world.fake.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn too_large_a_body_is_413() {
    let world = accepting();
    let long = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    assert_eq!(world.status(post("/webhooks/suporte"), &long[..64]).await, 200);
    assert_eq!(world.status(post("/webhooks/suporte"), long).await, 413);
    assert_eq!(world.status(post("/webhooks/suporte").header("content-length", "65"), "").await, 413);
    assert_eq!(world.status(Request::post("/webhooks/suporte"), long).await, 401);
    assert_eq!(world.counted("suporte", "too_large"), 2);
}

#[tokio::test]
async fn what_cannot_be_stored_is_503_with_a_time() {
    let text = String::new;
    for (error, seconds) in [
        (AppendError::Busy, "1"),
        (AppendError::Full, "30"),
        (AppendError::Unavailable(text()), "5"),
        (AppendError::Unknown(text()), "5"),
    ] {
        let world = world(Err(error));
        let (parts, body) = world.send(post("/webhooks/suporte"), "{}").await;
        assert_eq!((parts.status.as_u16(), parts.headers["retry-after"].to_str().unwrap()), (503, seconds));
        assert_eq!(body.lines().count(), 1);
        assert_eq!(world.counted("suporte", "unavailable"), 1);
    }
}

#[tokio::test]
async fn other_paths_and_methods() {
    let world = accepting();
    for path in ["/", "/webhooks", "/webhooks/", "/webhooks//s3cret", "/other"] {
        assert_eq!(world.status(post(path), "").await, 404, "{path}");
    }
    let (parts, _) = world.send(Request::get("/webhooks/suporte"), "").await;
    assert_eq!((parts.status.as_u16(), parts.headers["allow"].to_str().unwrap()), (405, "POST"));
}

#[tokio::test]
async fn an_unfit_request_id_is_replaced_and_ours_are_unique() {
    let world = accepting();
    let id = async |given: &str| {
        let request = post("/webhooks/suporte").header("x-request-id", given);
        world.send(request, "").await.0.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    let ids = [id("").await, id("a b").await, id(&"x".repeat(129)).await];
    assert_eq!(ids, ["0000000000000001-0", "0000000000000001-1", "0000000000000001-2"]);
}

#[tokio::test]
async fn a_stop_refuses_new_webhooks_and_finishes_accepted_ones() {
    let world = accepting();
    world.fake.gate.forget_permits(1000);
    let (address, stop, serving) = world.serve().await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(&raw(2, "{}")).await.unwrap();
    while world.fake.received.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    world.shutdown.soft().cancel();
    let mut second = TcpStream::connect(address).await.unwrap();
    let said = talk(&mut second, &raw(2, "{}"), "again").await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 5"), "{said}");
    let drained = world.webhook.drained();
    tokio::pin!(drained);
    assert!(futures_util::poll!(drained.as_mut()).is_pending());
    world.fake.gate.add_permits(1);
    assert!(talk(&mut first, b"", "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    drained.await;
    stop.cancel();
    serving.await.unwrap();
    assert_eq!(talk(&mut second, b"", "never").await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn one_connection_carries_many_and_an_early_answer_arrives_whole() {
    let world = accepting();
    let (address, stop, serving) = world.serve().await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        assert!(talk(&mut socket, &raw(2, "{}"), "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    }
    let said = talk(&mut socket, &raw(1_000_000, &"x".repeat(1_000_000)), "large").await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    assert!(talk(&mut socket, &raw(2, "{}"), "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing() {
    let world = accepting();
    let (address, stop, serving) = world.serve().await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&raw(50, "{")).await.unwrap();
    drop(socket);
    let mut socket = TcpStream::connect(address).await.unwrap();
    assert!(talk(&mut socket, &raw(2, "{}"), "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert_eq!(world.fake.received.lock().unwrap().len(), 1);
    drop(socket);
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port() {
    let world = accepting();
    let (address, stop, serving) = world.serve().await;
    let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    let driving = world.shutdown.spawn(connection);
    let request = post(&format!("http://{address}/webhooks/suporte"));
    let response =
        sender.send_request(request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    drop(sender);
    stop.cancel();
    serving.await.unwrap();
    driving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_hard_token_ends_what_still_runs() {
    let world = accepting();
    world.fake.gate.forget_permits(1000);
    let (address, _stop, serving) = world.serve().await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&raw(2, "{}")).await.unwrap();
    world.shutdown.hard().cancel();
    serving.await.unwrap();
}
