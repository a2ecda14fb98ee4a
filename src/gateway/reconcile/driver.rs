//! A bot's reader at work: does what the planner says, one step after the other, until the process stops.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::ask::{ask, kind_of};
use super::customers::Customers;
use super::note::{Left, Note};
use super::plan::{Answer, Ask, Finding, Now, Phase, Planner, ReaderFault, Report, Rules, Step, tickets_of};
use super::watchdog::Watchdog;
use super::{Parts, find};
use crate::blip::BlipApi;
use crate::domain::{Event, Seq, Ticket, TicketState};
use crate::store::{Page, ReadError, TicketsWanted};

/// How often a note is written while a round runs.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);
/// The pause before the log is read again that could not be.
const LOG_PAUSE: Duration = Duration::from_secs(1);
/// The pause before reading begins again that broke off.
const BROKEN_PAUSE: Duration = Duration::from_secs(30);
/// Tickets that are read from the log at a time.
const TICKETS_PAGE: usize = 1_000;

/// How far a bot's reader has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// The number of the round that runs, or ran last.
    pub round: u64,
    /// How far it is; `None` between rounds.
    pub phase: Option<Phase>,
    /// Tickets that are done in this phase.
    pub done: usize,
    /// Of how many.
    pub total: usize,
    /// Questions that Blip was asked since the start.
    pub asked: u64,
    /// What was found since the start, by kind.
    pub found: BTreeMap<&'static str, u64>,
    /// What is wrong with reading from Blip.
    pub fault: Option<ReaderFault>,
    /// Nothing is asked before then, as Blip cannot be.
    pub paused: bool,
    /// The round that ended last.
    pub last: Option<Report>,
}

/// A bot's reader.
#[derive(Debug)]
pub(super) struct Bot {
    pub(super) name: Arc<str>,
    api: Arc<dyn BlipApi>,
    pub(super) parts: Parts,
    pub(super) rules: Rules,
    planner: Mutex<Planner>,
    pub(super) wake: Notify,
    progress: watch::Sender<Progress>,
    /// Up to where the log was followed.
    pub(super) followed: Mutex<Option<u64>>,
    /// Where the log ended when reading began.
    pub(super) began_at: AtomicU64,
    watchdog: Mutex<Watchdog>,
    customers: Mutex<Customers>,
}

/// A question under way.
type Flight = BoxFuture<'static, (Ask, Answer)>;

impl Bot {
    pub(super) fn new(name: Arc<str>, api: Arc<dyn BlipApi>, parts: Parts, rules: Rules) -> Self {
        parts.metrics.begin(&name);
        let watchdog = Watchdog::new(parts.settings.silence, parts.clock.now(), Vec::new(), &[]);
        Self {
            name,
            api,
            parts,
            rules,
            planner: Mutex::new(Planner::new(rules, None, None)),
            wake: Notify::new(),
            progress: watch::Sender::default(),
            followed: Mutex::default(),
            began_at: AtomicU64::default(),
            watchdog: Mutex::new(watchdog),
            customers: Mutex::default(),
        }
    }

    pub(super) fn planner(&self) -> MutexGuard<'_, Planner> {
        self.planner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a round has ended since the start.
    pub(super) fn has_read(&self) -> bool {
        self.progress.borrow().last.is_some()
    }

    pub(super) fn watchdog(&self) -> MutexGuard<'_, Watchdog> {
        self.watchdog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn customers(&self) -> MutexGuard<'_, Customers> {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Now {
        Now { at: Instant::now(), date: self.parts.clock.now() }
    }

    /// Has a round begin.
    pub(super) fn demand(&self, since: Option<Timestamp>) -> (u64, watch::Receiver<Progress>) {
        let number = self.planner().demand(self.now(), since);
        let progress = self.progress.subscribe();
        self.wake.notify_one();
        (number, progress)
    }

    /// Webhooks were refused for want of room.
    pub(super) fn troubled(&self) {
        self.watchdog().refused(self.parts.clock.now());
        if self.rules.automatic {
            self.planner().hasten(self.now());
            self.wake.notify_one();
        }
    }

    /// Reads Blip back until the process stops, and begins again should a fault of ours break that off.
    pub(super) async fn run(self: Arc<Self>) {
        let shutdown = &self.parts.shutdown;
        while let Err(error) = shutdown.spawn(Arc::clone(&self).read()).await {
            tracing::error!(bot = %self.name, %error, "reading Blip back broke off, which is a fault of ours; it begins again");
            tokio::select! {
                () = tokio::time::sleep(BROKEN_PAUSE) => {}
                () = shutdown.soft().cancelled() => return,
            }
        }
    }

    async fn read(self: Arc<Self>) {
        let soft = self.parts.shutdown.soft().clone();
        if !self.rules.automatic && !self.planner().is_asked() {
            // Until somebody asks, nothing is read, from the log neither.
            tokio::select! {
                () = self.wake.notified() => self.wake.notify_one(),
                () = soft.cancelled() => return,
            }
        }
        tokio::select! {
            restored = self.restore() => restored,
            () = soft.cancelled() => return,
        }
        // In one task: what breaks the one begins both anew.
        tokio::join!(self.follow(), self.work());
    }

    async fn work(&self) {
        let soft = self.parts.shutdown.soft();
        let mut work =
            Work { flights: FuturesUnordered::new(), asked_at: BTreeMap::new(), noted: Instant::now() };
        while !soft.is_cancelled() {
            self.step(&mut work).await;
        }
        self.write_note().await;
    }

    /// Takes up where an earlier process was, and what the log has.
    async fn restore(&self) {
        let note = loop {
            match self.parts.notebook.note(&self.name).await {
                Ok(note) => break note.map(|note| Note::read(&note)).unwrap_or_default(),
                Err(error) => self.cannot_read(&error).await,
            }
        };
        self.parts.metrics.raised(&self.name, &note.raised);
        let (tail, now) = (self.parts.log.tail().borrow().0, self.parts.clock.now());
        {
            let mut planner = self.planner();
            let mut next = Planner::new(self.rules, note.covered(), note.resume.clone());
            next.take_over(&planner);
            if let Some(since) = note.since() {
                next.look_back(since);
            }
            *planner = next;
        }
        *self.watchdog() =
            Watchdog::new(self.parts.settings.silence, self.parts.clock.now(), note.usual, &note.raised);
        let blind = self.watchdog().blind();
        self.planner().suspect(blind);
        self.began_at.store(tail, Ordering::Relaxed);
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(note.followed.unwrap_or(tail).min(tail));
        self.restore_tickets(now).await;
        for left in note.left {
            self.take_up(left).await;
        }
    }

    /// Takes up the tickets that the log has; `now` is when this began.
    async fn restore_tickets(&self, now: Timestamp) {
        *self.customers() = Customers::default();
        let bot = self.name.to_string();
        let mut wanted = TicketsWanted { bot, count_max: TICKETS_PAGE, ..TicketsWanted::default() };
        loop {
            match self.parts.log.tickets(wanted.clone()).await {
                Ok(Page { items, next }) => {
                    let (mut planner, mut customers) = (self.planner(), self.customers());
                    for (_, ticket) in items {
                        customers.add_older(&ticket.customer_identity, &ticket.id);
                        if !ticket.status.is_terminal() {
                            planner.log_has(&ticket.id, true, ticket.create_time);
                            // What it has until now is not looked up.
                            planner.log_has_from(&ticket.id, now);
                        }
                    }
                    wanted.before = next;
                }
                Err(error) => {
                    self.cannot_read(&error).await;
                    continue;
                }
            }
            if wanted.before.is_none() {
                break;
            }
        }
    }

    /// Has a conversation or a ticket read that an earlier process found and could not read.
    async fn take_up(&self, left: Left) {
        let state = loop {
            match self.parts.log.ticket(&self.name, &left.ticket).await {
                Ok(state) => break state,
                Err(error) => self.cannot_read(&error).await,
            }
        };
        let created = state.and_then(|state| state.ticket?.create_time);
        let now = self.now();
        self.planner().run_errand(left.errand(created, now));
    }

    pub(super) async fn cannot_read(&self, error: &ReadError) {
        tracing::warn!(bot = %self.name, %error, "the log cannot be read; Blip is not read back until it can");
        tokio::time::sleep(LOG_PAUSE).await;
    }

    async fn step(&self, work: &mut Work) {
        let soft = self.parts.shutdown.soft();
        let step = self.planner().next(self.now());
        let until = match step {
            Step::Ask(ask) => return self.send(ask, work).await,
            Step::Done(report) => return self.round_done(&report, work).await,
            Step::Wait(until) => Some(until),
            Step::Answers => None,
        };
        let far = Instant::now() + NOTE_INTERVAL;
        tokio::select! {
            Some((ask, answer)) = work.flights.next() => self.take_in(ask, answer, work).await,
            () = sleep_until(until.unwrap_or(far).min(far)) => {}
            () = self.wake.notified() => {}
            () = soft.cancelled() => {}
        }
        self.watch().await;
        self.tell_progress();
        if work.noted.elapsed() >= NOTE_INTERVAL {
            work.noted = Instant::now();
            self.write_note().await;
        }
    }

    async fn send(&self, question: Ask, work: &mut Work) {
        self.parts.metrics.asked(&self.name, kind_of(&question));
        self.progress.send_modify(|progress| progress.asked = progress.asked.saturating_add(1));
        if let Ask::Said { id, skip: 0 } = &question {
            let sequence = match self.parts.log.ticket(&self.name, id).await {
                Ok(state) => state.unwrap_or_default().last_sequence,
                Err(_) => u64::MAX,
            };
            work.asked_at.insert(id.clone(), sequence);
        }
        let (api, id) = (Arc::clone(&self.api), self.parts.ids.next().to_string());
        work.flights.push(Box::pin(async move {
            let answer = ask(api.as_ref(), &id, &question).await;
            (question, answer)
        }));
    }

    async fn take_in(&self, ask: Ask, answer: Answer, work: &mut Work) {
        let (answer, known) = match self.known(&ask, &answer).await {
            Ok(known) => (answer, known),
            Err(error) => {
                self.cannot_read(&error).await;
                (Answer::Failed { retry_after: LOG_PAUSE, asked: false }, BTreeMap::new())
            }
        };
        let (findings, given_up) = {
            let mut planner = self.planner();
            (planner.came_back(self.now(), &ask, answer, &known), planner.take_given_up())
        };
        for ticket in given_up {
            tracing::warn!(
                bot = %self.name, ticket,
                "Blip did not give this ticket's conversation in time, which is three days from when it was said: what no \
                 webhook told of it, and no later reading shows, is not in the log"
            );
        }
        for finding in findings {
            match finding {
                Finding::Ticket(ticket) => self.ticket_found(*ticket).await,
                Finding::Conversation(conversation) => {
                    let asked_at = work.asked_at.remove(conversation.ticket_id());
                    self.conversation_read(&conversation, asked_at).await;
                }
            }
        }
    }

    /// What the log knows of the tickets in an answer.
    async fn known(&self, ask: &Ask, answer: &Answer) -> Result<BTreeMap<String, TicketState>, ReadError> {
        let mut known = BTreeMap::new();
        for id in tickets_of(ask, answer) {
            if let Some(state) = self.parts.log.ticket(&self.name, &id).await? {
                known.insert(id, state);
            }
        }
        Ok(known)
    }

    async fn ticket_found(&self, ticket: Ticket) {
        let newest = self.planner().newest(&ticket.id, self.now());
        let event = find::placed(find::told(&self.name, ticket), Some(newest));
        if !self.append(vec![(event, find::Kind::Changed)]).await {
            self.planner().not_stored(self.now(), None);
        }
    }

    async fn round_done(&self, report: &Report, work: &mut Work) {
        self.parts.metrics.round(&self.name, report);
        let Report {
            number, took, asked, listed, checked, conversations, left_out, unread, complete, ..
        } = report;
        let seconds = took.as_secs();
        tracing::info!(
            bot = %self.name, number, seconds, asked, listed, checked, conversations, left_out, unread, complete,
            "a round of reading Blip back is over"
        );
        // The rest of a round says nothing of what was read before.
        if report.complete && !report.resumed {
            let over = self.watchdog().round_done(report.started);
            self.tell_alert(over).await;
        }
        self.progress.send_modify(|progress| progress.last = Some(report.clone()));
        self.tell_progress();
        work.noted = Instant::now();
        self.write_note().await;
    }

    fn tell_progress(&self) {
        let (progress, fault, living, paused) = {
            let planner = self.planner();
            (planner.progress(), planner.reader_fault(), planner.living(), planner.is_paused(self.now()))
        };
        self.parts.metrics.living(&self.name, living);
        self.progress.send_if_modified(|now| {
            let before = (now.round, now.phase, now.done, now.total, now.fault, now.paused);
            (now.fault, now.paused) = (fault, paused);
            (now.phase, now.done, now.total) = (None, 0, 0);
            if let Some((round, phase, done, total)) = progress {
                (now.round, now.phase, now.done, now.total) = (round, Some(phase), done, total);
            }
            before != (now.round, now.phase, now.done, now.total, now.fault, now.paused)
        });
    }

    /// Counts what was found.
    pub(super) fn count(&self, kind: find::Kind, event: &Event) {
        let now = self.parts.clock.now();
        match kind {
            find::Kind::Customer(Some(date)) => self.watchdog().missed(now, date, false),
            find::Kind::Created => self.watchdog().missed(now, event.event_time.unwrap_or(now), true),
            find::Kind::Customer(None)
            | find::Kind::Changed
            | find::Kind::Ended
            | find::Kind::Earlier
            | find::Kind::Agent => {}
        }
        self.parts.metrics.found(&self.name, kind.name());
        self.progress.send_modify(|progress| {
            let count = progress.found.entry(kind.name()).or_default();
            *count = count.saturating_add(1);
        });
    }

    /// Notes down how far it is. That it cannot is no harm: the next process reads more than it had to.
    async fn write_note(&self) {
        let followed = *self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let (usual, raised) = {
            let watchdog = self.watchdog();
            (watchdog.usual().to_vec(), watchdog.raised())
        };
        let note = {
            let planner = self.planner();
            let before = planner.oldest_errand().map(|position| position.saturating_sub(1));
            let now = self.now();
            let note = Note {
                left: planner.loose_ends().filter_map(|errand| Left::of(errand, now)).collect(),
                resume: planner.resume_at(),
                followed: before.into_iter().chain(followed).min(),
                usual,
                raised,
                ..Note::default()
            };
            note.looking(planner.covered(), planner.owed())
        };
        if let Err(error) = self.parts.notebook.write_note(&self.name, note.write()).await {
            tracing::debug!(bot = %self.name, %error, "how far reading back has come could not be noted");
        }
    }

    /// Where the log is read on from.
    pub(super) fn follow_from(&self) -> Seq {
        Seq(self.followed.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default())
    }
}

/// What is under way.
struct Work {
    flights: FuturesUnordered<Flight>,
    /// How far each ticket was in the log when its conversation was asked for.
    asked_at: BTreeMap<String, u64>,
    noted: Instant,
}
