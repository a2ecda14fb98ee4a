//! A sandbox over real HTTP, with a small gateway to post to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sandbox::{BotConfig, Config, Handle, Sandbox, WebhookConfig, client};

/// What a gateway got: bodies, with the value of the header that proves the poster.
pub(crate) type Inbox = Arc<Mutex<Vec<(String, String)>>>;

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// The control side's own address.
    pub(crate) control: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) inbox: Inbox,
    pub(crate) cancel: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) handle: Handle,
}

impl World {
    pub(crate) async fn start() -> Self {
        let (inbox, cancel, tracker) = (Inbox::default(), CancellationToken::new(), TaskTracker::new());
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks/sandbox", gateway.local_addr().unwrap());
        let seen = Arc::clone(&inbox);
        let receive = move |headers: HeaderMap, body: Bytes| async move {
            let token = headers.get("x-token").map(|value| value.to_str().unwrap().to_owned());
            seen.lock().unwrap().push((String::from_utf8(body.to_vec()).unwrap(), token.unwrap_or_default()));
        };
        let routes = Router::new().route("/webhooks/{bot}", post(receive));
        let stop = cancel.clone();
        tracker.spawn(async move {
            let serving = axum::serve(gateway, routes).with_graceful_shutdown(stop.cancelled_owned());
            serving.await.unwrap();
        });
        let sandbox = Sandbox::bind(Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            control_listen: Some("127.0.0.1:0".parse().unwrap()),
            bot: BotConfig { key: "Key secret".into(), ..Config::default().bot },
            webhook: Some(WebhookConfig { url, header: Some(("x-token".into(), "t".into())) }),
            seed: Some(1),
            ..Config::default()
        })
        .await
        .unwrap();
        let (address, handle) = (sandbox.local_addr(), sandbox.handle());
        let control = sandbox.control_addr().unwrap();
        let stop = cancel.clone();
        tracker.spawn(async move { sandbox.serve(stop).await.unwrap() });
        Self { address, control, client: client().unwrap(), inbox, cancel, tracker, handle }
    }

    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    pub(crate) async fn control(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call("POST", path, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Asks the control side where no outage reaches it.
    pub(crate) async fn lever(&self, method: &str, path: &str, body: &Value) -> Value {
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = self.client.request(method, format!("http://{}{path}", self.control));
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Carries out a command of this address, and gives the response.
    pub(crate) async fn command(&self, to: &str, method: &str, uri: &str, resource: &Value) -> Value {
        let envelope = json!({"id": "c", "to": format!("postmaster@{to}"), "method": method, "uri": uri,
                              "resource": resource});
        let (status, answer) = self.blip("/commands", &envelope).await.unwrap();
        assert_eq!(status, 200);
        answer
    }

    /// Posts an envelope as a gateway does.
    pub(crate) async fn blip(&self, path: &str, envelope: &Value) -> Result<(u16, Value), reqwest::Error> {
        let request = self.client.post(format!("http://{}{path}", self.address));
        let response =
            request.header("authorization", "Key secret").body(envelope.to_string()).send().await?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_slice(&response.bytes().await?).unwrap_or_default()))
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.inbox.lock().unwrap().iter().map(|(body, _)| body.clone()).collect()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let id =
            |body: String| serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned();
        self.bodies().into_iter().map(id).collect()
    }

    /// Waits until the gateway has got this many webhooks, and they are recorded.
    pub(crate) async fn webhooks(&self, count: usize) -> Vec<String> {
        let mut watch = self.handle.watch();
        while self.handle.shared.state().deliveries.len() < count {
            watch.changed().await.unwrap();
        }
        self.ids()
    }

    /// Opens a conversation: the customer, and the ticket.
    pub(crate) async fn open(&self) -> (String, String) {
        let opened = self.control("/customers", &json!({"text": "Hello world!"})).await;
        assert_eq!(opened["delivery"], json!({"status": "delivered", "http_status": 200}));
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        (text("customer_identity"), text("ticket_id"))
    }
}

pub(crate) fn assign(id: &str, ticket: &str) -> Value {
    json!({"id": id, "to": "postmaster@desk.msging.net", "method": "set", "uri": "/tickets/change-status",
           "type": "application/vnd.iris.ticket+json",
           "resource": {"id": ticket, "status": "Open", "agentIdentity": "maria%40example.com@blip.ai"}})
}
