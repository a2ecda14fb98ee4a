//! What every part of a running sandbox holds: the desk, the faults, the settings, and the records, in one lock.
//!
//! The lock is never held across a wait. Webhooks are queued under it, so they leave in the order of what they tell.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, SystemClock};

use super::block::Block;
use super::connection::Cutter;
use super::faults::{Faults, Kind, On};
use super::model::{Account, Desk, stamp};
use super::power::{Outage, Power};
use super::quota::Buckets;
use super::settings::Settings;
use super::webhooks::{Delivery, Queue};
use super::{BotConfig, Config, WebhookConfig};

/// Records kept of each kind; older ones are forgotten.
const RECORDS_MAX: usize = 10_000;

/// An envelope that came in, and what it was answered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) at: String,
    pub(crate) on: On,
    /// Whose key it came with.
    pub(crate) by: Account,
    pub(crate) envelope: Value,
    /// The fault it met, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Kind>,
    /// The HTTP status it was given; none where the connection was cut, or nothing was answered.
    pub(crate) http_status: Option<u16>,
}

/// A file that was asked for, or sent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FileRequest {
    pub(crate) at: String,
    pub(crate) method: String,
    pub(crate) uri: String,
    /// Whose key it brought, if it was one of ours.
    pub(crate) by: Option<Account>,
    /// Whether it brought any, also where none was wanted.
    pub(crate) has_authorization: bool,
}

/// What changes while the sandbox runs.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) desk: Desk,
    pub(crate) faults: Faults,
    pub(crate) settings: Settings,
    pub(crate) buckets: BTreeMap<Account, Buckets>,
    pub(crate) block: Block,
    pub(crate) webhook: Option<WebhookConfig>,
    pub(crate) queues: HashMap<String, Queue>,
    pub(crate) deliveries: VecDeque<Delivery>,
    /// How many webhooks fared how, also of those whose records are gone.
    pub(crate) delivery_totals: BTreeMap<&'static str, u64>,
    pub(crate) requests: VecDeque<Request>,
    pub(crate) file_requests: VecDeque<FileRequest>,
}

impl State {
    /// Records an envelope as it comes in, and gives the record's number.
    pub(crate) fn record_request(
        &mut self,
        on: On,
        by: Account,
        envelope: Value,
        fault: Option<Kind>,
    ) -> u64 {
        let number = self.requests.back().map_or(1, |request| request.number + 1);
        let request = Request { number, at: now_text(), on, by, envelope, fault, http_status: None };
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

    pub(crate) fn record_file_request(&mut self, request: FileRequest) {
        bounded_push(&mut self.file_requests, request);
    }

    pub(crate) fn record_delivery(&mut self, delivery: Delivery) {
        *self.delivery_totals.entry(delivery.report.status).or_default() += 1;
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
    pub(crate) router: BotConfig,
    pub(crate) power: Arc<Power>,
    /// Whether the control side has a listener of its own, which no outage reaches.
    pub(crate) has_control: bool,
    pub(crate) forward_prefixes: u8,
    pub(crate) client: reqwest::Client,
    pub(crate) tracker: TaskTracker,
    /// Ends what would otherwise wait forever.
    pub(crate) stop: CancellationToken,
    revision: watch::Sender<u64>,
    state: Mutex<State>,
}

impl Shared {
    /// `base` is where the files it hands out are fetched.
    pub(crate) fn new(config: Config, seed: u64, base: String, client: reqwest::Client) -> Self {
        let Config { listen: _, control_listen, bot, router, webhook, forward_prefixes, seed: _ } = config;
        let mut desk = Desk::new(bot.identity.clone(), router.identity.clone(), seed);
        desk.media.base = base;
        let state = State {
            desk,
            faults: Faults::default(),
            settings: Settings::default(),
            buckets: BTreeMap::new(),
            block: Block::default(),
            webhook,
            queues: HashMap::new(),
            deliveries: VecDeque::new(),
            delivery_totals: BTreeMap::new(),
            requests: VecDeque::new(),
            file_requests: VecDeque::new(),
        };
        Self {
            bot,
            router,
            power: Arc::default(),
            has_control: control_listen.is_some(),
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

    /// Whose key a request brings, if it is one of ours: `Authorization: Key …`.
    pub(crate) fn account(&self, headers: &HeaderMap) -> Option<Account> {
        let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, key) = given.split_once(' ')?;
        let accounts = [(Account::Desk, &self.bot), (Account::Router, &self.router)];
        let found = accounts.into_iter().find(|(_, bot)| bot.key == key.trim());
        found.filter(|_| scheme.eq_ignore_ascii_case("key")).map(|(account, _)| account)
    }

    /// The identity behind a key.
    pub(crate) fn identity(&self, account: Account) -> &str {
        match account {
            Account::Desk => &self.bot.identity,
            Account::Router => &self.router.identity,
        }
    }

    /// Waits so long; false if the sandbox stops before.
    pub(crate) async fn pause(&self, ms: u64) -> bool {
        if ms == 0 {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// What a request meets in an outage, if there is one.
    pub(crate) async fn turned_away(&self, cutter: &Cutter) -> Option<Response> {
        match self.power.outage()? {
            Outage::Unavailable => {}
            Outage::Refuse | Outage::Reset => cutter.cut(),
            Outage::Hang => {
                tokio::select! {
                    () = self.power.until_awake() => {}
                    () = self.stop.cancelled() => {}
                }
                cutter.cut();
            }
        }
        Some(StatusCode::SERVICE_UNAVAILABLE.into_response())
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
