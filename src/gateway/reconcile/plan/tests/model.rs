//! A model of Blip and of the gateway around a planner: tickets that live and end, webhooks that are lost, answers that
//! fail in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::*;
use crate::domain::translate::items_of_thread;
use crate::domain::{DedupKey, Event, NewEvent, Payload, TicketStatus, place};
use crate::gateway::reconcile::find;

mod answers;

use answers::item_of;

const BOT: &str = "suporte";

pub(super) fn rules() -> Rules {
    Rules {
        pace: Duration::from_millis(200),
        interval: Duration::from_mins(15),
        grace: SignedDuration::from_secs(30),
        earlier: SignedDuration::from_hours(1),
        lookback: SignedDuration::from_hours(24),
        window: SignedDuration::from_hours(70),
        errands_max: 50_000,
        automatic: true,
    }
}

/// A small source of chance.
pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// A message: its id, when, and whose.
#[derive(Clone)]
pub(super) struct Message {
    id: String,
    date: Timestamp,
    sent: bool,
}

pub(super) struct Attendance {
    pub(super) document: Ticket,
    said: Vec<Message>,
}

/// What the log has.
#[derive(Default)]
pub(super) struct Log {
    states: BTreeMap<String, TicketState>,
    /// What is recognised, and since when: for 72 hours.
    keys: BTreeMap<DedupKey, Timestamp>,
    events: Vec<Event>,
    /// Tickets of which the webhook of their end told first: there, `ticket.closed` is all that tells of the ticket.
    ended_first: BTreeSet<String>,
}

impl Log {
    /// From when the newest is that it has of a ticket.
    fn newest(&self, ticket: &str) -> Option<Timestamp> {
        self.events
            .iter()
            .filter(|event| event.ticket_id == ticket)
            .filter_map(|event| event.event_time)
            .max()
    }

    fn append(&mut self, new: NewEvent, date: Timestamp) {
        if let Some(key) = new.dedup {
            if self.recognises(key, date) {
                return;
            }
            self.keys.insert(key, date);
        }
        let state = self.states.entry(new.ticket_id.clone().unwrap()).or_default();
        self.events.push(place(new, state, Uuid::nil(), date).0);
    }

    fn recognises(&self, key: DedupKey, now: Timestamp) -> bool {
        self.keys.get(&key).is_some_and(|since| now.duration_since(*since) < SignedDuration::from_hours(72))
    }

    fn count(&self, ticket: &str, what: &str) -> usize {
        let of = |event: &&Event| event.ticket_id == ticket && event.payload.type_name() == what;
        self.events.iter().filter(of).count()
    }
}

pub(super) struct Model {
    dice: Dice,
    pub(super) now: Now,
    pub(super) attendances: Vec<Attendance>,
    log: Log,
    pub(super) planner: Planner,
    /// Whether Blip fails, in any way there is.
    pub(super) troubled: bool,
    pub(super) asked: u64,
    made: usize,
    /// How far each ticket was in the log when its conversation was asked for.
    asked_at: BTreeMap<String, u64>,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let date = "2024-05-02T12:00:00Z".parse().unwrap();
        Self {
            dice: Dice(seed),
            now: Now { at: Instant::now(), date },
            attendances: Vec::new(),
            log: Log::default(),
            planner: Planner::new(rules(), None, None),
            troubled: false,
            asked: 0,
            made: 0,
            asked_at: BTreeMap::new(),
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.at += time;
        self.now.date += SignedDuration::try_from(time).unwrap();
    }

    pub(super) fn open(&mut self, told: bool) {
        let n = self.attendances.len();
        let document = Ticket {
            id: format!("t{n:05}"),
            status: TicketStatus::Waiting,
            blip_status: "Waiting".to_owned(),
            sequential_id: Some(i64::try_from(n).unwrap()),
            customer_identity: format!("c{n}@0mn.io"),
            create_time: Some(self.now.date),
            ..Ticket::default()
        };
        if told {
            self.tell(&find::told(&Arc::from(BOT), document.clone()));
        }
        self.attendances.push(Attendance { document, said: Vec::new() });
    }

    /// A webhook that arrives.
    fn tell(&mut self, event: &NewEvent) {
        let id = event.ticket_id.clone().unwrap();
        let undocumented = self.log.states.get(&id).is_none_or(|state| state.ticket.is_none());
        self.log.append(event.clone(), self.now.date);
        if undocumented && self.log.states[&id].is_closed() {
            self.log.ended_first.insert(id);
        }
        if let crate::domain::Fact::Ticket(ticket) = &event.fact {
            let lives = !ticket.status.is_terminal();
            self.planner.log_has(&ticket.id, lives, ticket.create_time);
            self.heard(&ticket.id);
            let what = if lives { errand::What::Arrived } else { errand::What::Ended };
            let from = if lives { self.now.at } else { round::later(self.now, rules().grace) };
            let (ticket_id, created) = (ticket.id.clone(), ticket.create_time);
            self.planner.run_errand(Errand { ticket_id, from, created, what, position: None, tries: 0 });
        }
    }

    fn heard(&mut self, ticket: &str) {
        if let Some(newest) = self.log.newest(ticket) {
            self.planner.log_has_from(ticket, newest);
        }
    }

    pub(super) fn say(&mut self, n: usize, told: bool) {
        self.made += 1;
        let message =
            Message { id: format!("m{}", self.made), date: self.now.date, sent: self.dice.one_in(4) };
        let attendance = &mut self.attendances[n];
        attendance.said.push(message.clone());
        let document = attendance.document.clone();
        if told && !message.sent {
            let item = items_of_thread(&json!({"items": [item_of(&message)]})).remove(0);
            self.tell(&item.event(&Arc::from(BOT), &document).unwrap());
            self.heard(&document.id);
        }
    }

    /// The webhooks of a ticket and of all that the customer said in it arrive, late.
    pub(super) fn tell_all(&mut self, n: usize) {
        let Attendance { document, said } = &self.attendances[n];
        let bot = Arc::from(BOT);
        let items = said.iter().filter(|it| !it.sent).map(item_of).collect::<Vec<_>>();
        let words = items_of_thread(&json!({"items": items})).into_iter();
        let words = words.filter_map(|item| item.event(&bot, document)).collect::<Vec<_>>();
        let document = find::told(&bot, document.clone());
        for event in std::iter::once(document).chain(words) {
            self.tell(&event);
        }
    }

    pub(super) fn end(&mut self, n: usize, told: bool) {
        let (date, document) = (self.now.date, &mut self.attendances[n].document);
        document.status = TicketStatus::ClosedClient;
        document.blip_status = "ClosedClient".to_owned();
        document.close_time = Some(date);
        document.status_time = Some(date);
        let document = document.clone();
        if told {
            self.tell(&find::told(&Arc::from(BOT), document));
        }
    }

    /// Another agent attends.
    pub(super) fn assign(&mut self, n: usize, told: bool) {
        self.made += 1;
        let (date, document) = (self.now.date, &mut self.attendances[n].document);
        document.status = TicketStatus::Open;
        document.blip_status = "Open".to_owned();
        document.agent_identity = format!("a{}@blip.ai", self.made);
        document.status_time = Some(date);
        document.open_time.get_or_insert(date);
        let document = document.clone();
        if told {
            self.tell(&find::told(&Arc::from(BOT), document));
        }
    }

    /// Something happens at Blip, and its webhook comes, or does not.
    pub(super) fn live(&mut self) {
        let told = !self.dice.one_in(3);
        match self.dice.roll(9) {
            0 => self.open(told),
            8 => {
                if let Some(n) = self.some_living() {
                    self.assign(n, told);
                }
            }
            1 => {
                if let Some(n) = self.some_living() {
                    self.end(n, told);
                }
            }
            _ => {
                if let Some(n) = self.some_living() {
                    self.say(n, told);
                }
            }
        }
    }

    fn some_living(&mut self) -> Option<usize> {
        let living: Vec<_> = (0..self.attendances.len())
            .filter(|n| !self.attendances[*n].document.status.is_terminal())
            .collect();
        (!living.is_empty()).then(|| living[self.dice.roll(living.len())])
    }

    /// What came back is taken in as the gateway does.
    pub(super) fn take_in(&mut self, ask: &Ask, answer: Answer) {
        let known = tickets_of(ask, &answer).into_iter();
        let known = known.filter_map(|id| Some((id.clone(), self.log.states.get(&id)?.clone()))).collect();
        for finding in self.planner.came_back(self.now, ask, answer, &known) {
            match finding {
                Finding::Ticket(ticket) => {
                    let newest = self.planner.newest(&ticket.id, self.now);
                    let event = find::told(&Arc::from(BOT), *ticket);
                    self.append(find::placed(event, Some(newest)));
                }
                Finding::Conversation(conversation) => self.conversation(&conversation),
            }
        }
    }

    fn conversation(&mut self, conversation: &Conversation) {
        let id = conversation.ticket_id();
        let state = self.log.states.get(id).cloned().unwrap_or_default();
        let document = conversation.document().cloned().filter(|_| !state.is_closed());
        let moved = self.asked_at.get(id) != Some(&state.last_sequence);
        let ticket = document.clone().or(state.ticket.clone()).unwrap();
        let bot = Arc::from(BOT);
        let words = find::words_of(
            &bot,
            conversation,
            &ticket,
            (state.last_sequence > 0, &BTreeMap::new()),
            self.now,
            &rules(),
        );
        let (whole, digest) = (words.is_whole(), words.digest);
        let known: Vec<_> =
            words.said.iter().map(|said| self.log.recognises(said.key, self.now.date)).collect();
        let newest = self.planner.newest(id, self.now);
        let as_known = find::Known { state: &state, moved, newest, aside: None };
        for (event, _) in find::missing(&bot, document.as_ref(), as_known, words, &known) {
            self.append(event);
        }
        if whole {
            self.planner.stored(id, digest);
        }
    }

    /// Appends what was found; what it tells of an end must be true.
    fn append(&mut self, event: NewEvent) {
        let before = self.log.events.len();
        self.log.append(event, self.now.date);
        let new = self.log.events[before..].to_vec();
        for event in &new {
            let ended = matches!(event.payload, Payload::TicketClosed(_) | Payload::TicketTransferred(_));
            let really = self.attendances.iter().find(|it| it.document.id == event.ticket_id).unwrap();
            let status = really.document.status;
            assert!(!ended || status.is_terminal(), "{} was closed and lives", event.ticket_id);
            let lives = !self.log.states[&event.ticket_id].is_closed();
            self.planner.log_has(&event.ticket_id, lives, really.document.create_time);
            self.heard(&event.ticket_id);
        }
    }

    /// Runs until a round is over, or for so many steps.
    pub(super) fn run(&mut self, steps_max: usize, lively: bool) -> Option<Report> {
        let mut under_way = Vec::new();
        for _ in 0..steps_max {
            if lively && self.dice.one_in(2) {
                self.live();
            }
            let step = self.planner.next(self.now);
            match step {
                Step::Ask(ask) => {
                    let answer = self.answer(&ask);
                    under_way.push((ask, answer));
                    self.pass(Duration::from_millis(10));
                }
                Step::Done(report) => {
                    for (ask, answer) in under_way {
                        self.take_in(&ask, answer);
                    }
                    return Some(report);
                }
                Step::Wait(until) => {
                    if under_way.is_empty() {
                        let time = until.saturating_duration_since(self.now.at);
                        self.pass(time);
                    } else {
                        self.pass(Duration::from_millis(50));
                        let (ask, answer) = under_way.remove(self.dice.roll(under_way.len()));
                        self.take_in(&ask, answer);
                    }
                }
                Step::Answers => {
                    self.pass(Duration::from_millis(50));
                    assert!(!under_way.is_empty(), "nothing is under way, and nothing to wait for");
                    let (ask, answer) = under_way.remove(self.dice.roll(under_way.len()));
                    self.take_in(&ask, answer);
                }
            }
        }
        for (ask, answer) in under_way {
            self.take_in(&ask, answer);
        }
        None
    }

    /// A planner that knows what the log has, and no more.
    pub(super) fn restart(&mut self, resume: Option<String>) {
        self.planner = Planner::new(rules(), None, resume);
        for Attendance { document, .. } in &self.attendances {
            self.planner.log_has(&document.id, !document.status.is_terminal(), document.create_time);
        }
    }

    /// Nothing is in the log twice.
    pub(super) fn check_once(&self) {
        let mut seen = BTreeSet::new();
        for event in &self.log.events {
            let fact = (&event.ticket_id, &event.blip_id, event.payload.type_name());
            assert!(seen.insert(fact), "twice: {fact:?}");
        }
    }

    /// Everything there is at Blip is in the log, once.
    pub(super) fn check(&self) {
        for Attendance { document, said } in &self.attendances {
            let id = &document.id;
            let created = usize::from(!self.log.ended_first.contains(id));
            assert_eq!(self.log.count(id, "ticket.created"), created, "{id} was created once");
            let ended = usize::from(document.status.is_terminal());
            assert_eq!(self.log.count(id, "ticket.closed"), ended, "{id} ended {ended} times");
            for message in said {
                let times = self.log.events.iter().filter(|event| {
                    event.blip_id == message.id
                        && event.ticket_id == *id
                        && event.payload.type_name()
                            == if message.sent { "message.agent" } else { "message.customer" }
                });
                assert_eq!(times.count(), 1, "{} of {id}", message.id);
            }
            let order: Vec<_> = self.log.events.iter().filter(|event| event.ticket_id == *id).collect();
            let mut newest = None;
            for event in order {
                let late = event.event_time < newest;
                assert!(!late || event.flags.order_uncertain, "out of order and not flagged: {event:?}");
                newest = newest.max(event.event_time);
            }
        }
    }
}
