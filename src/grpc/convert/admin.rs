//! What is asked of the quarantine, and what is told of it.

use std::collections::BTreeSet;

use super::{Faults, Invalid, InvalidField, timestamp};
use crate::gateway::quarantine::{Became, Replayed};
use crate::grpc::pb;
use crate::store::quarantine::{Held, HeldId, HeldMark};
use crate::store::{Cursor, LogId};

/// Webhooks in a page, unless asked otherwise.
pub(in crate::grpc) const PAGE_SIZE: usize = 100;
/// The most webhooks in a page, to look at in one call, or to name in a request.
const COUNT_MAX: usize = 1_000;

/// A page of the quarantine that makes sense.
#[derive(Debug)]
pub(in crate::grpc) struct Listing {
    /// Only this bot's.
    pub(in crate::grpc) bot: Option<String>,
    /// Only these.
    pub(in crate::grpc) ids: Option<BTreeSet<HeldId>>,
    /// With their bodies.
    pub(in crate::grpc) include_body: bool,
    /// The most to send.
    pub(in crate::grpc) page_size: usize,
    /// Where to go on; not yet read.
    pub(in crate::grpc) page_token: String,
}

/// Reads a request for a page.
pub(in crate::grpc) fn listing(request: pb::ListQuarantinedWebhooksRequest) -> Result<Listing, Invalid> {
    let pb::ListQuarantinedWebhooksRequest { bot, ids, include_body, page_size, page_token } = request;
    let mut faults = Faults::default();
    let ids = faults.take(ids_of(&ids));
    let page_size = faults.take(size_of(page_size, PAGE_SIZE));
    let bot = (!bot.is_empty()).then_some(bot);
    faults.done(Listing { bot, ids, include_body, page_size, page_token })
}

/// A replay that makes sense.
#[derive(Debug)]
pub(in crate::grpc) struct Replaying {
    /// Only this bot's.
    pub(in crate::grpc) bot: Option<String>,
    /// Only these.
    pub(in crate::grpc) ids: Option<BTreeSet<HeldId>>,
    /// Only say what would happen.
    pub(in crate::grpc) validate_only: bool,
    /// The most to look at.
    pub(in crate::grpc) count_max: usize,
    /// Where to go on; not yet read.
    pub(in crate::grpc) page_token: String,
}

/// Reads a request to replay.
pub(in crate::grpc) fn replaying(
    request: pb::ReplayQuarantinedWebhooksRequest,
) -> Result<Replaying, Invalid> {
    let pb::ReplayQuarantinedWebhooksRequest { ids, all, bot, validate_only, page_size, page_token } =
        request;
    let mut faults = Faults::default();
    match (ids.is_empty(), all) {
        (true, false) => faults.add("ids", "is required: name webhooks, or set all"),
        (false, true) => faults.add("all", "give either ids or all, not both"),
        (false, false) if !bot.is_empty() => faults.add("bot", "goes with all: ids need no bot"),
        (true, true) | (false, false) => {}
    }
    let ids = faults.take(ids_of(&ids));
    let count_max = faults.take(size_of(page_size, COUNT_MAX));
    let bot = (!bot.is_empty()).then_some(bot);
    faults.done(Replaying { bot, ids, validate_only, count_max, page_token })
}

/// `None` where none is given.
fn ids_of(ids: &[String]) -> Result<Option<BTreeSet<HeldId>>, InvalidField> {
    if ids.len() > COUNT_MAX {
        return Err(InvalidField::new("ids", format!("must be at most {COUNT_MAX}; or use all")));
    }
    let read = |(index, text): (usize, &String)| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = text.parse().ok().filter(|id| plain && *id > 0).map(HeldId);
        let fault = "is no id of a quarantined webhook: ListQuarantinedWebhooks tells them";
        id.ok_or_else(|| InvalidField::new(format!("ids[{index}]"), fault))
    };
    let ids = ids.iter().enumerate().map(read).collect::<Result<BTreeSet<_>, _>>()?;
    Ok((!ids.is_empty()).then_some(ids))
}

/// How many items a page is to have at most.
pub(in crate::grpc) fn size_of(page_size: i32, default: usize) -> Result<usize, InvalidField> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(COUNT_MAX)),
        Err(_) => Err(InvalidField::new("page_size", "must not be negative")),
    }
}

/// A webhook as readers see it.
pub(in crate::grpc) fn webhook_to_pb(held: Held) -> pb::QuarantinedWebhook {
    let Held { id, bot, receive_time, reason, size_bytes, raw } = held;
    pb::QuarantinedWebhook {
        id: id.0.to_string(),
        bot: bot.to_string(),
        receive_time: Some(timestamp(receive_time)),
        reason,
        size_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX),
        body: raw.into(),
    }
}

/// What became of webhooks of `log`.
pub(in crate::grpc) fn replayed_to_pb(
    replayed: Replayed,
    log: LogId,
) -> pb::ReplayQuarantinedWebhooksResponse {
    let Replayed { bodies, go_on_after } = replayed;
    let next_page_token = go_on_after.map(|id| HeldMark { log, id }.to_string()).unwrap_or_default();
    let mut response = pb::ReplayQuarantinedWebhooksResponse { next_page_token, ..Default::default() };
    for (id, became) in bodies {
        let cursor = |seq| Cursor { log, seq }.to_string();
        let mut result = pb::ReplayResult { id: id.0.to_string(), ..pb::ReplayResult::default() };
        let (outcome, count) = match became {
            Became::Event(told) => {
                if let Some((seq, event_type)) = told {
                    result.event_cursor = cursor(seq);
                    event_type.clone_into(&mut result.event_type);
                }
                (pb::ReplayOutcome::Replayed, &mut response.replayed)
            }
            Became::Duplicate(seq) => {
                result.event_cursor = seq.map(cursor).unwrap_or_default();
                (pb::ReplayOutcome::Duplicate, &mut response.duplicates)
            }
            Became::Unreadable(reason) => {
                result.reason = reason;
                (pb::ReplayOutcome::Unreadable, &mut response.unreadable)
            }
            Became::Gone => (pb::ReplayOutcome::Gone, &mut response.gone),
        };
        *count = count.saturating_add(1);
        result.set_outcome(outcome);
        response.results.push(result);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::super::tests::fields;
    use super::*;

    fn replay(ids: &[&str], all: bool, bot: &str) -> pb::ReplayQuarantinedWebhooksRequest {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        pb::ReplayQuarantinedWebhooksRequest { ids, all, bot: bot.to_owned(), ..Default::default() }
    }

    #[test]
    fn what_to_replay_is_said_one_way() {
        assert_eq!(fields(replaying(replay(&[], false, ""))), ["ids"]);
        assert_eq!(fields(replaying(replay(&["1"], true, ""))), ["all"]);
        assert_eq!(fields(replaying(replay(&["1"], false, "a"))), ["bot"]);
        for id in ["", "0", "-1", "+1", "x", "1 ", "99999999999999999999"] {
            assert_eq!(fields(replaying(replay(&["7", id], false, ""))), ["ids[1]"], "{id:?}");
        }
        let many = vec!["1"; COUNT_MAX + 1];
        assert_eq!(fields(replaying(replay(&many, false, ""))), ["ids"]);
        let request = pb::ReplayQuarantinedWebhooksRequest { page_size: -1, ..replay(&[], true, "a") };
        assert_eq!(fields(replaying(request)), ["page_size"]);
        let asked = replaying(replay(&["3", "1", "3"], false, "")).unwrap();
        assert_eq!(asked.ids, Some(BTreeSet::from([HeldId(1), HeldId(3)])));
        let asked = replaying(replay(&[], true, "a")).unwrap();
        assert_eq!((asked.ids, asked.bot.as_deref(), asked.count_max), (None, Some("a"), COUNT_MAX));
    }

    #[test]
    fn an_empty_listing_is_complete() {
        let asked = listing(pb::ListQuarantinedWebhooksRequest::default()).unwrap();
        assert_eq!((asked.ids, asked.bot, asked.page_size), (None, None, PAGE_SIZE));
        let request = pb::ListQuarantinedWebhooksRequest {
            page_size: -1,
            ids: vec!["a".to_owned()],
            ..Default::default()
        };
        assert_eq!(fields(listing(request)), ["ids[0]", "page_size"]);
    }
}
