//! What `PUT /settings` changes: how the stand-in behaves where Blip is silent, or differs. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::block::Blocking;
use super::media::LINK_LIFE;
use super::model::{Desk, Habits};
use super::quota::Quota;
use super::weather::Weather;

/// The settings; members that are absent from a change stay as they are.
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
    /// Spell documents as oddly as they were seen.
    pub(crate) odd_shapes: bool,
    /// Tickets may be made for, or transferred to, one agent.
    pub(crate) agent_distribution: bool,
    /// A close with `closedBy` is refused.
    pub(crate) refuse_closed_by: bool,
    /// The code of a command on a ticket that is closed already.
    pub(crate) closed_code: i64,
    /// How long a signed media link lives.
    pub(crate) media_link_ms: u64,
    /// The most tickets that a page of a list has, whatever `$take` says, and then without `total`; `null` is what it says.
    pub(crate) list_page_max: Option<usize>,
    /// By how many tickets a list moves up with each page that is turned.
    pub(crate) list_drift: usize,
    /// Blip's throughput limit; `null` is none.
    pub(crate) quota: Option<Quota>,
    /// What becomes of webhooks by chance; `null` is nothing.
    pub(crate) weather: Option<Weather>,
    /// When a webhook's URL is blocked for its failures; `null` is never.
    pub(crate) blocking: Option<Blocking>,
}

impl Default for Settings {
    fn default() -> Self {
        let Habits { agent_distribution, refuse_closed_by, closed_code, list_page_max, list_drift } =
            Habits::default();
        Self {
            announce_new: true,
            announce_changes: false,
            announce_receipts: false,
            deliver_while_waiting: true,
            odd_shapes: false,
            agent_distribution,
            refuse_closed_by,
            closed_code,
            media_link_ms: u64::try_from(LINK_LIFE.as_millis()).unwrap_or(u64::MAX),
            list_page_max,
            list_drift,
            quota: None,
            weather: None,
            blocking: None,
        }
    }
}

impl Settings {
    /// Takes over the members given; the error says which makes no sense.
    pub(crate) fn apply(&mut self, changes: Map<String, Value>) -> Result<(), String> {
        let mut members = serde_json::to_value(&*self).map_err(|error| error.to_string())?;
        if let Some(members) = members.as_object_mut() {
            members.extend(changes);
        }
        let after: Self = serde_json::from_value(members).map_err(|error| error.to_string())?;
        after.weather.as_ref().map_or(Ok(()), Weather::check)?;
        *self = after;
        Ok(())
    }

    /// Lets the desk know what concerns it.
    pub(crate) fn tell(&self, desk: &mut Desk) {
        desk.habits = Habits {
            agent_distribution: self.agent_distribution,
            refuse_closed_by: self.refuse_closed_by,
            closed_code: self.closed_code,
            list_page_max: self.list_page_max,
            list_drift: self.list_drift,
        };
        desk.media.link_life = Duration::from_millis(self.media_link_ms);
    }
}
