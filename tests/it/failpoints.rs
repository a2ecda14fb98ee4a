//! A process that dies right before and right after each durable step of a command, and around the call to Blip: what
//! has taken effect, what the next process finds, and what a repetition under the same request id is told. The one that
//! dies is this test's own binary, started again, with the gateway's desk over a real store and real HTTP; it dies
//! where its store or its way to Blip is wrapped (`crash`), so nothing of this is in the gateway. Run with
//! `--nocapture` to read the table.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use deskgate::blip::BlipApi;
use deskgate::blip::http::{HttpBlip, client};
use deskgate::blip::metrics::BlipMetrics;
use deskgate::blip::policy::Rates;
use deskgate::clock::{SystemClock, SystemIds};
use deskgate::domain::translate::content_of;
use deskgate::domain::{Action, ActionRequest, CloseBy, Method, NewTicket, OutboundMessage, RawCommand};
use deskgate::gateway::desk::{CommandMetrics, Desk, DeskError, DeskParts, Done, QueueLimits};
use deskgate::lime::MediaType;
use deskgate::shutdown::Shutdown;
use deskgate::store::sqlite::{Config, SqliteLog};
use deskgate::store::{CommandKey, CommandRecord, CommandsWanted, EventLog, Ledger, Progress};
use http::HeaderValue;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{KEY, PATIENCE, Process, World};

mod crash;

use crash::{Crash, Step, When};

/// The environment variable that tells this binary where to die.
const TOLD: &str = "DESKGATE_TEST_FAILPOINT";
const METHODS: [&str; 8] =
    ["Assign", "Send", "Close", "Finish", "Transfer", "SetTags", "Create", "ExecuteCommand"];

fn action(method: &str, ticket_id: &str) -> Action {
    let customer_identity = format!("{ticket_id}@0mn.io");
    match method {
        "Assign" => Action::Assign { agent_identity: "ana%40empresa.com@blip.ai".to_owned() },
        "Send" => Action::Send(Box::new(OutboundMessage {
            content: content_of(&MediaType::new("text/plain"), json!("oi")),
            document: json!("oi"),
            metadata: Map::new(),
            agent_identity: String::new(),
        })),
        "Close" => {
            let (by, tags) = (CloseBy::Agent, Vec::new());
            Action::Close { by, tags, closed_by: String::new(), without_redirect: false }
        }
        "Finish" => Action::Finish { closed_by: String::new(), tags: Vec::new() },
        "Transfer" => Action::Transfer { team: "Vendas".to_owned(), agent_identity: String::new() },
        "SetTags" => Action::SetTags { tags: vec!["boleto".to_owned()] },
        "Create" => Action::Create(Box::new(NewTicket { customer_identity, ..NewTicket::default() })),
        "ExecuteCommand" => {
            let contact =
                ("application/vnd.lime.contact+json".to_owned(), json!({"identity": customer_identity}));
            Action::Execute(Box::new(RawCommand {
                method: Method::Merge,
                to: "postmaster@crm.msging.net".to_owned(),
                uri: "/contacts".to_owned(),
                resource: Some(contact),
            }))
        }
        other => panic!("{other}"),
    }
}

fn request(method: &str, ticket_id: &str, accept_only: bool) -> ActionRequest {
    let about = !matches!(method, "Create" | "ExecuteCommand");
    ActionRequest {
        bot: "suporte".to_owned(),
        ticket_id: if about { ticket_id.to_owned() } else { String::new() },
        action: action(method, ticket_id),
        principal: "crm".to_owned(),
        request_id: "once".to_owned(),
        if_ticket_sequence: 0,
        accept_only,
    }
}

/// A gateway's desk, without the rest of it.
struct Running {
    log: Arc<SqliteLog>,
    desk: Desk,
    shutdown: Shutdown,
}

impl Running {
    /// Over the store at `path`, before Blip at `url`; dies as `crash` says.
    fn start(path: &Path, url: &str, crash: Crash) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let log = Arc::new(SqliteLog::open(Config::new(path), clock.clone(), ids.clone()).unwrap());
        let key = HeaderValue::from_str(&format!("Key {KEY}")).unwrap();
        let metrics = BlipMetrics::register(&mut Registry::default());
        let rates = Rates { messages: 1_000, notifications: 1_000, commands: 1_000 };
        let blip = HttpBlip::new(
            "suporte",
            client().unwrap(),
            url,
            Arc::new(move || Some(key.clone())),
            rates,
            metrics,
        );
        let blip: Arc<dyn BlipApi> = Arc::new(crash.blip(Arc::new(blip)));
        let ledger: Arc<dyn Ledger> = Arc::new(crash.ledger(Arc::<SqliteLog>::clone(&log)));
        let events: Arc<dyn EventLog> = Arc::<SqliteLog>::clone(&log);
        let shutdown = Shutdown::new();
        let desk = Desk::new(DeskParts {
            log: events,
            ledger,
            bots: [("suporte".to_owned(), blip)].into(),
            clock,
            ids,
            shutdown: shutdown.clone(),
            metrics: CommandMetrics::register(&mut Registry::default()),
            queue: QueueLimits::default(),
        });
        Self { log, desk, shutdown }
    }

    async fn ask(&self, request: ActionRequest) -> Result<Done, DeskError> {
        self.desk.execute(request, Instant::now() + PATIENCE).await
    }

    async fn record(&self) -> Option<CommandRecord> {
        let (principal, request_id) = ("crm".to_owned(), "once".to_owned());
        self.log.command(CommandKey::Request { principal, request_id }).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.soft().cancel();
        self.shutdown.drained().await;
        self.log.close();
    }
}

/// What the first process does, until it dies. Nothing, where nobody told it to.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_dies() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    let text = |name: &str| told[name].as_str().unwrap();
    let crash = Crash::at(text("step").parse().unwrap(), text("when").parse().unwrap());
    let running = Running::start(Path::new(text("store")), text("blip"), crash);
    running.desk.recover();
    let request = request(text("method"), text("ticket"), told["accept_only"].as_bool().unwrap());
    let answer = running.ask(request).await;
    tokio::time::sleep(PATIENCE).await;
    println!("it lives: {answer:?}");
}

/// Where a process dies.
type Death = (Step, When);

fn named(deaths: &[Death]) -> String {
    deaths.iter().map(|(step, when)| format!("{when} {step}")).collect::<Vec<_>>().join(", ")
}

/// What became of one command.
#[derive(Debug)]
struct Row {
    method: &'static str,
    /// What the next process found before it did anything.
    left: Option<Progress>,
    /// What a repetition of the call was told, and whether as the answer to the first.
    told: Progress,
    replayed: bool,
    effects: u64,
}

/// The stand-in Desk, and a folder.
struct Place {
    folder: TempDir,
    desk: Process,
    http: reqwest::Client,
}

impl Place {
    fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let desk = World::stand_in(folder.path(), "127.0.0.1:0");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { folder, desk, http }
    }

    fn control(&self, path: &str) -> String {
        format!("http://{}{path}", self.desk.address("control"))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(self.control(path)).body(body.to_string()).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// How often anything took effect.
    async fn effects(&self) -> u64 {
        let answer = self.http.get(self.control("/state")).send().await.unwrap();
        let state: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let effects = state["effects"].as_object().unwrap().values();
        effects.map(|effect| effect["applied"].as_u64().unwrap_or_default()).sum()
    }

    async fn ticket_for(&self, method: &str) -> String {
        let opened = self.post("/customers", json!({"text": "oi"})).await;
        let (ticket_id, customer) = (&opened["ticket_id"], opened["customer_identity"].as_str().unwrap());
        if method == "Finish" {
            self.post(&format!("/customers/{customer}/close"), json!({})).await;
        }
        ticket_id.as_str().unwrap().to_owned()
    }

    /// One command, whose processes die at these points.
    async fn row(&self, method: &'static str, deaths: &[Death], accept_only: bool) -> Row {
        let ticket = self.ticket_for(method).await;
        let store = self.folder.path().join(format!("{method}-{}.db", named(deaths).replace(' ', "-")));
        let blip = format!("http://{}", self.desk.address("desk"));
        let before = self.effects().await;
        // One after the other: each takes up what the one before left.
        for (step, when) in deaths {
            die(json!({
                "step": step.to_string(), "when": when.to_string(), "store": store, "blip": blip,
                "method": method, "ticket": ticket, "accept_only": accept_only,
            }))
            .await;
        }
        let running = Running::start(&store, &blip, Crash::never());
        let left = running.record().await.map(|record| record.progress());
        running.desk.recover();
        // Who asks again waits until it is known what became of the first.
        let again = progress_of(running.ask(request(method, &ticket, false)).await);
        let (told, replayed) = (again.1.progress(), again.0);
        let effects = self.effects().await - before;
        let third = progress_of(running.ask(request(method, &ticket, false)).await);
        assert!(third.0, "{method}: the third is the second's answer");
        assert_eq!((third.1.command.id, third.1.progress()), (again.1.command.id, told));
        assert_eq!(running.record().await.unwrap().progress(), told, "GetCommand says the same");
        assert_eq!(self.effects().await - before, effects, "{method}: asking again does nothing");
        let wanted = CommandsWanted { count_max: 9, ..CommandsWanted::default() };
        assert_eq!(running.log.commands(wanted).await.unwrap().items.len(), 1, "{method}: one command");
        running.stop().await;
        Row { method, left, told, replayed, effects }
    }
}

/// Whether an answer was given again, and the record it tells of.
fn progress_of(answer: Result<Done, DeskError>) -> (bool, CommandRecord) {
    match answer {
        Ok(Done { record, replayed, .. }) => (replayed, record),
        Err(DeskError::Ended { record, replayed }) => (replayed, *record),
        Err(other) => panic!("{other:?}"),
    }
}

/// Starts this binary again, and waits until it is dead.
async fn die(told: Value) {
    let binary: PathBuf = std::env::current_exe().unwrap();
    let mut command = Command::new(binary);
    command.args(["--exact", "failpoints::the_process_that_dies", "--nocapture"]).env(TOLD, told.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said =
        || format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.signal(), Some(crash::SIGNAL), "{told}: it did not die there:\n{}", said());
}

/// What is expected: what the last process finds, what a repetition is told, and how often anything took effect.
type Expected = (Option<Progress>, Progress, u64);

/// Every method with these deaths, each with what is expected of it.
async fn table(
    name: &str,
    accept_only: bool,
    deaths: &[Vec<Death>],
    expected: impl Fn(&'static str, Death) -> Expected,
) {
    let place = Place::start();
    for method in METHODS {
        for deaths in deaths {
            let row = place.row(method, deaths, accept_only).await;
            let Row { method, left, told, replayed, effects } = &row;
            let found = left.map_or_else(|| "nothing".to_owned(), |left| format!("{left:?}"));
            println!(
                "{name:<11} {method:<14} died {:<28} left {found:<9} effects {effects}  asked again: {told:?}{}",
                named(deaths),
                if *replayed { ", the first's answer" } else { "" }
            );
            assert_eq!((*left, *told, *effects), expected(method, *deaths.last().unwrap()), "{row:?}");
            assert_eq!(*replayed, left.is_some(), "{row:?}");
        }
    }
}

/// A death right before and right after each of these.
fn around(steps: &[Step]) -> Vec<Vec<Death>> {
    steps.iter().flat_map(|step| [vec![(*step, When::Before)], vec![(*step, When::After)]]).collect()
}

/// What is found of a command that was sent, or may have been.
fn looked_for(method: &str, applied: bool) -> (Progress, u64) {
    let shows = method != "ExecuteCommand";
    let told = if applied && shows { Progress::Succeeded } else { Progress::Unknown };
    (told, u64::from(applied))
}

fn of_waiting(method: &'static str, death: Death) -> Expected {
    match death {
        (Step::Begin, When::Before) => (None, Progress::Succeeded, 1),
        (Step::Settle, When::After) => (Some(Progress::Succeeded), Progress::Succeeded, 1),
        _ => perhaps_sent(method, death),
    }
}

fn of_queued(method: &'static str, death: Death) -> Expected {
    match death {
        (Step::Begin, When::Before) => (None, Progress::Succeeded, 1),
        // Nothing was sent, and that is on record: it goes on.
        (Step::Begin | Step::Requeue, When::After) | (Step::Start, When::Before) => {
            (Some(Progress::Queued), Progress::Succeeded, 1)
        }
        (Step::Settle, When::After) => (Some(Progress::Succeeded), Progress::Succeeded, 1),
        _ => perhaps_sent(method, death),
    }
}

fn perhaps_sent(method: &'static str, death: Death) -> Expected {
    let applied = matches!(death, (Step::Call, When::After) | (Step::Settle, _));
    let (told, effects) = looked_for(method, applied);
    (Some(Progress::Running), told, effects)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_callers_command_survives_a_death_at_every_point() {
    table("waiting", false, &around(&[Step::Begin, Step::Call, Step::Settle]), of_waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_survives_a_death_at_every_point() {
    let steps = [Step::Begin, Step::Start, Step::Call, Step::Settle, Step::Requeue];
    table("accept_only", true, &around(&steps), of_queued).await;
}

/// The process that takes up what another left dies too.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_while_recovering_changes_nothing() {
    let sent = (Step::Call, When::After);
    let deaths = [
        vec![sent, (Step::Settle, When::Before)],
        vec![sent, (Step::Settle, When::Before), (Step::Settle, When::After)],
    ];
    table("recovering", false, &deaths, |method, death| {
        let (told, effects) = looked_for(method, true);
        // The end that was found is on record, or is found again.
        let left = if death.1 == When::After { told } else { Progress::Running };
        (Some(left), told, effects)
    })
    .await;
    let queued = (Step::Begin, When::After);
    let deaths =
        [(Step::Start, When::Before), (Step::Start, When::After), sent].map(|last| vec![queued, last]);
    table("going on", true, &deaths, of_queued).await;
}
