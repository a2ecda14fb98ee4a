//! A store under test, with its clock in our hands, and short ways to say what goes in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deskgate::clock::{ManualClock, SequentialIds};
use deskgate::domain::{
    Content, ContentKind, DedupKey, Fact, Fingerprint, NewEvent, Origin, Outcome, Payload, Seq, StoredEvent,
    Ticket, TicketStatus,
};
use deskgate::store::groups::GroupStore;
use deskgate::store::memory::MemoryLog;
use deskgate::store::quarantine::{HeldPage, Quarantine, Wanted};
use deskgate::store::sqlite::{Config, SqliteLog};
use deskgate::store::{Appended, CommandRecord, End, EventLog, Ledger, NewCommand, Quarantined, Unsettled};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

pub(crate) const RETENTION: Duration = Duration::from_hours(24);

/// A store, and what it takes to restart it.
pub(crate) struct Subject {
    pub(crate) clock: Arc<ManualClock>,
    ids: Arc<SequentialIds>,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Memory(MemoryLog),
    Sqlite { directory: tempfile::TempDir, config: Config, log: Option<SqliteLog> },
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2024-05-02T12:00:00Z".parse().unwrap()))
}

impl Subject {
    pub(crate) fn memory() -> Self {
        let (clock, ids) = (clock(), Arc::new(SequentialIds::default()));
        let log = MemoryLog::new(RETENTION, Duration::ZERO, clock.clone(), ids.clone());
        Self { clock, ids, kind: Kind::Memory(log) }
    }

    /// Every command without an end: those perhaps sent, then those queued.
    pub(crate) async fn unsettled(&self) -> Vec<CommandRecord> {
        let mut all = Vec::new();
        for begun in [true, false] {
            let wanted = Unsettled { begun, count_max: 99, bytes_max: usize::MAX, after: None };
            all.extend(self.ledger().unsettled(wanted).await.unwrap().items);
        }
        all
    }

    pub(crate) fn sqlite() -> Self {
        Self::sqlite_with(|config| config)
    }

    pub(crate) fn sqlite_with(change: impl FnOnce(Config) -> Config) -> Self {
        let (clock, ids) = (clock(), Arc::new(SequentialIds::default()));
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            retention: RETENTION,
            retention_interval: Duration::from_hours(1_000),
            ..Config::new(directory.path().join("log.db"))
        };
        let config = change(config);
        let log = SqliteLog::open(config.clone(), clock.clone(), ids.clone()).unwrap();
        Self { clock, ids, kind: Kind::Sqlite { directory, config, log: Some(log) } }
    }

    pub(crate) fn log(&self) -> &dyn EventLog {
        match &self.kind {
            Kind::Memory(log) => log,
            Kind::Sqlite { log, .. } => log.as_ref().unwrap(),
        }
    }

    pub(crate) fn ledger(&self) -> &dyn Ledger {
        match &self.kind {
            Kind::Memory(log) => log,
            Kind::Sqlite { log, .. } => log.as_ref().unwrap(),
        }
    }

    pub(crate) fn quarantine(&self) -> &dyn Quarantine {
        match &self.kind {
            Kind::Memory(log) => log,
            Kind::Sqlite { log, .. } => log.as_ref().unwrap(),
        }
    }

    pub(crate) fn groups(&self) -> &dyn GroupStore {
        match &self.kind {
            Kind::Memory(log) => log,
            Kind::Sqlite { log, .. } => log.as_ref().unwrap(),
        }
    }

    /// Keeps a body of `bot` that could not be read.
    pub(crate) async fn hold(&self, bot: &str, raw: &str) {
        let body = Quarantined { bot: bot.into(), reason: "no JSON".to_owned(), raw: raw.to_owned().into() };
        self.log().quarantine(body).await.unwrap();
    }

    /// Everything in quarantine, with its bodies.
    pub(crate) async fn held(&self) -> HeldPage {
        let wanted = Wanted { count_max: usize::MAX, body_bytes_max: Some(usize::MAX), ..Wanted::default() };
        self.quarantine().held(wanted).await.unwrap()
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        match &self.kind {
            Kind::Memory(_) => panic!("there is no file"),
            Kind::Sqlite { config, .. } => config.path.clone(),
        }
    }

    pub(crate) fn directory(&self) -> std::path::PathBuf {
        match &self.kind {
            Kind::Memory(_) => panic!("there is no directory"),
            Kind::Sqlite { directory, .. } => directory.path().to_owned(),
        }
    }

    pub(crate) fn close(&mut self) {
        if let Kind::Sqlite { log, .. } = &mut self.kind {
            *log = None;
        }
    }

    pub(crate) fn open(&mut self) -> Result<(), deskgate::store::sqlite::OpenError> {
        if let Kind::Sqlite { config, log, .. } = &mut self.kind {
            *log = Some(SqliteLog::open(config.clone(), self.clock.clone(), self.ids.clone())?);
        }
        Ok(())
    }

    /// Closes and opens again; the memory model has nothing to forget.
    pub(crate) fn restart(&mut self) {
        self.close();
        self.open().unwrap();
    }

    pub(crate) async fn enforce_retention(&self) -> u64 {
        match &self.kind {
            Kind::Memory(log) => log.enforce_retention(),
            Kind::Sqlite { log, .. } => log.as_ref().unwrap().enforce_retention().await.unwrap(),
        }
    }

    pub(crate) fn hours_pass(&self, hours: i64) {
        self.clock.advance(SignedDuration::from_hours(hours));
    }

    pub(crate) fn seconds_pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    pub(crate) async fn append(&self, events: Vec<NewEvent>) -> Vec<Appended> {
        self.log().append(events).await.unwrap()
    }

    /// Appends one event that must be new.
    pub(crate) async fn put(&self, event: NewEvent) -> Arc<StoredEvent> {
        match self.append(vec![event]).await.remove(0) {
            Appended::At(stored) => stored,
            Appended::Duplicate(seq) => panic!("a duplicate of {seq:?}"),
        }
    }

    /// Everything after `after`, page by page, from memory or not.
    pub(crate) async fn all_after(&self, after: Seq) -> Vec<Arc<StoredEvent>> {
        let (mut all, mut at) = (Vec::new(), after);
        loop {
            let page = self.log().read(at, 7).await.unwrap();
            let Some(last) = page.last() else { return all };
            at = last.seq;
            all.extend(page);
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        deskgate::clock::Clock::now(&*self.clock)
    }
}

pub(crate) fn event(bot: &str, ticket_id: Option<&str>, fact: Fact) -> NewEvent {
    NewEvent {
        bot: Arc::from(bot),
        ticket_id: ticket_id.map(str::to_owned),
        dedup: None,
        origin: Origin::Webhook,
        event_time: None,
        blip_id: String::new(),
        traceparent: String::new(),
        resolved_customer_identity: String::new(),
        order_uncertain: false,
        fact,
        raw: Bytes::from_static(b"{\"raw\": true}"),
    }
}

pub(crate) fn message(ticket_id: &str, text: &str) -> NewEvent {
    let content = Content {
        media_type: "text/plain".to_owned(),
        kind: ContentKind::Text(text.to_owned()),
        ..Content::default()
    };
    let payload =
        Payload::CustomerMessage { message_id: text.to_owned(), content, metadata: [].into_iter().collect() };
    NewEvent { blip_id: text.to_owned(), ..event("suporte", Some(ticket_id), Fact::Told(payload)) }
}

pub(crate) fn keyed(key: u8, event: NewEvent) -> NewEvent {
    NewEvent { dedup: Some(DedupKey([key; 16])), ..event }
}

pub(crate) fn document(ticket_id: &str, status: TicketStatus) -> NewEvent {
    let ticket = Ticket {
        id: ticket_id.to_owned(),
        status,
        blip_status: status.as_blip().to_owned(),
        team: "vendas".to_owned(),
        ..Ticket::default()
    };
    event("suporte", Some(ticket_id), Fact::Ticket(ticket))
}

pub(crate) fn command(id: u128, request_id: &str, asks: u8) -> NewCommand {
    NewCommand {
        id: Uuid::from_u128(id),
        method: "Close".to_owned(),
        bot: "suporte".to_owned(),
        ticket_id: "t1".to_owned(),
        principal: "crm".to_owned(),
        request_id: request_id.to_owned(),
        fingerprint: Fingerprint([asks; 16]),
        memo: "{}".to_owned(),
        accept_only: false,
    }
}

pub(crate) fn end(outcome: Outcome) -> End {
    End { outcome, attempts: 1, returned: None }
}
