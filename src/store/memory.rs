//! The store in memory: the model that the durable ones are compared with, and the store of tests that need no
//! disk. Simple rather than fast; it forgets everything when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use super::groups::GroupId;
use super::notebook::Notebook;
use super::quarantine::{Held, HeldId, HeldPage, Quarantine, Readable, Released, Wanted};
use super::rules::{
    DEDUP_WINDOW_MIN, Gathered, LOOKED_AT_MAX, REQUEST_IDS_KEPT, SENDS, first_of, is_held, listed, replaces,
};
use super::{
    AppendError, Appended, Begun, Bounds, CommandKey, CommandRecord, CommandsWanted, End, EventLog, Health,
    Ledger, LogId, NewCommand, Page, Progress, Quarantined, ReadError, TicketsWanted, Unsettled,
};
use crate::clock::{Clock, Ids};
use crate::domain::late::{Place, place_late};
use crate::domain::transfer::join;
use crate::domain::{DedupKey, Kin, NewEvent, Seq, StoredEvent, Ticket, TicketState, place};

mod groups;

/// The store.
#[derive(Debug)]
pub struct MemoryLog {
    id: LogId,
    retention: Duration,
    dedup_window: Duration,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    state: Mutex<State>,
    tail: watch::Sender<Seq>,
    health: watch::Sender<Health>,
}

#[derive(Debug, Default)]
struct State {
    trimmed: Seq,
    last: Seq,
    last_time: Timestamp,
    events: BTreeMap<Seq, Arc<StoredEvent>>,
    dedup: BTreeMap<DedupKey, (Seq, Timestamp)>,
    /// By bot and ticket.
    tickets: BTreeMap<(String, String), TicketState>,
    /// Bot and ticket, in the order of their first events.
    first_seen: Vec<(String, String)>,
    /// In the order they were begun.
    commands: BTreeMap<u64, CommandRecord>,
    last_command: u64,
    last_held: HeldId,
    quarantine: BTreeMap<HeldId, (Timestamp, Quarantined)>,
    notes: BTreeMap<String, String>,
    groups: BTreeMap<GroupId, groups::Kept>,
    last_group: GroupId,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(
        retention: Duration,
        dedup_window: Duration,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        let [_, _, _, _, _, _, _, _, id @ ..] = ids.next().into_bytes();
        Self {
            id: LogId(id),
            retention,
            dedup_window: dedup_window.max(DEDUP_WINDOW_MIN),
            clock,
            ids,
            state: Mutex::default(),
            tail: watch::Sender::new(Seq::default()),
            health: watch::Sender::new(Health::Ready),
        }
    }

    /// Removes what is older than it is kept; answers how many events went.
    pub fn enforce_retention(&self) -> u64 {
        let mut state = self.lock();
        let now = self.now(&state);
        let before = earlier(now, self.retention);
        let held_after = state.pinned().unwrap_or(Seq(u64::MAX));
        let mut removed = 0_u64;
        while let Some(oldest) = state.events.first_entry()
            && oldest.get().event.receive_time < before
            && *oldest.key() <= held_after
        {
            let (seq, _) = oldest.remove_entry();
            state.trimmed = seq;
            removed = removed.saturating_add(1);
        }
        let keys_before = earlier(now, self.dedup_window);
        state.dedup.retain(|_, (_, taken)| *taken >= keys_before);
        state.quarantine.retain(|_, (received, _)| *received >= before);
        let commands_before = earlier(now, self.retention.max(REQUEST_IDS_KEPT));
        state
            .commands
            .retain(|_, record| record.settle_time.is_none_or(|settled| settled >= commands_before));
        removed
    }

    /// The bodies in quarantine.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.lock().quarantine.values().map(|(_, body)| body.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, to the microsecond, and never earlier than the newest event.
    fn now(&self, state: &State) -> Timestamp {
        let now = Timestamp::from_microsecond(self.clock.now().as_microsecond()).unwrap_or_default();
        now.max(state.last_time)
    }

    fn append_to(&self, state: &mut State, now: Timestamp, events: Vec<NewEvent>) -> Vec<Appended> {
        events.into_iter().map(|new| self.append_one(state, now, new, place)).collect()
    }

    fn append_one(&self, state: &mut State, now: Timestamp, mut new: NewEvent, place: Place) -> Appended {
        let seq = Seq(state.last.0.saturating_add(1));
        if let Some(key) = new.dedup {
            if let Some(known) = self.taken_by(state, now, key) {
                return Appended::Duplicate(known);
            }
            state.dedup.insert(key, (seq, now));
        }
        if let Some(id) = new.speaks_of()
            && let Some(record) = state.find(&CommandKey::Id(id))
            && record.command.method == SENDS
            && *record.command.bot == *new.bot
        {
            new.ticket_id = Some(record.command.ticket_id.clone());
        }
        let told_in_turn = state.join(&mut new);
        let mut no_ticket = TicketState::default();
        let ticket = match &new.ticket_id {
            None => &mut no_ticket,
            Some(ticket_id) => {
                let key = (new.bot.to_string(), ticket_id.clone());
                state.tickets.entry(key.clone()).or_insert_with(|| {
                    state.first_seen.push(key);
                    TicketState::default()
                })
            }
        };
        let (event, raw) = place(new, ticket, self.ids.next(), now);
        let stored = Arc::new(StoredEvent { seq, event, raw });
        state.events.insert(seq, Arc::clone(&stored));
        state.last = seq;
        state.last_time = now;
        self.tail.send_replace(seq);
        for event in told_in_turn {
            self.append_one(state, now, event, place);
        }
        Appended::At(stored)
    }

    fn taken_by(&self, state: &State, now: Timestamp, key: DedupKey) -> Option<Seq> {
        let window_begins = earlier(now, self.dedup_window);
        state.dedup.get(&key).filter(|(_, taken)| *taken >= window_begins).map(|(by, _)| *by)
    }
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// A page of a list that comes newest first.
fn page<T>(
    newest: impl Iterator<Item = (u64, T)>,
    before: Option<u64>,
    count_max: usize,
    wants: impl Fn(&T) -> bool,
) -> Page<T> {
    let (mut items, mut last) = (Vec::new(), None);
    for (looked_at, (n, item)) in newest.filter(|(n, _)| before.is_none_or(|before| *n < before)).enumerate()
    {
        if items.len() >= count_max || looked_at >= LOOKED_AT_MAX {
            return Page { items, next: last };
        }
        last = Some(n);
        if wants(&item) {
            items.push(item);
        }
    }
    Page { items, next: None }
}

impl State {
    fn find(&self, key: &CommandKey) -> Option<&CommandRecord> {
        self.commands.values().rev().find(|record| match key {
            CommandKey::Id(id) => record.command.id == *id,
            CommandKey::Request { principal, request_id } => {
                !request_id.is_empty()
                    && record.command.principal == *principal
                    && record.command.request_id == *request_id
            }
        })
    }

    fn change(&mut self, id: Uuid) -> Option<&mut CommandRecord> {
        self.commands.values_mut().find(|record| record.command.id == id)
    }

    fn ticket(&self, bot: &str, ticket_id: &str) -> Option<&TicketState> {
        self.tickets.get(&(bot.to_owned(), ticket_id.to_owned()))
    }

    /// Joins a ticket's document to the tickets it names by number; answers what these are told.
    fn join(&self, new: &mut NewEvent) -> Vec<NewEvent> {
        let Some(ticket_id) = new.ticket_id.clone() else { return Vec::new() };
        let known = self.ticket(&new.bot, &ticket_id).cloned().unwrap_or_default();
        let Some(Kin { parent, child }) = Kin::of(new, &known) else { return Vec::new() };
        let newest = |number: fn(&Ticket) -> Option<i64>, sought: Option<i64>| {
            let of_bot =
                self.first_seen.iter().rev().filter(|(bot, id)| **bot == *new.bot && *id != ticket_id);
            let mut documents = of_bot.filter_map(|key| self.tickets.get(key)?.ticket.as_ref());
            documents.find(|ticket| sought.is_some() && number(ticket) == sought).cloned()
        };
        let parent = newest(|ticket| ticket.sequential_id, parent);
        let child = newest(|ticket| ticket.parent_sequential_id, child);
        join(new, &known, parent.as_ref(), child.as_ref())
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        let mut state = self.lock();
        let now = self.now(&state);
        Ok(self.append_to(&mut state, now, events))
    }

    async fn quarantine(&self, body: Quarantined) -> Result<(), AppendError> {
        let mut state = self.lock();
        let now = self.now(&state);
        state.last_held = HeldId(state.last_held.0.saturating_add(1));
        let id = state.last_held;
        state.quarantine.insert(id, (now, body));
        Ok(())
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Arc<StoredEvent>>, ReadError> {
        let trimmed = self.lock().trimmed;
        self.recent(after, limit).ok_or(ReadError::Trimmed { earliest: trimmed })
    }

    fn recent(&self, after: Seq, limit: usize) -> Option<Vec<Arc<StoredEvent>>> {
        let state = self.lock();
        let from = Seq(after.0.saturating_add(1));
        (after >= state.trimmed)
            .then(|| state.events.range(from..).take(limit).map(|(_, event)| Arc::clone(event)).collect())
    }

    fn tail(&self) -> watch::Receiver<Seq> {
        self.tail.subscribe()
    }

    async fn seek(&self, at: Timestamp) -> Result<Seq, ReadError> {
        let state = self.lock();
        let first = state.events.values().find(|stored| stored.event.receive_time >= at);
        Ok(first.map_or(state.last, |stored| Seq(stored.seq.0.saturating_sub(1))))
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        let state = self.lock();
        let date =
            |entry: Option<(&Seq, &Arc<StoredEvent>)>| entry.map(|(_, stored)| stored.event.receive_time);
        Ok(Bounds {
            trimmed: state.trimmed,
            last: state.last,
            earliest_time: date(state.events.first_key_value()),
            latest_time: date(state.events.last_key_value()),
            retention: self.retention,
            live_bytes: 0,
            live_bytes_max: None,
            store: "memory",
        })
    }

    fn id(&self) -> LogId {
        self.id
    }

    async fn ticket(&self, bot: &str, ticket_id: &str) -> Result<Option<TicketState>, ReadError> {
        Ok(self.lock().ticket(bot, ticket_id).cloned())
    }

    async fn tickets(&self, wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, ReadError> {
        let state = self.lock();
        let numbered: Vec<_> = (1_u64..).zip(&state.first_seen).collect();
        let documents = numbered.into_iter().rev().filter_map(|(n, key)| {
            let ticket = state.tickets.get(key)?.ticket.clone()?;
            Some((n, (key.0.clone(), ticket)))
        });
        Ok(page(documents, wanted.before, wanted.count_max, |(bot, ticket)| wanted.wants(bot, ticket)))
    }

    async fn bots_of(&self, ticket_id: &str) -> Result<Vec<String>, ReadError> {
        let state = self.lock();
        let bots: BTreeSet<_> =
            state.tickets.keys().filter(|(_, id)| id == ticket_id).map(|(bot, _)| bot).collect();
        Ok(bots.into_iter().cloned().collect())
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

#[async_trait]
impl Quarantine for MemoryLog {
    async fn held(&self, wanted: Wanted) -> Result<HeldPage, ReadError> {
        let Wanted { after, bot, ids, count_max, body_bytes_max } = wanted;
        let mut page = HeldPage::default();
        let mut bytes = 0_usize;
        for (id, (receive_time, body)) in &self.lock().quarantine {
            let Quarantined { bot: of, reason, raw } = body;
            let is_wanted = *id > after
                && bot.as_ref().is_none_or(|bot| **bot == **of)
                && ids.as_ref().is_none_or(|ids| ids.contains(id));
            if !is_wanted {
                continue;
            }
            bytes = bytes.saturating_add(raw.len());
            let fits = body_bytes_max.is_none_or(|bytes_max| bytes <= bytes_max || page.bodies.is_empty());
            if page.bodies.len() >= count_max || !fits {
                page.more = true;
                break;
            }
            page.bodies.push(Held {
                id: *id,
                bot: Arc::clone(of),
                receive_time: *receive_time,
                reason: reason.clone(),
                size_bytes: raw.len(),
                raw: body_bytes_max.map(|_| raw.clone()).unwrap_or_default(),
            });
        }
        Ok(page)
    }

    async fn taken(&self, keys: Vec<DedupKey>) -> Result<Vec<Option<Seq>>, AppendError> {
        let state = self.lock();
        let now = self.now(&state);
        Ok(keys.into_iter().map(|key| self.taken_by(&state, now, key)).collect())
    }

    async fn release(&self, readable: Vec<Readable>) -> Result<Vec<Released>, AppendError> {
        let mut state = self.lock();
        let now = self.now(&state);
        let release = |Readable { id, event }| match state.quarantine.remove(&id) {
            None => Released::Gone,
            Some(_) => match self.append_one(&mut state, now, event, place_late) {
                Appended::At(stored) => Released::At(stored),
                Appended::Duplicate(seq) => Released::Duplicate(seq),
            },
        };
        Ok(readable.into_iter().map(release).collect())
    }
}

#[async_trait]
impl Ledger for MemoryLog {
    async fn begin(&self, command: NewCommand) -> Result<Begun, AppendError> {
        let mut state = self.lock();
        let now = self.now(&state);
        if let Some(known) = state.find(&CommandKey::Id(command.id)) {
            return Ok(Begun::Known(known.clone()));
        }
        let (principal, request_id) = (command.principal.clone(), command.request_id.clone());
        let named = state.find(&CommandKey::Request { principal, request_id });
        if let Some(known) = named.filter(|known| is_held(known, now)) {
            let same = known.command.fingerprint == command.fingerprint;
            return Ok(if same { Begun::Known(known.clone()) } else { Begun::Conflict(known.clone()) });
        }
        let ticket = state.ticket(&command.bot, &command.ticket_id).cloned().unwrap_or_default();
        let start_time = (!command.accept_only).then_some(now);
        let record = CommandRecord {
            command,
            accept_time: now,
            start_time,
            end: None,
            settle_time: None,
            event_seq: Seq::default(),
        };
        state.last_command = state.last_command.saturating_add(1);
        let n = state.last_command;
        state.commands.insert(n, record.clone());
        Ok(Begun::Fresh(record, Box::new(ticket)))
    }

    async fn start(&self, id: Uuid) -> Result<Option<(CommandRecord, Box<TicketState>)>, AppendError> {
        let mut state = self.lock();
        let now = self.now(&state);
        let Some(record) = state.change(id).filter(|record| record.end.is_none()) else { return Ok(None) };
        record.start_time = Some(now);
        let record = record.clone();
        let ticket = state.ticket(&record.command.bot, &record.command.ticket_id).cloned();
        Ok(Some((record, Box::new(ticket.unwrap_or_default()))))
    }

    async fn requeue(&self, id: Uuid) -> Result<(), AppendError> {
        if let Some(record) = self.lock().change(id).filter(|record| record.end.is_none()) {
            record.start_time = None;
        }
        Ok(())
    }

    async fn settle(&self, id: Uuid, end: End, events: Vec<NewEvent>) -> Result<CommandRecord, AppendError> {
        let mut state = self.lock();
        let now = self.now(&state);
        let Some(known) = state.find(&CommandKey::Id(id)).cloned() else {
            return Err(AppendError::Unavailable("there is no such command".to_owned()));
        };
        if !replaces(&end, known.end.as_ref()) {
            return Ok(known);
        }
        let event_seq = first_of(&self.append_to(&mut state, now, events));
        let settled = CommandRecord { end: Some(end), settle_time: Some(now), event_seq, ..known };
        if let Some(record) = state.change(id) {
            *record = settled.clone();
        }
        Ok(settled)
    }

    async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, ReadError> {
        Ok(self.lock().find(&key).cloned())
    }

    async fn unsettled(&self, wanted: Unsettled) -> Result<Page<CommandRecord>, ReadError> {
        let state = self.lock();
        let left = state.commands.range(wanted.after.unwrap_or_default().saturating_add(1)..);
        let mut page = Gathered::new(wanted);
        for (n, record) in left.filter(|(_, record)| wanted.wants(record)) {
            if !page.take(*n, record.clone()) {
                break;
            }
        }
        Ok(page.end())
    }

    async fn unknown_since(
        &self,
        since: Timestamp,
        count_max: usize,
    ) -> Result<Vec<CommandRecord>, ReadError> {
        let state = self.lock();
        let is_one = |record: &&CommandRecord| {
            record.progress() == Progress::Unknown && record.settle_time.is_some_and(|at| at >= since)
        };
        let mut found: Vec<_> = state.commands.values().rev().filter(is_one).cloned().collect();
        found.sort_by_key(|record| std::cmp::Reverse(record.settle_time));
        found.truncate(count_max);
        Ok(found)
    }

    async fn commands(&self, wanted: CommandsWanted) -> Result<Page<CommandRecord>, ReadError> {
        let state = self.lock();
        let of_ticket = |record: &CommandRecord| {
            wanted.ticket_id.is_empty() || record.command.ticket_id == wanted.ticket_id
        };
        let records = state.commands.iter().filter(|(_, record)| of_ticket(record));
        let newest = records.rev().map(|(n, record)| (*n, listed(record.clone())));
        Ok(page(newest, wanted.before, wanted.count_max, |record| wanted.wants(record)))
    }
}

#[async_trait]
impl Notebook for MemoryLog {
    async fn note(&self, bot: &str) -> Result<Option<String>, ReadError> {
        Ok(self.lock().notes.get(bot).cloned())
    }

    async fn write_note(&self, bot: &str, note: String) -> Result<(), AppendError> {
        self.lock().notes.insert(bot.to_owned(), note);
        Ok(())
    }
}
