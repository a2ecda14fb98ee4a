//! What a reader asks for: where to start, and how to go on.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Faults, Invalid, InvalidField, View, span_of, time_of, unknown_number};
use crate::domain::filter::Filter;
use crate::grpc::filter::filter_of;
use crate::grpc::pb;

/// Silence on an idle stream, unless asked otherwise.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The longest silence that can be asked for.
const HEARTBEAT_MAX: Duration = Duration::from_mins(1);

/// The field that takes the cursor to go on after.
const AFTER_CURSOR: &str = "start.after_cursor";

/// Where in the log to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::grpc) enum Start {
    /// After the newest event.
    #[default]
    Latest,
    /// At the oldest.
    Earliest,
    /// After this cursor, not yet read, and the field it stood in.
    After {
        /// As it was given.
        cursor: String,
        /// The field's path.
        field: &'static str,
    },
    /// At the first event received then or later.
    At(Timestamp),
    /// The same, this long ago.
    Ago(SignedDuration),
}

/// What to do where events are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::grpc) enum Expired {
    /// End with `CURSOR_EXPIRED`.
    #[default]
    Fail,
    /// Say so and go on at the oldest.
    Earliest,
    /// Say so and go on after the newest.
    Latest,
}

/// A subscription that makes sense.
#[derive(Debug)]
pub(in crate::grpc) struct Subscription {
    /// As it was asked for, to be told back.
    pub(in crate::grpc) asked: pb::EventFilter,
    /// `None` lets everything pass.
    pub(in crate::grpc) filter: Option<Box<Filter>>,
    /// Where to start.
    pub(in crate::grpc) start: Start,
    /// What to do where events are gone.
    pub(in crate::grpc) expired: Expired,
    /// How much of each event.
    pub(in crate::grpc) view: View,
    /// The longest silence.
    pub(in crate::grpc) heartbeat: Duration,
    /// End after this many events.
    pub(in crate::grpc) limit: Option<u32>,
    /// End when everything there is was sent.
    pub(in crate::grpc) stop_when_caught_up: bool,
}

/// Reads a request to subscribe; `heartbeat_min` is the shortest silence that can be asked for.
pub(in crate::grpc) fn subscription(
    request: pb::SubscribeRequest,
    heartbeat_min: Duration,
) -> Result<Subscription, Invalid> {
    let pb::SubscribeRequest {
        filter,
        start,
        expired_cursor_policy,
        view,
        heartbeat_interval,
        limit,
        stop_when_caught_up,
        client_name: _,
    } = request;
    let mut faults = Faults::default();
    let asked = filter.unwrap_or_default();
    let filter = filter_of(&asked, &mut faults);
    let start = faults.take(start_of(start, Start::Latest));
    let expired = faults.take(expired_of(expired_cursor_policy));
    let view = faults.take(View::of(view));
    let heartbeat = heartbeat_of(heartbeat_interval, heartbeat_min, "heartbeat_interval", &mut faults);
    let limit = (limit != 0).then_some(limit);
    faults.done(Subscription { asked, filter, start, expired, view, heartbeat, limit, stop_when_caught_up })
}

/// Reads the longest silence, which stands in `field`; what is out of range is at its end.
pub(in crate::grpc) fn heartbeat_of(
    asked: Option<prost_types::Duration>,
    heartbeat_min: Duration,
    field: &str,
    faults: &mut Faults,
) -> Duration {
    let Some(asked) = asked else { return HEARTBEAT };
    let asked = faults.take(span_of(asked, field));
    Duration::try_from(asked).unwrap_or_default().clamp(heartbeat_min, HEARTBEAT_MAX)
}

/// Reads a position; `default` is what none means.
fn start_of(start: Option<pb::StartPosition>, default: Start) -> Result<Start, InvalidField> {
    use pb::start_position::Position;
    let flag = |given: bool, meaning: Start, field: &str| {
        let fault = || InvalidField::new(field, "must be true: leave it out to start elsewhere");
        given.then_some(meaning).ok_or_else(fault)
    };
    match start.and_then(|start| start.position) {
        None => Ok(default),
        Some(Position::Latest(given)) => flag(given, Start::Latest, "start.latest"),
        Some(Position::Earliest(given)) => flag(given, Start::Earliest, "start.earliest"),
        Some(Position::AfterCursor(cursor)) => Ok(Start::After { cursor, field: AFTER_CURSOR }),
        Some(Position::AtTime(at)) => time_of(at, "start.at_time").map(Start::At),
        Some(Position::Ago(ago)) => {
            let ago = span_of(ago, "start.ago")?;
            let fault = || InvalidField::new("start.ago", "must not be negative");
            (!ago.is_negative()).then_some(Start::Ago(ago)).ok_or_else(fault)
        }
    }
}

/// A page of the log that makes sense.
#[derive(Debug)]
pub(in crate::grpc) struct Listing {
    /// `None` lets everything pass.
    pub(in crate::grpc) filter: Option<Box<Filter>>,
    /// Where to start.
    pub(in crate::grpc) start: Start,
    /// Where to stop: events of this time or later are not wanted.
    pub(in crate::grpc) end_time: Option<Timestamp>,
    /// The most events to send.
    pub(in crate::grpc) page_size: usize,
    /// How much of each event.
    pub(in crate::grpc) view: View,
}

/// Events in a page, unless asked otherwise.
const PAGE_SIZE: usize = 100;
/// The most events in a page.
const PAGE_SIZE_MAX: usize = 1_000;

/// Reads a request for a page.
pub(in crate::grpc) fn listing(request: pb::ListEventsRequest) -> Result<Listing, Invalid> {
    let pb::ListEventsRequest { filter, start, end_time, page_size, page_token, view } = request;
    let mut faults = Faults::default();
    let filter = filter_of(&filter.unwrap_or_default(), &mut faults);
    let start = if page_token.is_empty() {
        faults.take(start_of(start, Start::Earliest))
    } else {
        Start::After { cursor: page_token, field: "page_token" }
    };
    let end_time = faults.take(end_time.map(|end| time_of(end, "end_time")).transpose());
    let page_size = match usize::try_from(page_size) {
        Ok(0) => PAGE_SIZE,
        Ok(size) => size.min(PAGE_SIZE_MAX),
        Err(_) => {
            faults.add("page_size", "must not be negative");
            PAGE_SIZE
        }
    };
    let view = faults.take(View::of(view));
    faults.done(Listing { filter, start, end_time, page_size, view })
}

fn expired_of(number: i32) -> Result<Expired, InvalidField> {
    use pb::ExpiredCursorPolicy as Policy;
    match Policy::try_from(number) {
        Ok(Policy::Unspecified | Policy::Fail) => Ok(Expired::Fail),
        Ok(Policy::Earliest) => Ok(Expired::Earliest),
        Ok(Policy::Latest) => Ok(Expired::Latest),
        Err(_) => Err(unknown_number("expired_cursor_policy", number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: pb::SubscribeRequest) -> Subscription {
        subscription(request, Duration::from_secs(5)).unwrap()
    }

    fn faulty(request: pb::SubscribeRequest) -> Vec<String> {
        match subscription(request, Duration::from_secs(5)) {
            Err(Invalid::Fields(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
            other => panic!("no faults: {other:?}"),
        }
    }

    fn heartbeat(seconds: i64) -> pb::SubscribeRequest {
        let interval = prost_types::Duration { seconds, nanos: 0 };
        pb::SubscribeRequest { heartbeat_interval: Some(interval), ..pb::SubscribeRequest::default() }
    }

    fn at(position: pb::start_position::Position) -> pb::SubscribeRequest {
        let start = Some(pb::StartPosition { position: Some(position) });
        pb::SubscribeRequest { start, ..pb::SubscribeRequest::default() }
    }

    #[test]
    fn an_empty_request_is_complete() {
        let Subscription { asked: _, filter, start, expired, view, heartbeat, limit, stop_when_caught_up } =
            asked(pb::SubscribeRequest::default());
        assert!(filter.is_none() && limit.is_none() && !stop_when_caught_up);
        assert_eq!((start, expired, view), (Start::Latest, Expired::Fail, View::Full));
        assert_eq!(heartbeat, HEARTBEAT);
        let page = listing(pb::ListEventsRequest::default()).unwrap();
        assert_eq!((page.start, page.page_size), (Start::Earliest, PAGE_SIZE));
    }

    #[test]
    fn heartbeats_are_clamped() {
        assert_eq!(asked(heartbeat(-1)).heartbeat, Duration::from_secs(5));
        assert_eq!(asked(heartbeat(30)).heartbeat, Duration::from_secs(30));
        assert_eq!(asked(heartbeat(i64::MAX)).heartbeat, HEARTBEAT_MAX);
    }

    #[test]
    fn positions_that_make_no_sense_are_named() {
        use pb::start_position::Position;
        assert_eq!(faulty(at(Position::Latest(false))), ["start.latest"]);
        let ago = prost_types::Duration { seconds: -1, nanos: 0 };
        assert_eq!(faulty(at(Position::Ago(ago))), ["start.ago"]);
        let time = prost_types::Timestamp { seconds: 0, nanos: -1 };
        assert_eq!(faulty(at(Position::AtTime(time))), ["start.at_time"]);
        assert_eq!(faulty(pb::SubscribeRequest { view: 9, ..pb::SubscribeRequest::default() }), ["view"]);
    }
}
