//! A gateway, the stand-in Desk behind it, and a client's view of both.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use deskgate::grpc::pb;
use deskgate::grpc::pb::event_service_client::EventServiceClient;
use deskgate::grpc::pb::ticket_service_client::TicketServiceClient;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Channel;

/// What any single wait may take before a test is called hung; never what a test asserts.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The webhook token of every test gateway.
pub(crate) const TOKEN: &str = "t0ken-of-the-tests";
/// The bot's key, as the stand-in Desk wants it.
pub(crate) const KEY: &str = "c3Vwb3J0ZTprZXk=";

/// A process of ours whose log is read as it comes.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    /// What it wrote to its addresses file.
    pub(crate) addresses: Value,
}

impl Process {
    /// Starts `deskgate ARGS` and waits until it says it is ready.
    pub(crate) fn start(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn(folder, args, environment);
        process.wait_for_log("ready");
        let file = process.addresses_file(folder, args);
        process.addresses = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        process
    }

    /// Starts `deskgate ARGS` and waits for nothing.
    pub(crate) fn spawn(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
        let file = folder.join(format!("{}.addresses.json", args.first().unwrap()));
        let _ = fs::remove_file(&file);
        command.args(args).arg("--addresses-file").arg(&file).args(["--log-format", "json"]);
        command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, seen: Vec::new(), addresses: Value::Null }
    }

    fn addresses_file(&self, folder: &Path, args: &[&str]) -> PathBuf {
        assert!(!self.seen.is_empty());
        folder.join(format!("{}.addresses.json", args.first().unwrap()))
    }

    /// Blocks until a log line contains `text`, and answers the line.
    pub(crate) fn wait_for_log(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no log line with {text:?} ({error}):\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Waits for a log line that contains `text`, unless there was one already.
    pub(crate) fn logged(&mut self, text: &str) {
        if !self.seen.iter().any(|line| line.contains(text)) {
            self.wait_for_log(text);
        }
    }

    /// Everything it has logged, once it has ended.
    pub(crate) fn rest_of_log(&mut self) -> String {
        self.seen.extend(self.lines.iter());
        self.seen.join("\n")
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Its id, as the system counts processes.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// One of the addresses it listens on.
    pub(crate) fn address(&self, name: &str) -> String {
        self.addresses[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.addresses)).to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.rest_of_log();
            let start = log.len().saturating_sub(6_000);
            eprintln!("--- the end of a process's log ---\n{}", log.get(start..).unwrap_or(&log));
        }
    }
}

/// A gateway for the bot `suporte`, wired to a stand-in Desk.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) desk: Process,
    pub(crate) gateway: Process,
    pub(crate) http: reqwest::Client,
    key: &'static str,
}

impl World {
    /// Both processes, on ports of their own.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// The same, with more in the configuration file.
    pub(crate) async fn with(more: &str) -> Self {
        Self::with_key(more, KEY).await
    }

    /// The same, with another key for Blip.
    pub(crate) async fn with_key(more: &str, key: &'static str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let desk = Self::stand_in(folder.path(), "127.0.0.1:0");
        fs::write(folder.path().join("deskgate.toml"), configuration(&desk.address("desk"), more)).unwrap();
        let gateway = Self::serve(folder.path(), key);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let world = Self { folder, desk, gateway, http, key };
        world.point_desk_at_gateway().await;
        world
    }

    pub(crate) fn stand_in(folder: &Path, address: &str) -> Process {
        Process::start(
            folder,
            &["sandbox", "--desk-only", "--desk-listen", address, "--control-listen", "127.0.0.1:0"],
            &[("DESKGATE_SANDBOX_KEY", KEY), ("DESKGATE_SANDBOX_IDENTITY", "suporte@msging.net")],
        )
    }

    /// Starts an empty stand-in Desk where an earlier one listened, after it was killed.
    pub(crate) async fn restart_desk(&mut self, address: &str) {
        self.desk = Self::stand_in(self.folder.path(), address);
        self.point_desk_at_gateway().await;
    }

    fn serve(folder: &Path, key: &str) -> Process {
        Process::start(
            folder,
            &["serve", "--config", "deskgate.toml"],
            &[("SUPORTE_BLIP_KEY", key), ("SUPORTE_WEBHOOK_TOKEN", TOKEN)],
        )
    }

    async fn point_desk_at_gateway(&self) {
        let target = json!({
            "url": self.webhook_url(), "header_name": "Authorization", "header_value": format!("Key {TOKEN}"),
        });
        let answer = self.http.put(self.desk_url("/webhook")).body(target.to_string());
        assert!(answer.send().await.unwrap().status().is_success());
    }

    /// Starts the gateway again over the same disk, after it was stopped or killed.
    pub(crate) async fn restart(&mut self) {
        self.gateway = Self::serve(self.folder.path(), self.key);
        self.point_desk_at_gateway().await;
    }

    pub(crate) fn webhook_url(&self) -> String {
        format!("http://{}/webhooks/suporte", self.gateway.address("webhook"))
    }

    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address("admin"))
    }

    /// Blip's side of the stand-in Desk.
    pub(crate) fn blip_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.desk.address("desk"))
    }

    /// The stand-in Desk's control side, which stays up while the Desk is off.
    pub(crate) fn desk_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.desk.address("control"))
    }

    /// Posts a webhook as Blip does; answers the status.
    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> u16 {
        let request = self.http.post(self.webhook_url()).header("Authorization", format!("Key {TOKEN}"));
        request.header("Content-Type", "application/json").body(body).send().await.unwrap().status().as_u16()
    }

    /// Asks the stand-in Desk's control side.
    pub(crate) async fn desk(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(self.desk_url(path)).body(body.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Everything the stand-in Desk knows.
    pub(crate) async fn desk_state(&self) -> Value {
        let answer = self.http.get(self.desk_url("/state")).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// What the stand-in Desk knows of a customer.
    pub(crate) async fn customers_view(&self, customer: &str) -> Value {
        let answer = self.http.get(self.desk_url(&format!("/customers/{customer}"))).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.gateway.address("grpc"))).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel().await)
    }

    pub(crate) async fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(self.channel().await)
    }

    /// Every event from the beginning to the newest.
    pub(crate) async fn all_events(&self) -> Vec<pb::Event> {
        self.read(pb::SubscribeRequest {
            start: Some(at(Position::Earliest(true))),
            stop_when_caught_up: true,
            view: pb::EventView::Raw.into(),
            ..pb::SubscribeRequest::default()
        })
        .await
    }

    /// The events of one stream that ends by itself.
    pub(crate) async fn read(&self, request: pb::SubscribeRequest) -> Vec<pb::Event> {
        let mut stream = self.events().await.subscribe(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            if let Some(Told::Event(event)) = response.message {
                events.push(event);
            }
        }
        events
    }

    /// Opens a customer's conversation; answers the customer and the ticket.
    pub(crate) async fn customer(&self, text: &str) -> (String, String) {
        let opened = self.desk("/customers", json!({"text": text})).await;
        assert_eq!(opened["delivery"]["http_status"], 200, "{opened}");
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        (text("customer_identity"), text("ticket_id"))
    }
}

/// A configuration for one bot, all ports free.
pub(crate) fn configuration(desk: &str, more: &str) -> String {
    // Whoever lays a fault, or counts questions, is not to meet those that nobody asked.
    let quiet = if more.contains("[reconcile]") { "" } else { "[reconcile]\nenabled = false" };
    format!(
        r#"
[webhook]
listen = "127.0.0.1:0"
[grpc]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[[bots]]
name = "suporte"
identity = "suporte@msging.net"
url = "http://{desk}"
key_env = "SUPORTE_BLIP_KEY"
webhook_token_env = ["SUPORTE_WEBHOOK_TOKEN"]
rates = {{ messages = 1000, notifications = 1000, commands = 1000 }}
{more}
{quiet}
"#
    )
}

/// A start position.
pub(crate) fn at(position: Position) -> pb::StartPosition {
    pb::StartPosition { position: Some(position) }
}

/// The `reason` of an error, and its metadata.
pub(crate) fn reason_of(status: &tonic::Status) -> (String, std::collections::HashMap<String, String>) {
    use tonic_types::StatusExt;
    let info = status.get_error_details().error_info().cloned();
    let info = info.unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "deskgate");
    (info.reason, info.metadata)
}

/// A text message as Blip posts it.
pub(crate) fn message(ticket: &str, id: &str, text: &str) -> String {
    json!({"type": "text/plain", "content": text, "id": format!("fwd:fwd:{id}"),
           "from": format!("{ticket}@desk.msging.net/Webhook")})
    .to_string()
}

/// A ticket document as Blip posts it.
pub(crate) fn ticket(id: &str, status: &str) -> String {
    json!({"type": "application/vnd.iris.ticket+json", "content": {
        "id": id, "sequentialId": 138, "ownerIdentity": "suporte@msging.net", "customerIdentity": "c@0mn.io",
        "customerDomain": "0mn.io", "provider": "Webhook", "status": status,
        "storageDate": "2019-11-08T20:15:59.415Z", "rating": 0, "unreadMessages": 0, "closed": false,
        "customerInput": {"type": "text/plain", "value": "Hello world!"}},
        "id": format!("Ticket:{id}:{status}"), "from": format!("{id}@desk.msging.net/Webhook")})
    .to_string()
}
