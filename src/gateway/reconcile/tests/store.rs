//! The store fails while something is found: nothing of it is forgotten.

use super::*;
use crate::domain::translate::items_of_thread;
use crate::domain::{
    DedupKey, NewEvent, Origin, Payload, Seq, StoredEvent, Ticket, TicketState, TicketStatus,
};
use crate::gateway::reconcile::find;
use crate::gateway::reconcile::note::Note;
use crate::store::quarantine::{HeldPage, Readable, Released, Wanted};
use crate::store::{
    AppendError, Appended, Bounds, Health, LogId, Page, Quarantined, ReadError, TicketsWanted,
};

/// A log that does not answer, or not take in, while it is told so.
#[derive(Debug)]
struct Faulty {
    log: Arc<MemoryLog>,
    /// How many looks at keys fail.
    blind: AtomicU32,
    /// What was found cannot be stored.
    full: AtomicBool,
    /// How often that was tried.
    tried: AtomicU32,
}

impl Faulty {
    fn over(parts: &mut Parts, log: &Arc<MemoryLog>) -> Arc<Self> {
        let log = Arc::clone(log);
        let (blind, full, tried) = (AtomicU32::new(0), AtomicBool::new(false), AtomicU32::new(0));
        let faulty = Arc::new(Self { log, blind, full, tried });
        (parts.log, parts.keys) = (faulty.clone(), faulty.clone());
        faulty
    }
}

#[async_trait]
impl EventLog for Faulty {
    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        let found = events.iter().any(|event| event.origin == Origin::Reconciliation);
        if found && self.full.load(Ordering::Relaxed) {
            self.tried.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::Full);
        }
        self.log.append(events).await
    }
    async fn quarantine(&self, body: Quarantined) -> Result<(), AppendError> {
        self.log.quarantine(body).await
    }
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Arc<StoredEvent>>, ReadError> {
        self.log.read(after, limit).await
    }
    fn recent(&self, after: Seq, limit: usize) -> Option<Vec<Arc<StoredEvent>>> {
        self.log.recent(after, limit)
    }
    fn tail(&self) -> watch::Receiver<Seq> {
        self.log.tail()
    }
    async fn seek(&self, at: Timestamp) -> Result<Seq, ReadError> {
        self.log.seek(at).await
    }
    async fn bounds(&self) -> Result<Bounds, ReadError> {
        self.log.bounds().await
    }
    fn id(&self) -> LogId {
        self.log.id()
    }
    async fn ticket(&self, bot: &str, ticket_id: &str) -> Result<Option<TicketState>, ReadError> {
        self.log.ticket(bot, ticket_id).await
    }
    async fn tickets(&self, wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, ReadError> {
        self.log.tickets(wanted).await
    }
    async fn bots_of(&self, ticket_id: &str) -> Result<Vec<String>, ReadError> {
        self.log.bots_of(ticket_id).await
    }
    fn health(&self) -> watch::Receiver<Health> {
        self.log.health()
    }
}

#[async_trait]
impl Quarantine for Faulty {
    async fn held(&self, wanted: Wanted) -> Result<HeldPage, ReadError> {
        self.log.held(wanted).await
    }
    async fn taken(&self, keys: Vec<DedupKey>) -> Result<Vec<Option<Seq>>, AppendError> {
        let fails = self.blind.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if fails.is_ok() {
            return Err(AppendError::Busy);
        }
        self.log.taken(keys).await
    }
    async fn release(&self, readable: Vec<Readable>) -> Result<Vec<Released>, AppendError> {
        self.log.release(readable).await
    }
}

/// A desk with one ticket, of which the log knows and which then ends by webhook; what was said last in it no webhook told.
/// Answers the position of its end.
async fn ends(world: &World) -> Seq {
    let now = SystemClock.now();
    let ago = |minutes: i64| now - SignedDuration::from_mins(minutes);
    let mut ticket = Ticket {
        id: "t".to_owned(),
        status: TicketStatus::Waiting,
        blip_status: "Waiting".to_owned(),
        create_time: Some(ago(50)),
        ..Ticket::default()
    };
    let document = json!({"id": "t", "status": "Waiting", "storageDate": ago(50).to_string()});
    let began = json!({"id": "t", "direction": "received", "date": ago(50).to_string(),
        "type": "application/vnd.iris.ticket+json", "content": {"id": "t"}});
    *world.blip.ticket.lock().unwrap() = Some((document, vec![began.clone()]));
    let told = |ticket: &Ticket| {
        let event = find::told(&"suporte".into(), ticket.clone());
        vec![NewEvent { origin: Origin::Webhook, ..event }]
    };
    world.log.append(told(&ticket)).await.unwrap();
    // A round sees it as it is, and has nothing to tell.
    world.asked_after(Duration::from_mins(3)).await;
    let said = json!({"id": "m", "direction": "received", "date": ago(20).to_string(), "type": "text/plain", "content": "oi"});
    ticket.status = TicketStatus::ClosedClient;
    ticket.blip_status = "ClosedClient".to_owned();
    (ticket.status_time, ticket.close_time) = (Some(ago(10)), Some(ago(10)));
    let closed = json!({"id": "t", "status": "ClosedClient", "storageDate": ago(50).to_string(),
        "closeDate": ago(10).to_string(), "statusDate": ago(10).to_string(), "closed": true});
    *world.blip.ticket.lock().unwrap() = Some((closed, vec![said, began]));
    match world.log.append(told(&ticket)).await.unwrap().remove(0) {
        Appended::At(stored) => stored.seq,
        Appended::Duplicate(seq) => seq,
    }
}

async fn is_told(log: &MemoryLog, what: &str) -> bool {
    let events = log.read(Seq(0), 100).await.unwrap();
    events.iter().any(|stored| stored.event.payload.type_name() == what)
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_could_not_be_compared_is_read_again() {
    let mut faulty = None;
    let world = world_over(&mut faulty);
    let faulty = faulty.unwrap();
    ends(&world).await;
    faulty.blind.store(1, Ordering::Relaxed);
    world.asked_after(Duration::from_mins(5)).await;
    assert_eq!(faulty.blind.load(Ordering::Relaxed), 0, "it was compared");
    assert!(is_told(&world.log, "message.customer").await, "and then again");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_found_while_the_process_stops_is_found_by_the_next() {
    let mut faulty = None;
    let world = world_over(&mut faulty);
    let faulty = faulty.unwrap();
    let end = ends(&world).await;
    faulty.full.store(true, Ordering::Relaxed);
    while faulty.tried.load(Ordering::Relaxed) == 0 {
        world.asked_after(Duration::from_secs(1)).await;
    }
    // The next process has a store that takes it.
    let next = world.again().await;
    let note = Note::read(&next.parts.notebook.note("suporte").await.unwrap().unwrap());
    assert!(note.followed.is_some_and(|followed| followed < end.0), "{note:?} passes over {end:?}");
    assert!(!is_told(&next.log, "message.customer").await);
    faulty.full.store(false, Ordering::Relaxed);
    next.asked_after(Duration::from_mins(2)).await;
    assert!(is_told(&next.log, "message.customer").await);
    next.stop().await;
}

/// What could not be stored for long is compared anew before it is: meanwhile it may have been told.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_stored_for_long_is_compared_anew() {
    let mut faulty = None;
    let world = world_over(&mut faulty);
    let faulty = faulty.unwrap();
    ends(&world).await;
    faulty.full.store(true, Ordering::Relaxed);
    let before = world.asked_after(Duration::from_mins(2)).await;
    assert!(faulty.tried.load(Ordering::Relaxed) > 0);
    let after = world.asked_after(Duration::from_hours(2)).await;
    assert!(after > before, "Blip is asked anew");
    faulty.full.store(false, Ordering::Relaxed);
    world.asked_after(Duration::from_mins(2)).await;
    assert!(is_told(&world.log, "message.customer").await);
    world.stop().await;
}

fn world_over(faulty: &mut Option<Arc<Faulty>>) -> World {
    world_with(true, false, None, |parts, log| *faulty = Some(Faulty::over(parts, log)))
}

/// A ticket that came and ended unseen is found, its conversation not given, and the process ends: the next one reads it.
#[tokio::test(start_paused = true)]
async fn a_conversation_that_a_round_could_not_read_is_read_by_the_next_process() {
    let world = world(true, false, None);
    let now = SystemClock.now();
    let ago = |minutes: i64| (now - SignedDuration::from_mins(minutes)).to_string();
    let closed = json!({"id": "t", "status": "ClosedClient", "storageDate": ago(50),
        "closeDate": ago(10), "statusDate": ago(10), "closed": true});
    let began = json!({"id": "t", "direction": "received", "date": ago(50),
        "type": "application/vnd.iris.ticket+json", "content": {"id": "t"}});
    let said =
        json!({"id": "m", "direction": "received", "date": ago(20), "type": "text/plain", "content": "oi"});
    *world.blip.ticket.lock().unwrap() = Some((closed, vec![said, began]));
    world.blip.mute.store(true, Ordering::Relaxed);
    while !is_told(&world.log, "ticket.closed").await {
        world.asked_after(Duration::from_secs(1)).await;
    }
    assert!(!is_told(&world.log, "message.customer").await);
    let next = world.again().await;
    next.blip.mute.store(false, Ordering::Relaxed);
    next.asked_after(Duration::from_mins(5)).await;
    assert!(is_told(&next.log, "message.customer").await);
    next.stop().await;
}

/// More tickets end at a time than may wait to be read: the rest is taken from the log when there is room.
#[tokio::test(start_paused = true)]
async fn more_that_ends_at_a_time_than_there_is_room_for_is_read_all_the_same() {
    let World { log, parts, blip, .. } = world(false, false, None);
    let api: Arc<dyn BlipApi> = blip.clone();
    let settings = Settings { enabled: true, ..parts.settings };
    let rules = Rules { errands_max: 2, ..rules_of(&settings, 48) };
    let bot = Arc::new(Bot::new("suporte".into(), api, parts.clone(), rules));
    drop(parts.shutdown.spawn(Arc::clone(&bot).run()));
    tokio::time::sleep(Duration::from_mins(1)).await;
    let now = SystemClock.now();
    let document = json!({"id": "t0", "status": "ClosedClient", "storageDate": now.to_string()});
    let began = json!({"id": "t0", "direction": "received", "date": now.to_string(),
        "type": "application/vnd.iris.ticket+json", "content": {"id": "t0"}});
    *blip.ticket.lock().unwrap() = Some((document, vec![began]));
    let ended = |n: usize| {
        let status = TicketStatus::ClosedClient;
        let id = format!("t{n}");
        let event =
            find::told(&"suporte".into(), Ticket { id, status, create_time: Some(now), ..Ticket::default() });
        NewEvent { origin: Origin::Webhook, ..event }
    };
    log.append((0..9).map(ended).collect()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(10)).await;
    let asked = blip.asked.lock().unwrap().clone();
    for n in 0..9 {
        let conversation = format!("/tickets/t{n}/messages");
        assert!(asked.iter().any(|uri| uri.starts_with(&conversation)), "{conversation}: {asked:?}");
    }
    parts.shutdown.soft().cancel();
    parts.shutdown.drained().await;
}

/// Blip shows the item of the ticket alone that is asked for, and nobody knows when the one before began: what was told
/// there is not told again, by this process and the next.
#[tokio::test(start_paused = true)]
async fn what_another_ticket_of_the_customer_has_told_is_not_told_again() {
    let world = world_with(true, false, None, |parts, _| {
        parts.settings.earlier = Some(Duration::from_hours(1));
    });
    let now = SystemClock.now();
    let ago = |minutes: i64| (now - SignedDuration::from_mins(minutes)).to_string();
    let said = |id: &str, minutes: i64| json!({"id": id, "direction": "received", "date": ago(minutes), "type": "text/plain", "content": id});
    let before = Ticket {
        id: "before".to_owned(),
        status: TicketStatus::ClosedClient,
        customer_identity: "ana@0mn.io".to_owned(),
        ..Ticket::default()
    };
    let told = items_of_thread(&json!({"items": [said("m", 30)]}));
    let told = told[0].event(&"suporte".into(), &before).unwrap();
    world.log.append(vec![find::told(&"suporte".into(), before), told]).await.unwrap();
    let began = json!({"id": "t", "direction": "received", "date": ago(20),
        "type": "application/vnd.iris.ticket+json", "content": {"id": "t"}});
    let document =
        json!({"id": "t", "status": "Waiting", "storageDate": ago(20), "customerIdentity": "ana@0mn.io"});
    *world.blip.ticket.lock().unwrap() = Some((document, vec![said("n", 10), began, said("m", 30)]));
    let messages = async |log: &MemoryLog| {
        let events = log.read(Seq(0), 100).await.unwrap();
        let told = events.iter().filter_map(|stored| {
            let Payload::CustomerMessage { message_id, .. } = &stored.event.payload else { return None };
            Some(message_id.clone())
        });
        told.collect::<Vec<_>>()
    };
    // The next process knows it from the log: it is not there when the ticket is told of.
    let next = world.again().await;
    next.asked_after(Duration::from_mins(5)).await;
    assert_eq!(messages(&next.log).await, ["m", "n"]);
    let next = next.again().await;
    next.asked_after(Duration::from_mins(20)).await;
    assert_eq!(messages(&next.log).await, ["m", "n"]);
    next.stop().await;
}
