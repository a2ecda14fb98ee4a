//! A group's settings as a caller gives them: every default filled in, every fault named.

use std::time::Duration;

use super::super::start::Start;
use super::super::{Faults, Invalid, InvalidField, span_of, time_of, unknown_number};
use super::name_of;
use crate::domain::filter::EventFilter;
use crate::domain::group::{EventView, ExpiredPolicy, GroupSettings, GroupStart, ParkPolicy};
use crate::grpc::filter::asked_of;
use crate::grpc::pb;

const ACK_DEADLINES: [Duration; 2] = [Duration::from_secs(1), Duration::from_hours(1)];
const BACKOFFS: [Duration; 2] = [Duration::from_millis(10), Duration::from_hours(1)];
const ATTEMPTS_MAX: u32 = 100;

/// The field that settings come in.
const PART: &str = "consumer_group";

/// A group to make.
#[derive(Debug)]
pub(in crate::grpc) struct Creating {
    /// Its name.
    pub(in crate::grpc) name: String,
    /// How it works.
    pub(in crate::grpc) settings: GroupSettings,
    /// Where it begins.
    pub(in crate::grpc) start: Start,
}

/// Reads a `CreateConsumerGroup`.
pub(in crate::grpc) fn creating(request: pb::CreateConsumerGroupRequest) -> Result<Creating, Invalid> {
    let mut faults = Faults::default();
    let given = request.consumer_group.unwrap_or_default();
    if !given.etag.is_empty() {
        faults.add("consumer_group.etag", "must be empty: the group has none yet");
    }
    if given.status.is_some() {
        faults.add("consumer_group.status", "must not be set: only the gateway tells it");
    }
    let name = faults.take(name_of(given.group.clone(), "consumer_group.group"));
    let start = group_start_of(given.start.clone(), "consumer_group.start", &mut faults);
    let mut settings =
        GroupSettings { start: start.clone().unwrap_or(GroupStart::Latest), ..GroupSettings::default() };
    let mut part = Faults::default();
    for field in FIELDS {
        set(&mut settings, &given, field, &mut part);
    }
    check(&settings, &FIELDS, &given, &mut part);
    faults.within(PART, part);
    let start = position_of(settings.start.clone(), "consumer_group.start.after_cursor");
    faults.done(Creating { name, settings, start })
}

/// A change of settings.
#[derive(Debug)]
pub(in crate::grpc) struct Updating {
    /// Whose.
    pub(in crate::grpc) name: String,
    /// Of which state; empty for any.
    pub(in crate::grpc) etag: String,
    given: pb::ConsumerGroup,
    fields: Vec<&'static str>,
}

/// Reads an `UpdateConsumerGroup`.
pub(in crate::grpc) fn updating(request: pb::UpdateConsumerGroupRequest) -> Result<Updating, Invalid> {
    let mut faults = Faults::default();
    let given = request.consumer_group.unwrap_or_default();
    let name = faults.take(name_of(given.group.clone(), "consumer_group.group"));
    let paths = request.update_mask.unwrap_or_default().paths;
    let mut fields = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match FIELDS.into_iter().find(|field| field == path) {
            Some(field) => fields.push(field),
            None => faults.add(
                format!("update_mask.paths[{index}]"),
                format!("cannot be changed; there are: {}", FIELDS.join(", ")),
            ),
        }
    }
    if paths.is_empty() {
        fields = FIELDS.into_iter().filter(|field| is_set(&given, field)).collect();
    }
    // What is wrong by itself is told before anybody looks for the group.
    let mut part = Faults::default();
    let mut scratch = GroupSettings::default();
    for field in &fields {
        set(&mut scratch, &given, field, &mut part);
    }
    faults.within(PART, part);
    faults.done(Updating { name, etag: given.etag.clone(), given, fields })
}

impl Updating {
    /// The new settings.
    pub(in crate::grpc) fn over(&self, mut settings: GroupSettings) -> Result<GroupSettings, Invalid> {
        let (mut faults, mut part) = (Faults::default(), Faults::default());
        for field in &self.fields {
            set(&mut settings, &self.given, field, &mut part);
        }
        check(&settings, &self.fields, &self.given, &mut part);
        faults.within(PART, part);
        faults.done(settings)
    }
}

/// The settings that can be changed.
const FIELDS: [&str; 9] = [
    "filter",
    "ack_deadline",
    "max_attempts",
    "min_backoff",
    "max_backoff",
    "park_policy",
    "pin_retention",
    "view",
    "expired_cursor_policy",
];

fn is_set(given: &pb::ConsumerGroup, field: &str) -> bool {
    match field {
        "filter" => given.filter.is_some(),
        "ack_deadline" => given.ack_deadline.is_some(),
        "max_attempts" => given.max_attempts != 0,
        "min_backoff" => given.min_backoff.is_some(),
        "max_backoff" => given.max_backoff.is_some(),
        "park_policy" => given.park_policy != 0,
        "pin_retention" => given.pin_retention,
        "view" => given.view != 0,
        "expired_cursor_policy" => given.expired_cursor_policy != 0,
        _ => false,
    }
}

/// Takes one field over, or its default if it is not set.
fn set(settings: &mut GroupSettings, given: &pb::ConsumerGroup, field: &str, faults: &mut Faults) {
    let default = GroupSettings::default();
    match field {
        "filter" => settings.filter = filter_of(given.filter.as_ref(), faults),
        "ack_deadline" => {
            settings.ack_deadline =
                duration(given.ack_deadline, default.ack_deadline, ACK_DEADLINES, field, faults);
        }
        "max_attempts" if given.max_attempts > ATTEMPTS_MAX => {
            faults.add(field, format!("must be from 1 to {ATTEMPTS_MAX}"));
        }
        "max_attempts" => {
            let is_set = given.max_attempts != 0;
            settings.max_attempts = if is_set { given.max_attempts } else { default.max_attempts };
        }
        "min_backoff" => {
            settings.min_backoff = duration(given.min_backoff, default.min_backoff, BACKOFFS, field, faults);
        }
        "max_backoff" => {
            settings.max_backoff = duration(given.max_backoff, default.max_backoff, BACKOFFS, field, faults);
        }
        "pin_retention" => settings.pin_retention = given.pin_retention,
        "park_policy" => match pb::ParkPolicy::try_from(given.park_policy) {
            Ok(pb::ParkPolicy::Unspecified | pb::ParkPolicy::ContinueTicket) => {
                settings.park_policy = ParkPolicy::Continue;
            }
            Ok(pb::ParkPolicy::BlockTicket) => settings.park_policy = ParkPolicy::Block,
            Err(_) => note(unknown_number(field, given.park_policy), faults),
        },
        "view" => match pb::EventView::try_from(given.view) {
            Ok(pb::EventView::Unspecified | pb::EventView::Full) => settings.view = EventView::Full,
            Ok(pb::EventView::Envelope) => settings.view = EventView::Envelope,
            Ok(pb::EventView::Raw) => settings.view = EventView::Raw,
            Err(_) => note(unknown_number(field, given.view), faults),
        },
        _ => match pb::ExpiredCursorPolicy::try_from(given.expired_cursor_policy) {
            Ok(pb::ExpiredCursorPolicy::Unspecified | pb::ExpiredCursorPolicy::Fail) => {
                settings.expired = ExpiredPolicy::Fail;
            }
            Ok(pb::ExpiredCursorPolicy::Earliest) => settings.expired = ExpiredPolicy::Earliest,
            Ok(pb::ExpiredCursorPolicy::Latest) => settings.expired = ExpiredPolicy::Latest,
            Err(_) => note(unknown_number(field, given.expired_cursor_policy), faults),
        },
    }
}

fn note(fault: InvalidField, faults: &mut Faults) {
    faults.add(fault.field, fault.description);
}

fn filter_of(given: Option<&pb::EventFilter>, faults: &mut Faults) -> EventFilter {
    given.map(|given| asked_of(given, faults)).unwrap_or_default()
}

fn duration(
    given: Option<prost_types::Duration>,
    default: Duration,
    [min, max]: [Duration; 2],
    field: &str,
    faults: &mut Faults,
) -> Duration {
    let Some(given) = given else { return default };
    let given = match span_of(given, field) {
        Ok(given) => given,
        Err(fault) => {
            note(fault, faults);
            return default;
        }
    };
    let duration = Duration::try_from(given).ok().filter(|given| (min..=max).contains(given));
    duration.unwrap_or_else(|| {
        let told = |span: Duration| match span.as_secs() {
            0 => format!("{} ms", span.as_millis()),
            3_600 => "1 hour".to_owned(),
            seconds => format!("{seconds} s"),
        };
        faults.add(field, format!("must be from {} to {}", told(min), told(max)));
        default
    })
}

/// What must hold of settings together.
fn check(settings: &GroupSettings, fields: &[&str], given: &pb::ConsumerGroup, faults: &mut Faults) {
    let GroupSettings { min_backoff, max_backoff, .. } = settings;
    if max_backoff >= min_backoff {
        return;
    }
    // Whoever gave only one hears of that one, and of the other as it stands.
    let gave_min_only =
        fields.contains(&"min_backoff") && given.min_backoff.is_some() && given.max_backoff.is_none();
    if gave_min_only {
        faults.add("min_backoff", format!("must not be more than max_backoff, which is {max_backoff:?}"));
    } else {
        faults.add("max_backoff", format!("must not be less than min_backoff, which is {min_backoff:?}"));
    }
}

/// Where a group is to stand: `None` where nothing is said, or what is said is faulty.
pub(in crate::grpc) fn group_start_of(
    start: Option<pb::StartPosition>,
    field: &str,
    faults: &mut Faults,
) -> Option<GroupStart> {
    use pb::start_position::Position;
    let mut flag = |given: bool, meaning: GroupStart, name: &str| {
        if !given {
            faults.add(format!("{field}.{name}"), "must be true: leave it out to start elsewhere");
        }
        given.then_some(meaning)
    };
    match start?.position? {
        Position::Latest(given) => flag(given, GroupStart::Latest, "latest"),
        Position::Earliest(given) => flag(given, GroupStart::Earliest, "earliest"),
        Position::AfterCursor(cursor) => Some(GroupStart::After(cursor)),
        Position::AtTime(at) => match time_of(at, &format!("{field}.at_time")) {
            Ok(at) => Some(GroupStart::At(at)),
            Err(fault) => {
                note(fault, faults);
                None
            }
        },
        Position::Ago(ago) => {
            let field = format!("{field}.ago");
            let ago = faults.take(span_of(ago, &field));
            if ago.is_negative() {
                faults.add(field, "must not be negative");
            }
            Some(GroupStart::Ago(ago))
        }
    }
}

/// The same as a position to be found; `field` is where its cursor stands.
pub(in crate::grpc) fn position_of(start: GroupStart, field: &'static str) -> Start {
    match start {
        GroupStart::Latest => Start::Latest,
        GroupStart::Earliest => Start::Earliest,
        GroupStart::After(cursor) => Start::After { cursor, field },
        GroupStart::At(at) => Start::At(at),
        GroupStart::Ago(ago) => Start::Ago(ago),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(nanos: i64) -> prost_types::Duration {
        let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        prost_types::Duration { seconds, nanos: i32::try_from(rest).unwrap() }
    }

    fn faults(group: pb::ConsumerGroup) -> Vec<String> {
        let named = pb::ConsumerGroup { group: "crm".to_owned(), ..group };
        let made = creating(pb::CreateConsumerGroupRequest { consumer_group: Some(named.clone()) });
        let changed = updating(pb::UpdateConsumerGroupRequest {
            consumer_group: Some(named),
            ..pb::UpdateConsumerGroupRequest::default()
        });
        let changed = changed.and_then(|updating| updating.over(GroupSettings::default()));
        let fields = |invalid: Invalid| match invalid {
            Invalid::Fields(faults) => faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>(),
            other @ Invalid::Content { .. } => panic!("{other:?}"),
        };
        let (made, changed) = (made.err().map(fields), changed.err().map(fields));
        assert_eq!(made, changed, "a change is held to the same");
        made.unwrap_or_default()
    }

    #[test]
    fn every_bound_is_kept_and_its_field_named() {
        const SECOND: i64 = 1_000_000_000;
        const HOUR: i64 = 3_600 * SECOND;
        type Set = fn(&mut pb::ConsumerGroup, i64);
        let times: [(&str, i64, Set); 3] = [
            ("ack_deadline", SECOND, |group, nanos| group.ack_deadline = Some(span(nanos))),
            ("min_backoff", SECOND / 100, |group, nanos| {
                (group.min_backoff, group.max_backoff) = (Some(span(nanos)), Some(span(HOUR)));
            }),
            ("max_backoff", SECOND / 100, |group, nanos| {
                (group.min_backoff, group.max_backoff) = (Some(span(SECOND / 100)), Some(span(nanos)));
            }),
        ];
        for (field, min, set) in times {
            let of = |nanos| {
                let mut group = pb::ConsumerGroup::default();
                set(&mut group, nanos);
                faults(group)
            };
            for good in [min, min + 1, HOUR] {
                assert_eq!(of(good), Vec::<String>::new(), "{field} {good}");
            }
            for bad in [-1, 0, min - 1, HOUR + 1, i64::MIN, i64::MAX] {
                assert_eq!(of(bad), [format!("consumer_group.{field}")], "{field} {bad}");
            }
        }
        for (attempts, is_good) in [(1, true), (100, true), (101, false), (u32::MAX, false)] {
            let found = faults(pb::ConsumerGroup { max_attempts: attempts, ..Default::default() });
            assert_eq!(found.is_empty(), is_good, "{attempts}: {found:?}");
        }
        let turned = pb::ConsumerGroup {
            min_backoff: Some(span(2 * SECOND)),
            max_backoff: Some(span(SECOND)),
            ..Default::default()
        };
        assert_eq!(faults(turned), ["consumer_group.max_backoff"]);
        // One alone is held against the other's default, and is what the caller can mend.
        let min = pb::ConsumerGroup { min_backoff: Some(span(120 * SECOND)), ..Default::default() };
        assert_eq!(faults(min), ["consumer_group.min_backoff"]);
        let max = pb::ConsumerGroup { max_backoff: Some(span(SECOND / 2)), ..Default::default() };
        assert_eq!(faults(max), ["consumer_group.max_backoff"]);
        for number in [-1, 3, i32::MAX] {
            let odd = pb::ConsumerGroup { park_policy: number, ..Default::default() };
            assert_eq!(faults(odd), ["consumer_group.park_policy"], "{number}");
        }
        for number in [-1, 4, i32::MAX] {
            let odd = pb::ConsumerGroup { view: number, expired_cursor_policy: number, ..Default::default() };
            let both = ["consumer_group.view", "consumer_group.expired_cursor_policy"];
            assert_eq!(faults(odd), both, "{number}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let fits = |name: &str| name_of(name.to_owned(), "group").is_ok();
        let longest = "a".repeat(63);
        assert!(["a", "0", "a.b_c-d", &longest].into_iter().all(fits));
        let too_long = "a".repeat(64);
        assert!(!["", ".a", "-a", "A", "a b", "é", "a/b", &too_long].into_iter().any(fits));
    }
}
