//! The desk over a store and a Blip that fail as told, in paused time.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::super::asker::Asker;
use super::*;
use crate::blip::{BlipError, Caller, Kind};
use crate::clock::{ManualClock, SequentialIds};
use crate::domain::{Action, CloseBy, Fact, NewEvent, Origin, Seq, StoredEvent, TicketState, TicketStatus};
use crate::lime::{Command, Reply, ReplyStatus};
use crate::store::memory::MemoryLog;
use crate::store::{
    Appended, Begun, Bounds, End, Health, LogId, NewCommand, Progress, Quarantined, TicketsWanted, Unsettled,
};

mod credit;
mod doubt;
mod fair;
mod order;
mod parting;

/// The one customer there is.
const CUSTOMER: &str = "c@0mn.io";

/// What a store fails with first.
#[derive(Debug, Default)]
struct Faults {
    /// The next records of a command; one that is not known is written all the same.
    beginning: VecDeque<AppendError>,
    /// How long it takes until a command that is recorded is answered.
    began_late: Duration,
    /// The next records of an end.
    settling: VecDeque<AppendError>,
    /// How long it takes until an end that is recorded is answered.
    settled_late: Duration,
    /// How long it takes to look a command up.
    looked_late: Duration,
    /// How many more reads of tickets fail.
    reading: usize,
}

impl Faults {
    fn settling(faults: Vec<AppendError>) -> Self {
        Self { settling: faults.into(), ..Self::default() }
    }
}

/// A store in memory that fails as told first.
#[derive(Debug)]
struct Faulty {
    inner: MemoryLog,
    faults: Mutex<Faults>,
}

#[async_trait]
impl EventLog for Faulty {
    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        self.inner.append(events).await
    }
    async fn quarantine(&self, body: Quarantined) -> Result<(), AppendError> {
        self.inner.quarantine(body).await
    }
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Arc<StoredEvent>>, ReadError> {
        self.inner.read(after, limit).await
    }
    fn recent(&self, after: Seq, limit: usize) -> Option<Vec<Arc<StoredEvent>>> {
        self.inner.recent(after, limit)
    }
    fn tail(&self) -> watch::Receiver<Seq> {
        self.inner.tail()
    }
    async fn seek(&self, at: jiff::Timestamp) -> Result<Seq, ReadError> {
        self.inner.seek(at).await
    }
    async fn bounds(&self) -> Result<Bounds, ReadError> {
        self.inner.bounds().await
    }
    fn id(&self) -> LogId {
        self.inner.id()
    }
    async fn ticket(&self, bot: &str, ticket_id: &str) -> Result<Option<TicketState>, ReadError> {
        let reading = {
            let mut faults = self.faults.lock().unwrap();
            let left = faults.reading.saturating_sub(1);
            std::mem::replace(&mut faults.reading, left)
        };
        if reading > 0 {
            return Err(ReadError::Unavailable("told to fail".to_owned()));
        }
        self.inner.ticket(bot, ticket_id).await
    }
    async fn tickets(&self, wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, ReadError> {
        self.inner.tickets(wanted).await
    }
    async fn bots_of(&self, ticket_id: &str) -> Result<Vec<String>, ReadError> {
        self.inner.bots_of(ticket_id).await
    }
    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }
}

#[async_trait]
impl Ledger for Faulty {
    async fn begin(&self, command: NewCommand) -> Result<Begun, AppendError> {
        let (fault, late) = {
            let mut faults = self.faults.lock().unwrap();
            (faults.beginning.pop_front(), faults.began_late)
        };
        match fault {
            Some(fault @ AppendError::Unknown(_)) => self.inner.begin(command).await.and(Err(fault)),
            Some(fault) => Err(fault),
            None => {
                let begun = self.inner.begin(command).await;
                tokio::time::sleep(late).await;
                begun
            }
        }
    }
    async fn start(&self, id: Uuid) -> Result<Option<(CommandRecord, Box<TicketState>)>, AppendError> {
        self.inner.start(id).await
    }
    async fn requeue(&self, id: Uuid) -> Result<(), AppendError> {
        self.inner.requeue(id).await
    }
    async fn settle(&self, id: Uuid, end: End, events: Vec<NewEvent>) -> Result<CommandRecord, AppendError> {
        let (fault, late) = {
            let mut faults = self.faults.lock().unwrap();
            (faults.settling.pop_front(), faults.settled_late)
        };
        if let Some(fault) = fault {
            return Err(fault);
        }
        let settled = self.inner.settle(id, end, events).await;
        tokio::time::sleep(late).await;
        settled
    }
    async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, ReadError> {
        let late = self.faults.lock().unwrap().looked_late;
        tokio::time::sleep(late).await;
        self.inner.command(key).await
    }
    async fn unsettled(&self, wanted: Unsettled) -> Result<Page<CommandRecord>, ReadError> {
        self.inner.unsettled(wanted).await
    }
    async fn unknown_since(
        &self,
        since: jiff::Timestamp,
        count_max: usize,
    ) -> Result<Vec<CommandRecord>, ReadError> {
        self.inner.unknown_since(since, count_max).await
    }
    async fn commands(&self, wanted: CommandsWanted) -> Result<Page<CommandRecord>, ReadError> {
        self.inner.commands(wanted).await
    }
}

/// A Blip that gives these answers, then says yes to all; it keeps the URIs that it was asked. A
/// message takes so long. Last, for whom.
#[derive(Debug, Default)]
struct Blip(
    Mutex<VecDeque<Result<Reply, BlipError>>>,
    Mutex<Vec<String>>,
    Mutex<Duration>,
    Mutex<Vec<Caller>>,
);

impl Blip {
    fn next(&self) -> Result<Reply, BlipError> {
        self.0.lock().unwrap().pop_front().unwrap_or_else(|| Ok(yes(Value::Null)))
    }
}

#[async_trait]
impl BlipApi for Blip {
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi> {
        self.3.lock().unwrap().push(caller);
        self
    }
    async fn turns(self: Arc<Self>, _: Kind, _: usize, _: Instant) -> Result<Arc<dyn BlipApi>, BlipError> {
        Ok(self)
    }
    async fn command(&self, command: &Command, _: Instant) -> Result<Reply, BlipError> {
        self.1.lock().unwrap().push(command.uri.0.clone());
        self.next()
    }
    async fn message(&self, _: Vec<u8>, _: Instant) -> Result<Reply, BlipError> {
        let takes = *self.2.lock().unwrap();
        tokio::time::sleep(takes).await;
        self.next()
    }
    async fn notification(&self, _: Vec<u8>, _: Instant) -> Result<Reply, BlipError> {
        self.next()
    }
}

fn yes(resource: Value) -> Reply {
    Reply { id: None, media_type: String::new(), status: ReplyStatus::Success(resource) }
}

struct World {
    store: Arc<Faulty>,
    blip: Arc<Blip>,
    desk: Desk,
    clock: Arc<ManualClock>,
    shutdown: Shutdown,
}

impl World {
    fn new(faults: Faults, answers: impl IntoIterator<Item = Result<Reply, BlipError>>) -> Self {
        Self::with(QueueLimits::default(), faults, answers)
    }

    fn with(
        queue: QueueLimits,
        faults: Faults,
        answers: impl IntoIterator<Item = Result<Reply, BlipError>>,
    ) -> Self {
        let day = Duration::from_hours(24);
        let ids: Arc<dyn Ids> = Arc::new(SequentialIds::default());
        let clock = Arc::new(ManualClock::new("2026-11-24T12:00:00Z".parse().unwrap()));
        let inner = MemoryLog::new(day, day, Arc::<ManualClock>::clone(&clock), Arc::clone(&ids));
        let store = Arc::new(Faulty { inner, faults: Mutex::new(faults) });
        let blip = Arc::new(Blip(
            Mutex::new(answers.into_iter().collect()),
            Mutex::default(),
            Mutex::default(),
            Mutex::default(),
        ));
        let api: Arc<dyn BlipApi> = Arc::<Blip>::clone(&blip);
        let shutdown = Shutdown::new();
        let desk = Desk::new(DeskParts {
            log: Arc::<Faulty>::clone(&store),
            ledger: Arc::<Faulty>::clone(&store),
            bots: BTreeMap::from([("suporte".to_owned(), api)]),
            clock: Arc::<ManualClock>::clone(&clock),
            ids,
            shutdown: shutdown.clone(),
            metrics: CommandMetrics::register(&mut Registry::default()),
            queue,
        });
        Self { store, blip, desk, clock, shutdown }
    }

    async fn close(&self, within: Duration) -> Result<Done, DeskError> {
        self.desk.execute(request(), Instant::now() + within).await
    }

    /// Something tells of a ticket.
    async fn tell(&self, ticket_id: &str, status: TicketStatus, origin: Origin, blip_id: &str) {
        let ticket = Ticket {
            id: ticket_id.to_owned(),
            customer_identity: CUSTOMER.to_owned(),
            status,
            ..Ticket::default()
        };
        let event = NewEvent {
            bot: Arc::from("suporte"),
            ticket_id: Some(ticket_id.to_owned()),
            dedup: None,
            origin,
            event_time: None,
            blip_id: blip_id.to_owned(),
            traceparent: String::new(),
            resolved_customer_identity: String::new(),
            order_uncertain: false,
            fact: Fact::Ticket(ticket),
            raw: bytes::Bytes::new(),
        };
        self.store.append(vec![event]).await.unwrap();
    }

    /// What the log tells, in order.
    async fn types(&self) -> Vec<&'static str> {
        let events = self.store.read(Seq(0), 99).await.unwrap();
        events.iter().map(|stored| stored.event.payload.type_name()).collect()
    }

    /// What has no end.
    async fn unsettled(&self) -> Vec<CommandRecord> {
        let mut all = Vec::new();
        for begun in [true, false] {
            let wanted = Unsettled { begun, count_max: 99, bytes_max: usize::MAX, after: None };
            all.extend(self.store.unsettled(wanted).await.unwrap().items);
        }
        all
    }

    /// The end of the one command there is, once it has one.
    async fn end(&self) -> Outcome {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let key = CommandKey::Request { principal: String::new(), request_id: "r".to_owned() };
            if let Some(end) = self.store.command(key).await.unwrap().and_then(|record| record.end) {
                return end.outcome;
            }
        }
    }
}

fn request() -> ActionRequest {
    ActionRequest {
        bot: "suporte".to_owned(),
        ticket_id: "t".to_owned(),
        action: Action::Close {
            by: CloseBy::Agent,
            tags: Vec::new(),
            closed_by: String::new(),
            without_redirect: false,
        },
        principal: String::new(),
        request_id: "r".to_owned(),
        if_ticket_sequence: 0,
        accept_only: false,
    }
}

/// A command that an earlier process began.
fn begun() -> NewCommand {
    run::new_command(Uuid::from_u128(77), &request(), memo::write(&request()))
}

#[tokio::test(start_paused = true)]
async fn an_end_is_recorded_however_long_the_disk_is_full() {
    // The other is what a store says whose batch failed for somebody else's lock.
    for fault in [AppendError::Full, AppendError::Unavailable("database is locked".to_owned())] {
        let world = World::new(Faults::settling(vec![fault; 100]), []);
        let told = world.close(Duration::from_secs(10)).await.unwrap_err();
        assert!(matches!(told, DeskError::Fault(fault) if fault.reason == "OUTCOME_UNKNOWN"));
        assert_eq!(world.end().await, Outcome::Done);
        assert!(world.store.ticket("suporte", "t").await.unwrap().unwrap().is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_is_sent_once_even_if_its_end_cannot_be_recorded() {
    let broken = AppendError::Unknown("told to fail".to_owned());
    let world = World::new(Faults::settling(vec![broken]), []);
    let queued = ActionRequest { accept_only: true, ..request() };
    let done = world.desk.execute(queued, Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert_eq!(done.record.progress(), Progress::Queued);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(*world.blip.1.lock().unwrap(), ["/ping", "/tickets/change-status"]);
    let left = world.unsettled().await.remove(0);
    assert_eq!(left.progress(), Progress::Running, "the next start looks for it");
    world.desk.recover();
    assert!(matches!(world.end().await, Outcome::Unknown(_)), "never sent again by guess");
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_on_after_what_passes() {
    let silence = || Err(BlipError::NotSent("no route".to_owned()));
    let slow = Err(BlipError::OverQuota { retry_after: Duration::from_secs(20) });
    // A ping without an answer, then with one; the close not sent; two pings without, one with; the close late; the
    // close done.
    let pong = || Ok(yes(Value::Null));
    let answers = [silence(), pong(), silence(), silence(), silence(), pong(), slow];
    let world = World::new(Faults::default(), answers);
    let queued = ActionRequest { accept_only: true, ..request() };
    world.desk.execute(queued, Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert_eq!(world.end().await, Outcome::Done);
    let asked = world.blip.1.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|uri| *uri == "/tickets/change-status").count(), 3, "{asked:?}");
    assert!(asked.iter().filter(|uri| *uri == "/ping").count() >= 5, "{asked:?}");
    let events = world.store.read(Seq(0), 9).await.unwrap();
    let types: Vec<_> = events.iter().map(|stored| stored.event.payload.type_name()).collect();
    assert_eq!(types, ["ticket.closed", "command.settled"]);
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_ends_the_waiting_for_room() {
    let world = World::new(Faults::settling(vec![AppendError::Full; 100_000]), []);
    world.close(Duration::from_secs(10)).await.unwrap_err();
    world.shutdown.soft().cancel();
    world.shutdown.hard().cancel();
    world.shutdown.drained().await;
    assert_eq!(world.unsettled().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_cannot_be_read_changes_no_outcome() {
    let world = World::new(Faults { reading: usize::MAX, ..Faults::default() }, []);
    let done = world.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!((done.ticket, done.record.end.unwrap().outcome), (None, Outcome::Done));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_blip_is_asked_until_it_answers() {
    let silence = || Err(BlipError::NotSent("no route".to_owned()));
    let answer = Ok(yes(json!({"id": "t", "status": "ClosedAttendant"})));
    let world = World::new(Faults::default(), (0..9).map(|_| silence()).chain([answer]));
    world.store.begin(begun()).await.unwrap();
    world.desk.recover();
    assert_eq!(world.end().await, Outcome::Done);

    let world = World::new(Faults::default(), (0..1_000).map(|_| silence()));
    world.store.begin(begun()).await.unwrap();
    let start = Instant::now();
    world.desk.recover();
    let end = world.end().await;
    assert!(
        matches!(&end, Outcome::Unknown(fault) if fault.message.contains("could not be asked") && fault.message.contains("no route")),
        "{end:?}"
    );
    assert!((100..125).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_what_blip_does_not_show_is_unknown_at_once() {
    let open = || Ok(yes(json!({"id": "t", "status": "Open"})));
    let world = World::new(Faults::default(), [open(), open(), open()]);
    world.store.begin(begun()).await.unwrap();
    world.desk.recover();
    let end = world.end().await;
    assert!(matches!(&end, Outcome::Unknown(fault) if fault.message.contains("does not show")), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_what_could_not_be_asked_to_the_next_start() {
    let silence = || Err(BlipError::NotSent("no route".to_owned()));
    let world = World::new(Faults::default(), (0..1_000).map(|_| silence()));
    world.store.begin(begun()).await.unwrap();
    world.desk.recover();
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.shutdown.soft().cancel();
    world.shutdown.drained().await;
    assert_eq!(world.unsettled().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_takes_its_callers_turn_and_is_asked_again() {
    let lost = || Err(BlipError::Unknown("reset".to_owned()));
    let open = Ok(yes(json!({"id": "t", "status": "Open"})));
    let world = World::new(Faults::default(), [lost(), lost(), open]);
    let asker = Asker { bot: "suporte", principal: "crm", deadline: Instant::now() + Duration::from_mins(1) };
    let view = world.desk.ticket(asker, "t", true).await.unwrap().unwrap();
    assert_eq!(view.ticket.status, TicketStatus::Open);
    assert_eq!(world.blip.1.lock().unwrap().len(), 3);
    assert_eq!(*world.blip.3.lock().unwrap(), [Caller::client("crm")]);
    world.desk.set_typing(asker, "t", true).await.unwrap();
    assert_eq!(world.blip.3.lock().unwrap().len(), 2);
}
