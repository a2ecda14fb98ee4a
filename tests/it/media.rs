//! `FetchMedia`: the bytes behind a link, with the bot's key for Blip alone, and nothing from where nobody may look.
//! The hosts are real ones of this test, and say what they saw.

use std::net::ToSocketAddrs as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use deskgate::grpc::pb;
use deskgate::grpc::pb::directory_service_client::DirectoryServiceClient;
use futures_util::stream;
use serde_json::json;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::support::{KEY, PATIENCE, World, reason_of};

/// Who came: the path they asked for, and the key they brought.
type Visit = (String, Option<String>);

/// A web server that tells who came.
struct Host {
    address: String,
    seen: Arc<Mutex<Vec<Visit>>>,
    /// Bytes of `/endless` that were taken from it.
    given: Arc<AtomicU64>,
}

impl Host {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let given = Arc::<AtomicU64>::default();
        let (log, count) = (Arc::clone(&seen), Arc::clone(&given));
        let router = Router::new().fallback(move |uri: Uri, headers: HeaderMap| {
            let key = headers.get(header::AUTHORIZATION).map(|key| key.to_str().unwrap().to_owned());
            log.lock().unwrap().push((uri.path().to_owned(), key.clone()));
            let answer = answer(&uri, key.as_deref(), &count);
            async move { answer }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen, given }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The keys that came, in order.
    fn keys(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().iter().map(|(_, key)| key.clone()).collect()
    }
}

fn answer(uri: &Uri, key: Option<&str>, given: &Arc<AtomicU64>) -> Response {
    let to = uri.query().unwrap_or_default().to_owned();
    match uri.path() {
        "/file" => ([(header::CONTENT_TYPE, "image/png")], "bytes").into_response(),
        "/keyed" if key == Some(&format!("Key {KEY}")) => "kept".into_response(),
        "/keyed" | "/never" => StatusCode::UNAUTHORIZED.into_response(),
        "/to" => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        "/loop" => (StatusCode::FOUND, [(header::LOCATION, "/loop")]).into_response(),
        "/gone" => StatusCode::GONE.into_response(),
        "/down" => StatusCode::BAD_GATEWAY.into_response(),
        "/large" => vec![b'x'; 3_000_000].into_response(),
        // Without a word of its size.
        "/untold" => Body::from_stream(chunks(50, Arc::default())).into_response(),
        "/endless" => Body::from_stream(chunks(u64::MAX, Arc::clone(given))).into_response(),
        "/broken" => Body::from_stream(stream::iter([
            Ok(Bytes::from_static(b"half")),
            Err(std::io::Error::other("cut")),
        ]))
        .into_response(),
        "/silent" => Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// So many chunks of 64 KiB, counted as they are taken.
fn chunks(count: u64, given: Arc<AtomicU64>) -> impl stream::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold(count, move |left| {
        let left = left.checked_sub(1);
        let chunk = left.map(|left| {
            given.fetch_add(64 << 10, Ordering::Relaxed);
            (Ok(Bytes::from(vec![b'x'; 64 << 10])), left)
        });
        async move { chunk }
    })
}

/// A file as it came: type, size and bytes; or why it did not.
type Fetched = Result<(String, i64, Vec<u8>), Status>;

impl World {
    /// The stand-in Desk, these hosts, and what else the configuration says of files. The bot `arquivos` has its API at
    /// the last host given, where any is.
    async fn with_media(hosts: &[&str], api: Option<&Host>, more: &str) -> Self {
        let bot = |api: &Host| {
            let url = api.url("");
            format!(
                "[[bots]]\nname = \"arquivos\"\nidentity = \"arquivos@msging.net\"\nurl = \"{url}\"\nkey_env = \"SUPORTE_BLIP_KEY\"\n"
            )
        };
        let bot = api.map(bot).unwrap_or_default();
        let text = format!("{bot}[media]\nhosts = {}\n{more}", json!(hosts));
        Self::with(&text).await
    }

    async fn fetch(&self, bot: &str, uri: &str, realm: &str) -> Fetched {
        let mut client = DirectoryServiceClient::new(self.channel().await);
        let request = pb::FetchMediaRequest {
            bot: bot.to_owned(),
            uri: uri.to_owned(),
            authorization_realm: realm.to_owned(),
        };
        let mut stream = client.fetch_media(request).await?.into_inner();
        let first = stream.message().await?.unwrap();
        assert!(first.chunk.is_empty());
        let mut bytes = Vec::new();
        while let Some(pb::FetchMediaResponse { mime_type, size_bytes, chunk }) = stream.message().await? {
            assert!(mime_type.is_empty() && size_bytes == 0 && (1..=64 << 10).contains(&chunk.len()));
            bytes.extend(chunk);
        }
        Ok((first.mime_type, first.size_bytes, bytes))
    }

    async fn fetch_error(&self, uri: &str) -> (Code, String, String) {
        let error = self.fetch("suporte", uri, "").await.unwrap_err();
        assert!(error.metadata().contains_key("x-request-id"), "{uri}: {error:?}");
        (error.code(), reason_of(&error).0, error.message().to_owned())
    }

    async fn media(&self, file: serde_json::Value) -> String {
        self.desk("/media", file).await["content"]["uri"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_whole_however_they_are_guarded() {
    let world = World::with_media(&["127.0.0.1"], None, "").await;
    let picture = world.media(json!({"size": 3_000_000, "type": "image/png"})).await;
    let (mime_type, size, bytes) = world.fetch("suporte", &picture, "").await.unwrap();
    assert_eq!((mime_type.as_str(), size, bytes.len()), ("image/png", 3_000_000, 3_000_000));
    assert!(bytes.iter().all(|byte| *byte == b'x'));
    let signed = world.media(json!({"text": "assinado", "guard": "signed"})).await;
    assert_eq!(world.fetch("", &signed, "").await.unwrap().2, b"assinado");
    let keyed = world.media(json!({"text": "da chave", "guard": "keyed"})).await;
    for realm in ["blip", "Blip", ""] {
        assert_eq!(world.fetch("", &keyed, realm).await.unwrap().2, b"da chave", "{realm}");
    }
    let expired = world.media(json!({"text": "velho", "guard": "signed", "expired": true})).await;
    let error = world.fetch("", &expired, "").await.unwrap_err();
    let (reason, metadata) = reason_of(&error);
    assert_eq!(
        (error.code(), reason.as_str(), metadata["http_status"].as_str()),
        (Code::NotFound, "MEDIA_NOT_FOUND", "403")
    );
    assert!(!error.message().contains("sig="), "{error:?}");
    let request = pb::RefreshMediaRequest { uri: expired.clone(), ..Default::default() };
    let refreshed = DirectoryServiceClient::new(world.channel().await).refresh_media(request).await.unwrap();
    assert_eq!(world.fetch("", &refreshed.into_inner().uri, "").await.unwrap().2, b"velho");
    let empty = world.media(json!({"text": ""})).await;
    assert_eq!(world.fetch("", &empty, "").await.unwrap().2, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_hosts_are_asked() {
    let (listed, other) = (Host::start().await, Host::start().await);
    let world = World::with_media(&[&listed.address, "*.msging.net", "localhost:1"], None, "").await;
    assert_eq!(world.fetch("", &listed.url("/file"), "").await.unwrap().2, b"bytes");
    let port = other.address.rsplit(':').next().unwrap();
    for uri in [
        other.url("/file"),
        format!("http://localhost:{port}/file"),
        format!("http://[::ffff:127.0.0.1]:{port}/file"),
        format!("http://2130706433:{port}/file"),
        format!("http://media.msging.net:{port}/file"),
        format!("https://media.msging.net@127.0.0.1:{port}/file"),
        format!("ftp://127.0.0.1:{port}/file"),
        "http://media.msging.net/file".to_owned(),
        "https://evil.example.com/file".to_owned(),
        "https://10.0.0.1/file".to_owned(),
        "https://192.168.0.1/file".to_owned(),
        "https://169.254.169.254/latest/meta-data/iam/".to_owned(),
        "https://[fd00:ec2::254]/latest/".to_owned(),
        "https://[fe80::1]/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "not a link".to_owned(),
        String::new(),
    ] {
        let error = world.fetch("suporte", &uri, "blip").await.unwrap_err();
        let (reason, _) = reason_of(&error);
        assert_eq!(
            (error.code(), reason.as_str()),
            (Code::InvalidArgument, "INVALID_FIELD"),
            "{uri}: {error:?}"
        );
        assert!(error.message().starts_with("uri: "), "{uri}: {error:?}");
    }
    assert_eq!(other.keys(), [], "nobody came");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_checked_anew() {
    let (listed, other) = (Host::start().await, Host::start().await);
    let world = World::with_media(&[&listed.address], None, "").await;
    let to = |target: &str| listed.url(&format!("/to?{target}"));
    assert_eq!(world.fetch("", &to("/file"), "").await.unwrap().2, b"bytes", "within the host");
    assert_eq!(world.fetch("", &to(&listed.url("/to?/file")), "").await.unwrap().2, b"bytes");
    for target in [
        other.url("/file"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "http://[::1]:1/".to_owned(),
        "//127.0.0.1:1/file".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let (code, reason, message) = world.fetch_error(&to(&target)).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{target}: {message}");
        assert!(message.starts_with("uri: redirects: "), "{target}: {message}");
    }
    assert_eq!(other.keys(), [], "nobody came");
    let (code, reason, _) = world.fetch_error(&listed.url("/loop")).await;
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "BLIP_UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn even_blip_may_not_send_us_inside() {
    let world = World::with_media(&["127.0.0.1"], None, "").await;
    let uri = world.media(json!({"text": "x"})).await;
    let fault = json!({"on": "media", "kind": "redirect", "location": "http://192.168.0.1/"});
    world.desk("/faults", fault).await;
    assert_eq!(world.fetch_error(&uri).await.1, "INVALID_FIELD");
    assert_eq!(world.fetch("", &uri, "").await.unwrap().2, b"x", "once");
    let half = json!({"on": "media", "kind": "drop_after"});
    world.desk("/faults", half).await;
    let large = world.media(json!({"size": 1_000_000})).await;
    assert_eq!(world.fetch_error(&large).await.1, "BLIP_UNAVAILABLE", "half a file is none");
}

/// A name of this machine that leads to itself, and is not `localhost`.
fn name_of_this_machine() -> Option<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names = hosts
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.split_whitespace().skip(1));
    let mut names = names.map(str::to_owned).chain(["ip6-localhost".to_owned()]);
    names.find(|name| {
        let found: Vec<_> = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        *name != "localhost" && !found.is_empty() && found.iter().all(|address| address.ip().is_loopback())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_name_that_leads_inside_is_not_followed() {
    let Some(name) = name_of_this_machine() else {
        println!("no name of this machine leads to it: src/blip/media/tests.rs has to do");
        return;
    };
    let host = Host::start().await;
    let port = host.address.rsplit(':').next().unwrap();
    let world = World::with_media(&[&format!("{name}:{port}"), &host.address], None, "").await;
    let inside = format!("https://{name}:{port}/file");
    for uri in [inside.clone(), host.url(&format!("/to?{inside}"))] {
        let (code, reason, message) = world.fetch_error(&uri).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{message}");
        assert!(message.contains("leads to an address inside a private network"), "{message}");
    }
    let paths: Vec<_> = host.seen.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, ["/to"], "only the redirect itself was fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_goes_to_blip_alone() {
    let (api, other) = (Host::start().await, Host::start().await);
    let world = World::with_media(&["127.0.0.1"], Some(&api), "").await;
    let key = Some(format!("Key {KEY}"));
    // The bot's own API asks for it, or the link does.
    assert_eq!(world.fetch("arquivos", &api.url("/keyed"), "").await.unwrap().2, b"kept");
    assert_eq!(api.keys(), [None, key.clone()], "first without");
    assert_eq!(world.fetch("arquivos", &api.url("/keyed"), "blip").await.unwrap().2, b"kept");
    assert_eq!(world.fetch("arquivos", &api.url("/file"), "").await.unwrap().2, b"bytes");
    assert_eq!(api.keys()[2..], [key.clone(), None], "at once where the link asks; not where nobody does");
    let error = world.fetch("arquivos", &api.url("/never"), "blip").await.unwrap_err();
    let (reason, metadata) = reason_of(&error);
    assert_eq!((error.code(), reason.as_str()), (Code::FailedPrecondition, "BLIP_CREDENTIAL_REJECTED"));
    assert_eq!((metadata["bot"].as_str(), metadata["http_status"].as_str()), ("arquivos", "401"));

    // Others never get it: not if the link asks, not if they ask, not if Blip sends us there.
    for (bot, uri) in [
        ("arquivos", other.url("/keyed")),
        ("arquivos", api.url(&format!("/to?{}", other.url("/keyed")))),
        ("suporte", other.url("/keyed")),
        ("suporte", api.url("/keyed")),
    ] {
        for realm in ["blip", ""] {
            let error = world.fetch(bot, &uri, realm).await.unwrap_err();
            assert_eq!(reason_of(&error).0, "MEDIA_NOT_FOUND", "{bot} {uri} {realm}: {error:?}");
            assert!(error.message().contains("media.key_hosts"), "{error:?}");
        }
    }
    assert_eq!(other.keys(), vec![None; 6], "whoever is not Blip saw no key");
    // And back: who asked for it was not asked by the link.
    let back = other.url(&format!("/to?{}", api.url("/keyed")));
    let before = api.keys().len();
    assert_eq!(world.fetch("arquivos", &back, "blip").await.unwrap().2, b"kept");
    assert_eq!(api.keys()[before..], [None, key]);
    let error = world.fetch("arquivos", &api.url("/file"), "other").await.unwrap_err();
    assert_eq!(reason_of(&error).0, "INVALID_FIELD");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_is_told() {
    let host = Host::start().await;
    let more = "size_limit = \"1MiB\"\ntime_limit = \"1s\"";
    let world = World::with_media(&[&host.address, "127.0.0.1:1"], None, more).await;
    for (path, code, reason) in [
        ("/gone", Code::NotFound, "MEDIA_NOT_FOUND"),
        ("/nothing", Code::NotFound, "MEDIA_NOT_FOUND"),
        ("/never", Code::NotFound, "MEDIA_NOT_FOUND"),
        ("/down", Code::Unavailable, "BLIP_UNAVAILABLE"),
        ("/broken", Code::Unavailable, "BLIP_UNAVAILABLE"),
        ("/silent", Code::Unavailable, "BLIP_UNAVAILABLE"),
        ("/large", Code::ResourceExhausted, "MEDIA_TOO_LARGE"),
        ("/untold", Code::ResourceExhausted, "MEDIA_TOO_LARGE"),
    ] {
        let (is, why, message) = world.fetch_error(&host.url(path)).await;
        assert_eq!((is, why.as_str()), (code, reason), "{path}: {message}");
    }
    assert_eq!(world.fetch_error("http://127.0.0.1:1/file").await.1, "BLIP_UNAVAILABLE");
    let served = world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let counted = |code: &str| {
        let line = format!("deskgate_grpc_calls_total{{method=\"FetchMedia\",code=\"{code}\"}} ");
        served.lines().find_map(|is| is.strip_prefix(&line)).map(str::to_owned)
    };
    assert_eq!(counted("UNAVAILABLE").as_deref(), Some("4"));
    assert_eq!(
        (counted("NOT_FOUND").as_deref(), counted("RESOURCE_EXHAUSTED").as_deref()),
        (Some("3"), Some("2"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_at_its_readers_pace() {
    let host = Host::start().await;
    let more = "size_limit = \"4096MiB\"\nfetches_max = 2";
    let mut world = World::with_media(&[&host.address], None, more).await;
    let mut client = DirectoryServiceClient::new(world.channel().await);
    let request = pb::FetchMediaRequest { uri: host.url("/endless"), ..Default::default() };
    let mut slow = client.fetch_media(request.clone()).await.unwrap().into_inner();
    assert_eq!(slow.message().await.unwrap().unwrap().size_bytes, 0, "nobody told");
    // It is not read on, while others read 150 MB.
    for _ in 0..50 {
        assert_eq!(world.fetch("", &host.url("/large"), "").await.unwrap().2.len(), 3_000_000);
    }
    let given = host.given.load(Ordering::Relaxed);
    println!("a file that nobody reads: {given} bytes were taken from its host");
    assert!(given < 32 << 20, "{given} bytes are somewhere");

    let request = pb::FetchMediaRequest { uri: host.url("/silent"), ..Default::default() };
    let mut waiting = client.fetch_media(request.clone()).await.unwrap().into_inner();
    let error = client.fetch_media(request).await.unwrap_err();
    assert_eq!((error.code(), reason_of(&error).0.as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    drop(slow);

    // A planned stop lets go of what does not come, and says so.
    assert!(waiting.message().await.unwrap().is_some());
    world.gateway.signal("TERM");
    let error = timeout(PATIENCE, waiting.message()).await.unwrap().unwrap_err();
    assert_eq!((error.code(), reason_of(&error).0.as_str()), (Code::Unavailable, "STREAM_DRAINING"));
    assert!(world.gateway.wait().success());
}
