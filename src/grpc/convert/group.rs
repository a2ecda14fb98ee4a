//! Consumer groups as they are told, and what is asked of them but for their settings.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Faults, Invalid, InvalidField, View, event, span, span_of, timestamp};
use crate::domain::Seq;
use crate::domain::group::{EventView, ExpiredPolicy, GroupSettings, GroupStart, ParkPolicy};
use crate::gateway::group::Outcome;
use crate::gateway::groups::{Delivery, GroupView, Lost, MemberView, ParkedEvents, SettleState, Settlement};
use crate::grpc::filter::filter_to_pb;
use crate::grpc::pb;
use crate::store::groups::{DeliveryId, GroupId, ParkedEvent};
use crate::store::{Cursor, LogId};

pub(in crate::grpc) mod settings;

/// The longest name.
const NAME_BYTES_MAX: usize = 63;
/// The most settlements of one batch, and ids of one request.
const COUNT_MAX: usize = 1_000;
/// The longest delay, and the longest that a lease is made by one extension.
const DELAY_MAX: Duration = Duration::from_hours(1);

/// The name of a group, or why it is none.
pub(in crate::grpc) fn name_of(name: String, field: &str) -> Result<String, InvalidField> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let may_follow = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    let is_name = name.as_bytes().first().is_some_and(|first| plain(*first))
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(may_follow);
    let fault = "must be 1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit";
    if is_name { Ok(name) } else { Err(InvalidField::new(field, fault)) }
}

/// Names a revision of a group's settings.
pub(in crate::grpc) fn etag_of(id: GroupId, revision: u64) -> String {
    format!("{}-{revision}", id.0)
}

/// The revision that an etag of group `id` names: `None` without one, and one that never was for any other text.
pub(in crate::grpc) fn revision_of(etag: &str, id: GroupId) -> Option<u64> {
    if etag.is_empty() {
        return None;
    }
    let named = etag.strip_prefix(&format!("{}-", id.0)).and_then(|revision| revision.parse().ok());
    Some(named.unwrap_or_default())
}

/// What groups are told with.
#[derive(Debug, Clone, Copy)]
pub(in crate::grpc) struct Telling {
    /// Whose cursors.
    pub(in crate::grpc) log: LogId,
    /// The newest event.
    pub(in crate::grpc) tail: Seq,
    /// The date.
    pub(in crate::grpc) now: Timestamp,
}

/// A group and how it stands.
pub(in crate::grpc) fn group_to_pb(view: &GroupView, telling: Telling) -> pb::ConsumerGroup {
    let GroupView { group, counts, blocked_tickets, members, oldest } = view;
    let Telling { log, tail, now } = telling;
    let age = |(_, received): (Seq, Timestamp)| {
        span(Duration::try_from(now.duration_since(received)).unwrap_or_default())
    };
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let status = pb::ConsumerGroupStatus {
        settled_through_cursor: Cursor { log, seq: group.floor }.to_string(),
        events_behind: tail.0.saturating_sub(group.floor.0),
        oldest_unsettled_age: oldest.filter(|_| group.floor < tail).map(age),
        in_flight: count(counts.in_flight),
        retrying: count(counts.retrying),
        parked: count(counts.parked),
        blocked_tickets: count(*blocked_tickets),
        members: members.iter().map(member_to_pb).collect(),
    };
    let GroupSettings {
        filter,
        start,
        ack_deadline,
        max_attempts,
        min_backoff,
        max_backoff,
        park_policy,
        pin_retention,
        view: _,
        expired: _,
    } = &group.settings;
    let park_policy = match park_policy {
        ParkPolicy::Continue => pb::ParkPolicy::ContinueTicket,
        ParkPolicy::Block => pb::ParkPolicy::BlockTicket,
    };
    let expired = match group.settings.expired {
        ExpiredPolicy::Fail => pb::ExpiredCursorPolicy::Fail,
        ExpiredPolicy::Earliest => pb::ExpiredCursorPolicy::Earliest,
        ExpiredPolicy::Latest => pb::ExpiredCursorPolicy::Latest,
    };
    let view = match group.settings.view {
        EventView::Envelope => pb::EventView::Envelope,
        EventView::Full => pb::EventView::Full,
        EventView::Raw => pb::EventView::Raw,
    };
    pb::ConsumerGroup {
        group: group.name.clone(),
        filter: Some(filter_to_pb(filter)),
        start: Some(start_to_pb(start)),
        ack_deadline: Some(span(*ack_deadline)),
        max_attempts: *max_attempts,
        min_backoff: Some(span(*min_backoff)),
        max_backoff: Some(span(*max_backoff)),
        park_policy: park_policy.into(),
        pin_retention: *pin_retention,
        view: view.into(),
        expired_cursor_policy: expired.into(),
        etag: etag_of(group.id, group.revision),
        status: Some(status),
    }
}

fn start_to_pb(start: &GroupStart) -> pb::StartPosition {
    use pb::start_position::Position;
    let position = match start {
        GroupStart::Latest => Position::Latest(true),
        GroupStart::Earliest => Position::Earliest(true),
        GroupStart::After(cursor) => Position::AfterCursor(cursor.clone()),
        GroupStart::At(at) => Position::AtTime(timestamp(*at)),
        GroupStart::Ago(ago) => Position::Ago(span(Duration::try_from(*ago).unwrap_or_default())),
    };
    pb::StartPosition { position: Some(position) }
}

fn member_to_pb(member: &MemberView) -> pb::ConsumerMember {
    let MemberView { name, client_name, principal, in_flight, since } = member;
    pb::ConsumerMember {
        member_id: name.to_string(),
        client_name: client_name.to_string(),
        principal: principal.to_string(),
        in_flight: u64::try_from(*in_flight).unwrap_or(u64::MAX),
        connect_time: Some(timestamp(*since)),
    }
}

/// How much of each event a group's members are sent.
pub(in crate::grpc) fn view_of(view: EventView) -> View {
    match view {
        EventView::Envelope => View::Envelope,
        EventView::Full => View::Full,
        EventView::Raw => View::Raw,
    }
}

/// An event for a member.
pub(in crate::grpc) fn delivery_to_pb(delivery: &Delivery, log: LogId, view: View) -> pb::Delivery {
    let Delivery { id, event: stored, attempt, until, failure, predecessor_parked } = delivery;
    pb::Delivery {
        delivery_id: id.to_text(log),
        event: Some(event::to_pb(stored, log, view)),
        attempt: *attempt,
        ack_deadline_time: Some(timestamp(*until)),
        fencing_token: id.token,
        last_failure: failure.clone(),
        predecessor_parked: *predecessor_parked,
    }
}

/// Events that are lost to a group.
pub(in crate::grpc) fn gap_to_pb(lost: Lost, log: LogId) -> pb::Gap {
    let cursor = |seq| Cursor { log, seq }.to_string();
    pb::Gap {
        from_cursor: cursor(lost.after),
        to_cursor: cursor(lost.to),
        from_time: None,
        to_time: None,
        reason: "CURSOR_EXPIRED".to_owned(),
    }
}

/// An event on a parked list.
pub(in crate::grpc) fn parked_to_pb(
    parked: &ParkedEvent,
    log: LogId,
    settings: &GroupSettings,
) -> pb::ParkedEvent {
    let ParkedEvent { event: stored, attempts, reason, time } = parked;
    pb::ParkedEvent {
        event: Some(event::to_pb(stored, log, view_of(settings.view))),
        attempts: *attempts,
        reason: reason.clone(),
        park_time: Some(timestamp(*time)),
        blocks_ticket: settings.park_policy == ParkPolicy::Block && !stored.event.ticket_id.is_empty(),
    }
}

/// What a settlement did.
pub(in crate::grpc) fn result_to_pb(delivery_id: String, state: SettleState) -> pb::SettleResult {
    let state = match state {
        SettleState::Done => pb::SettleState::Done,
        SettleState::AlreadyDone => pb::SettleState::AlreadyDone,
        SettleState::Stale => pb::SettleState::Stale,
        SettleState::Unknown => pb::SettleState::UnknownDelivery,
        SettleState::TryAgain => pb::SettleState::TryAgain,
    };
    pb::SettleResult { delivery_id, state: state.into() }
}

/// Reads settlements that stand in `field`, each with the name of its delivery.
pub(in crate::grpc) fn settlements_of(
    settlements: Vec<pb::Settlement>,
    field: &str,
    log: LogId,
) -> Result<Vec<(String, Settlement)>, Invalid> {
    let mut faults = Faults::default();
    if settlements.len() > COUNT_MAX {
        faults.add(field, format!("must be at most {COUNT_MAX}"));
        return faults.done(Vec::new());
    }
    let mut read = Vec::with_capacity(settlements.len());
    for (index, pb::Settlement { delivery_id, outcome }) in settlements.into_iter().enumerate() {
        let id = DeliveryId::parse(&delivery_id, log);
        match outcome_of(outcome, &format!("{field}[{index}]")) {
            Ok(outcome) => read.push((delivery_id, (id, outcome))),
            Err(fault) => faults.add(fault.field, fault.description),
        }
    }
    faults.done(read)
}

fn outcome_of(outcome: Option<pb::settlement::Outcome>, path: &str) -> Result<Outcome, InvalidField> {
    use pb::settlement::Outcome as Given;
    match outcome {
        None => Err(InvalidField::new(format!("{path}.outcome"), "is required: ack, retry, park or extend")),
        Some(Given::Ack(pb::Ack {})) => Ok(Outcome::Ack),
        Some(Given::Park(pb::Park { reason })) => Ok(Outcome::Park { reason }),
        Some(Given::Retry(pb::Retry { delay, reason })) => {
            let Some(delay) = delay else { return Ok(Outcome::Retry { delay: None, reason }) };
            let field = format!("{path}.retry.delay");
            match Duration::try_from(span_of(delay, &field)?) {
                Ok(delay) if delay <= DELAY_MAX => Ok(Outcome::Retry { delay: Some(delay), reason }),
                Ok(_) | Err(_) => Err(InvalidField::new(field, "must be from 0 to 1 hour")),
            }
        }
        Some(Given::Extend(pb::Extend { by })) => {
            let field = format!("{path}.extend.by");
            let by = by.map(|by| span_of(by, &field)).transpose()?.and_then(|by| Duration::try_from(by).ok());
            let fault = "is required, and must be more than 0 and at most 1 hour";
            by.filter(|by| !by.is_zero() && *by <= DELAY_MAX)
                .map(Outcome::Extend)
                .ok_or_else(|| InvalidField::new(field, fault))
        }
    }
}

/// Reads which parked events are meant.
pub(in crate::grpc) fn parked_events_of(
    group: String,
    event_ids: &[String],
    all: bool,
) -> Result<(String, ParkedEvents), Invalid> {
    let mut faults = Faults::default();
    let group = faults.take(name_of(group, "group"));
    match (event_ids.is_empty(), all) {
        (true, false) => faults.add("event_ids", "is required: name events, or set all"),
        (false, true) => faults.add("all", "give either event_ids or all, not both"),
        (true, true) | (false, false) => {}
    }
    if event_ids.len() > COUNT_MAX {
        faults.add("event_ids", format!("must be at most {COUNT_MAX}; or use all"));
        return faults.done((group, ParkedEvents::All));
    }
    let mut ids = Vec::with_capacity(event_ids.len());
    for (index, id) in event_ids.iter().enumerate() {
        match Uuid::try_parse(id) {
            Ok(id) => ids.push(id),
            Err(_) => faults.add(format!("event_ids[{index}]"), "is no event_id"),
        }
    }
    faults.done((group, if all { ParkedEvents::All } else { ParkedEvents::These(ids) }))
}

/// A program's name, as far as it is kept.
pub(in crate::grpc) fn client_name_of(name: &str) -> String {
    name.chars().take(64).collect()
}
