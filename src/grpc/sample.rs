//! Events, and a log of them, for the tests of this module's parts.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::{
    Content, ContentKind, Event, Flags, Metadata, NewEvent, Origin, Payload, Seq, StoredEvent, Ticket,
    TicketState,
};
use crate::store::{
    AppendError, Appended, Begun, Bounds, CommandKey, CommandRecord, CommandsWanted, End, EventLog, Health,
    Ledger, LogId, NewCommand, Page, Quarantined, ReadError, TicketsWanted, Unsettled,
};

fn said(id: &str, text: &str) -> Payload {
    Payload::CustomerMessage {
        message_id: id.to_owned(),
        content: Content {
            media_type: "text/plain".to_owned(),
            kind: ContentKind::Text(text.to_owned()),
            ..Content::default()
        },
        metadata: Metadata::default(),
    }
}

/// A customer's message at position `seq`.
pub(super) fn message(seq: u64, ticket_id: &str, text: &str) -> StoredEvent {
    let event = Event {
        id: Uuid::from_u64_pair(1, seq),
        bot: Arc::from("suporte"),
        ticket_id: ticket_id.to_owned(),
        ticket_sequence: seq,
        origin: Origin::Webhook,
        receive_time: Timestamp::UNIX_EPOCH,
        event_time: None,
        blip_id: format!("m-{seq}"),
        flags: Flags::default(),
        traceparent: String::new(),
        customer_identity: "ana@wa.gw.msging.net".to_owned(),
        resolved_customer_identity: String::new(),
        team: "Suporte".to_owned(),
        agent_identity: "bia%40empresa.com@blip.ai".to_owned(),
        payload: said(&format!("m-{seq}"), text),
    };
    StoredEvent { seq: Seq(seq), event, raw: Bytes::from(format!(r#"{{"content":"{text}"}}"#)) }
}

/// A log in memory that forgets as it is told.
#[derive(Debug)]
pub(super) struct TestLog {
    events: Mutex<Vec<Arc<StoredEvent>>>,
    trimmed: Mutex<Seq>,
    /// How far back [`EventLog::recent`] reaches.
    recent_max: u64,
    tail: watch::Sender<Seq>,
}

impl TestLog {
    /// An empty log that has the last `recent_max` events at hand.
    pub(super) fn new(recent_max: u64) -> Arc<Self> {
        let (events, trimmed, tail) = (Mutex::default(), Mutex::default(), watch::Sender::new(Seq(0)));
        Arc::new(Self { events, trimmed, recent_max, tail })
    }

    /// Appends `texts` as messages of a customer, in one commit.
    pub(super) fn say(&self, texts: impl IntoIterator<Item = String>) {
        let mut events = self.events.lock().unwrap();
        for text in texts {
            let seq = u64::try_from(events.len()).unwrap() + 1;
            let mut stored = message(seq, "t-1", &text);
            stored.event.receive_time = Timestamp::from_second(i64::try_from(seq).unwrap()).unwrap();
            events.push(Arc::new(stored));
        }
        let last = events.last().map(|stored| stored.seq).unwrap_or_default();
        drop(events);
        self.tail.send_replace(last);
    }

    /// Deletes everything up to `seq`.
    pub(super) fn trim(&self, seq: u64) {
        *self.trimmed.lock().unwrap() = Seq(seq);
    }

    fn after(&self, after: Seq, limit: usize) -> Vec<Arc<StoredEvent>> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|stored| stored.seq > after).take(limit).cloned().collect()
    }
}

#[async_trait]
impl EventLog for TestLog {
    async fn append(&self, _events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        Err(AppendError::Busy)
    }

    async fn quarantine(&self, _body: Quarantined) -> Result<(), AppendError> {
        Err(AppendError::Busy)
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Arc<StoredEvent>>, ReadError> {
        let earliest = *self.trimmed.lock().unwrap();
        if after < earliest { Err(ReadError::Trimmed { earliest }) } else { Ok(self.after(after, limit)) }
    }

    fn recent(&self, after: Seq, limit: usize) -> Option<Vec<Arc<StoredEvent>>> {
        let behind = self.tail.borrow().0.saturating_sub(after.0);
        (behind <= self.recent_max).then(|| self.after(after, limit))
    }

    fn tail(&self) -> watch::Receiver<Seq> {
        self.tail.subscribe()
    }

    async fn seek(&self, at: Timestamp) -> Result<Seq, ReadError> {
        let events = self.events.lock().unwrap();
        let before = events.iter().rev().find(|stored| stored.event.receive_time < at);
        Ok(before.map(|stored| stored.seq).unwrap_or_default())
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        let (trimmed, last) = (*self.trimmed.lock().unwrap(), *self.tail.borrow());
        let retention = std::time::Duration::from_mins(1);
        Ok(Bounds {
            trimmed,
            last,
            earliest_time: None,
            latest_time: None,
            retention,
            live_bytes: 0,
            live_bytes_max: None,
            store: "test",
        })
    }

    fn id(&self) -> LogId {
        LogId([7; 8])
    }

    async fn ticket(&self, _bot: &str, _ticket_id: &str) -> Result<Option<TicketState>, ReadError> {
        Ok(None)
    }

    async fn tickets(&self, _wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, ReadError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn bots_of(&self, _ticket_id: &str) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    fn health(&self) -> watch::Receiver<Health> {
        watch::Sender::new(Health::Ready).subscribe()
    }
}

#[async_trait]
impl Ledger for TestLog {
    async fn begin(&self, _command: NewCommand) -> Result<Begun, AppendError> {
        Err(AppendError::Full)
    }

    async fn start(&self, _id: Uuid) -> Result<Option<(CommandRecord, Box<TicketState>)>, AppendError> {
        Err(AppendError::Full)
    }

    async fn requeue(&self, _id: Uuid) -> Result<(), AppendError> {
        Err(AppendError::Full)
    }

    async fn settle(
        &self,
        _id: Uuid,
        _end: End,
        _events: Vec<NewEvent>,
    ) -> Result<CommandRecord, AppendError> {
        Err(AppendError::Full)
    }

    async fn command(&self, _key: CommandKey) -> Result<Option<CommandRecord>, ReadError> {
        Ok(None)
    }

    async fn unsettled(&self, _: Unsettled) -> Result<Page<CommandRecord>, ReadError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn unknown_since(
        &self,
        _since: Timestamp,
        _count_max: usize,
    ) -> Result<Vec<CommandRecord>, ReadError> {
        Ok(Vec::new())
    }

    async fn commands(&self, _wanted: CommandsWanted) -> Result<Page<CommandRecord>, ReadError> {
        Ok(Page { items: Vec::new(), next: None })
    }
}
