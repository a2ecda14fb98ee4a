//! What every part of a running sandbox holds: the desk, the faults, the settings, and the records, in one lock.
//!
//! The lock is never held across a wait. Webhooks are queued under it, so they leave in the order of what they tell.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, SystemClock};

use super::BotConfig;
use super::WebhookConfig;
use super::faults::{Faults, Kind, On};
use super::model::{Desk, stamp};
use super::quota::{Buckets, Quota};
use super::webhooks::{Delivery, Queue};

/// Records kept of each kind; older ones are forgotten.
const RECORDS_MAX: usize = 10_000;

/// What `PUT /settings` changes; members that are absent stay as they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Settings {
    /// Post a ticket document for every new ticket, whoever caused it.
    pub(crate) announce_new: bool,
    /// Post a ticket document whenever a command changed a ticket. Blip's own habit is undocumented.
    pub(crate) announce_changes: bool,
    /// Post `received` and `consumed` for what agents send. Undocumented in Blip.
    pub(crate) announce_receipts: bool,
    /// Post what customers write while the ticket still waits; it is in the ticket's messages in any case.
    pub(crate) deliver_while_waiting: bool,
    /// Blip's throughput limit; `null` is none.
    pub(crate) quota: Option<Quota>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            announce_new: true,
            announce_changes: false,
            announce_receipts: false,
            deliver_while_waiting: true,
            quota: None,
        }
    }
}

impl Settings {
    /// Takes over the members given; the error says which makes no sense.
    pub(crate) fn apply(&mut self, changes: Map<String, Value>) -> Result<(), serde_json::Error> {
        let mut members = serde_json::to_value(&*self)?;
        if let Some(members) = members.as_object_mut() {
            members.extend(changes);
        }
        *self = serde_json::from_value(members)?;
        Ok(())
    }
}

/// An envelope that came in, and what it was answered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) at: String,
    pub(crate) on: On,
    pub(crate) envelope: Value,
    /// The fault it met, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Kind>,
    /// The HTTP status it was given; none where the connection was cut, or nothing was answered.
    pub(crate) http_status: Option<u16>,
}

/// What changes while the sandbox runs.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) desk: Desk,
    pub(crate) faults: Faults,
    pub(crate) settings: Settings,
    pub(crate) buckets: Buckets,
    pub(crate) webhook: Option<WebhookConfig>,
    pub(crate) queues: HashMap<String, Queue>,
    pub(crate) deliveries: VecDeque<Delivery>,
    pub(crate) requests: VecDeque<Request>,
}

impl State {
    /// Records an envelope as it comes in, and gives the record's number.
    pub(crate) fn record_request(&mut self, on: On, envelope: Value, fault: Option<Kind>) -> u64 {
        let number = self.requests.back().map_or(1, |request| request.number + 1);
        let request = Request { number, at: now_text(), on, envelope, fault, http_status: None };
        bounded_push(&mut self.requests, request);
        number
    }

    /// Records what the envelope was answered.
    pub(crate) fn record_answer(&mut self, number: u64, http_status: u16) {
        let recorded = self.requests.iter_mut().rev().find(|request| request.number == number);
        if let Some(request) = recorded {
            request.http_status = Some(http_status);
        }
    }

    pub(crate) fn record_delivery(&mut self, delivery: Delivery) {
        bounded_push(&mut self.deliveries, delivery);
    }
}

fn bounded_push<T>(records: &mut VecDeque<T>, record: T) {
    if records.len() >= RECORDS_MAX {
        records.pop_front();
    }
    records.push_back(record);
}

/// The parts of a running sandbox that all its tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bot: BotConfig,
    pub(crate) forward_prefixes: u8,
    pub(crate) client: reqwest::Client,
    pub(crate) tracker: TaskTracker,
    /// Ends what would otherwise wait forever.
    pub(crate) stop: CancellationToken,
    revision: watch::Sender<u64>,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(
        bot: BotConfig,
        seed: u64,
        webhook: Option<WebhookConfig>,
        forward_prefixes: u8,
        client: reqwest::Client,
    ) -> Self {
        let state = State {
            desk: Desk::new(bot.identity.clone(), seed),
            faults: Faults::default(),
            settings: Settings::default(),
            buckets: Buckets::default(),
            webhook,
            queues: HashMap::new(),
            deliveries: VecDeque::new(),
            requests: VecDeque::new(),
        };
        Self {
            bot,
            forward_prefixes,
            client,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            revision: watch::Sender::new(0),
            state: Mutex::new(state),
        }
    }

    /// The state, to look at or to change for a moment.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half done that matters to a stand-in.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who watch that something changed.
    pub(crate) fn changed(&self) {
        self.revision.send_modify(|revision| *revision = revision.wrapping_add(1));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

/// The time: records of a stand-in carry the machine's own.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// The time as records show it.
pub(crate) fn now_text() -> String {
    stamp(now())
}
