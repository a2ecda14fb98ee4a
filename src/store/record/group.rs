//! A group's settings as a record. Released: only ever read and written, never changed but by an optional member that no
//! older record has. The names in here are stored.

use std::borrow::Cow;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Text, Time};
use crate::domain::filter::EventFilter;
use crate::domain::group::{EventView, ExpiredPolicy, GroupSettings, GroupStart, ParkPolicy};

#[derive(Serialize, Deserialize)]
pub(super) struct V1Group<'a> {
    #[serde(default, skip_serializing_if = "V1Filter::is_empty")]
    filter: V1Filter<'a>,
    start: V1Start<'a>,
    ack_deadline_ms: u64,
    max_attempts: u32,
    min_backoff_ms: u64,
    max_backoff_ms: u64,
    park_policy: V1ParkPolicy,
    pin_retention: bool,
    view: V1View,
    expired: V1Expired,
}

#[derive(Default, Serialize, Deserialize)]
struct V1Filter<'a> {
    #[serde(default, skip_serializing_if = "is_empty")]
    bots: Texts<'a>,
    #[serde(default, skip_serializing_if = "is_empty")]
    types: Texts<'a>,
    #[serde(default, skip_serializing_if = "is_empty")]
    exclude_types: Texts<'a>,
    #[serde(default, skip_serializing_if = "is_empty")]
    ticket_ids: Texts<'a>,
    #[serde(default, skip_serializing_if = "is_empty")]
    teams: Texts<'a>,
    #[serde(default, skip_serializing_if = "is_empty")]
    agent_identities: Texts<'a>,
    #[serde(default, skip_serializing_if = "is_empty")]
    customer_identities: Texts<'a>,
}

type Texts<'a> = Cow<'a, [String]>;

fn is_empty(texts: &[String]) -> bool {
    texts.is_empty()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1Start<'a> {
    Latest,
    Earliest,
    After(Text<'a>),
    At(Time),
    AgoMs(i64),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1ParkPolicy {
    Continue,
    Block,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1View {
    Envelope,
    Full,
    Raw,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1Expired {
    Fail,
    Earliest,
    Latest,
}

impl V1Filter<'_> {
    fn is_empty(&self) -> bool {
        let Self { bots, types, exclude_types, ticket_ids, teams, agent_identities, customer_identities } =
            self;
        [bots, types, exclude_types, ticket_ids, teams, agent_identities, customer_identities]
            .iter()
            .all(|texts| texts.is_empty())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<'a> From<&'a GroupSettings> for V1Group<'a> {
    fn from(settings: &'a GroupSettings) -> Self {
        let GroupSettings {
            filter,
            start,
            ack_deadline,
            max_attempts,
            min_backoff,
            max_backoff,
            park_policy,
            pin_retention,
            view,
            expired,
        } = settings;
        Self {
            filter: filter.into(),
            start: match start {
                GroupStart::Latest => V1Start::Latest,
                GroupStart::Earliest => V1Start::Earliest,
                GroupStart::After(cursor) => V1Start::After(Cow::Borrowed(cursor)),
                GroupStart::At(at) => V1Start::At(Time(*at)),
                GroupStart::Ago(ago) => V1Start::AgoMs(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
            },
            ack_deadline_ms: millis(*ack_deadline),
            max_attempts: *max_attempts,
            min_backoff_ms: millis(*min_backoff),
            max_backoff_ms: millis(*max_backoff),
            park_policy: match park_policy {
                ParkPolicy::Continue => V1ParkPolicy::Continue,
                ParkPolicy::Block => V1ParkPolicy::Block,
            },
            pin_retention: *pin_retention,
            view: match view {
                EventView::Envelope => V1View::Envelope,
                EventView::Full => V1View::Full,
                EventView::Raw => V1View::Raw,
            },
            expired: match expired {
                ExpiredPolicy::Fail => V1Expired::Fail,
                ExpiredPolicy::Earliest => V1Expired::Earliest,
                ExpiredPolicy::Latest => V1Expired::Latest,
            },
        }
    }
}

impl<'a> From<&'a EventFilter> for V1Filter<'a> {
    fn from(filter: &'a EventFilter) -> Self {
        let EventFilter {
            bots,
            types,
            exclude_types,
            ticket_ids,
            teams,
            agent_identities,
            customer_identities,
        } = filter;
        Self {
            bots: Cow::Borrowed(bots),
            types: Cow::Borrowed(types),
            exclude_types: Cow::Borrowed(exclude_types),
            ticket_ids: Cow::Borrowed(ticket_ids),
            teams: Cow::Borrowed(teams),
            agent_identities: Cow::Borrowed(agent_identities),
            customer_identities: Cow::Borrowed(customer_identities),
        }
    }
}

impl From<V1Group<'_>> for GroupSettings {
    fn from(record: V1Group<'_>) -> Self {
        let V1Group {
            filter,
            start,
            ack_deadline_ms,
            max_attempts,
            min_backoff_ms,
            max_backoff_ms,
            park_policy,
            pin_retention,
            view,
            expired,
        } = record;
        Self {
            filter: filter.into(),
            start: match start {
                V1Start::Latest => GroupStart::Latest,
                V1Start::Earliest => GroupStart::Earliest,
                V1Start::After(cursor) => GroupStart::After(cursor.into_owned()),
                V1Start::At(at) => GroupStart::At(at.0),
                V1Start::AgoMs(ago) => GroupStart::Ago(SignedDuration::from_millis(ago)),
            },
            ack_deadline: Duration::from_millis(ack_deadline_ms),
            max_attempts,
            min_backoff: Duration::from_millis(min_backoff_ms),
            max_backoff: Duration::from_millis(max_backoff_ms),
            park_policy: match park_policy {
                V1ParkPolicy::Continue => ParkPolicy::Continue,
                V1ParkPolicy::Block => ParkPolicy::Block,
            },
            pin_retention,
            view: match view {
                V1View::Envelope => EventView::Envelope,
                V1View::Full => EventView::Full,
                V1View::Raw => EventView::Raw,
            },
            expired: match expired {
                V1Expired::Fail => ExpiredPolicy::Fail,
                V1Expired::Earliest => ExpiredPolicy::Earliest,
                V1Expired::Latest => ExpiredPolicy::Latest,
            },
        }
    }
}

impl From<V1Filter<'_>> for EventFilter {
    fn from(record: V1Filter<'_>) -> Self {
        let V1Filter { bots, types, exclude_types, ticket_ids, teams, agent_identities, customer_identities } =
            record;
        Self {
            bots: bots.into_owned(),
            types: types.into_owned(),
            exclude_types: exclude_types.into_owned(),
            ticket_ids: ticket_ids.into_owned(),
            teams: teams.into_owned(),
            agent_identities: agent_identities.into_owned(),
            customer_identities: customer_identities.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::{VERSION, decode_group, encode_group};
    use super::*;

    fn start() -> impl Strategy<Value = GroupStart> {
        prop_oneof![
            Just(GroupStart::Latest),
            Just(GroupStart::Earliest),
            any::<String>().prop_map(GroupStart::After),
            (0_i64..4_000_000_000).prop_map(|at| GroupStart::At(jiff::Timestamp::from_second(at).unwrap())),
            any::<i64>().prop_map(|ago| GroupStart::Ago(SignedDuration::from_millis(ago))),
        ]
    }

    fn settings() -> impl Strategy<Value = GroupSettings> {
        let filter = vec(vec(any::<String>(), 0..3), 7).prop_map(|mut lists| EventFilter {
            bots: lists.remove(0),
            types: lists.remove(0),
            exclude_types: lists.remove(0),
            ticket_ids: lists.remove(0),
            teams: lists.remove(0),
            agent_identities: lists.remove(0),
            customer_identities: lists.remove(0),
        });
        let park = prop_oneof![Just(ParkPolicy::Continue), Just(ParkPolicy::Block)];
        let view = prop_oneof![Just(EventView::Envelope), Just(EventView::Full), Just(EventView::Raw)];
        let expired = prop_oneof![
            Just(ExpiredPolicy::Fail),
            Just(ExpiredPolicy::Earliest),
            Just(ExpiredPolicy::Latest)
        ];
        let numbers = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<bool>());
        (filter, start(), numbers, park, view, expired).prop_map(
            |(filter, start, (ack, max_attempts, min, max, pin_retention), park_policy, view, expired)| {
                GroupSettings {
                    filter,
                    start,
                    ack_deadline: Duration::from_millis(ack),
                    max_attempts,
                    min_backoff: Duration::from_millis(min),
                    max_backoff: Duration::from_millis(max),
                    park_policy,
                    pin_retention,
                    view,
                    expired,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn settings_round_trip(settings in settings()) {
            let record = encode_group(&settings).unwrap();
            prop_assert_eq!(decode_group(VERSION, &record).unwrap(), settings);
        }
    }

    #[test]
    fn a_stored_record_is_read_for_ever() {
        let record = br#"{"filter":{"types":["ticket.*"]},"start":{"ago_ms":60000},"ack_deadline_ms":30000,
            "max_attempts":10,"min_backoff_ms":1000,"max_backoff_ms":60000,"park_policy":"block",
            "pin_retention":true,"view":"raw","expired":"earliest"}"#;
        let expected = GroupSettings {
            filter: EventFilter { types: vec!["ticket.*".to_owned()], ..EventFilter::default() },
            start: GroupStart::Ago(SignedDuration::from_mins(1)),
            park_policy: ParkPolicy::Block,
            pin_retention: true,
            view: EventView::Raw,
            expired: ExpiredPolicy::Earliest,
            ..GroupSettings::default()
        };
        assert_eq!(decode_group(2, record).unwrap(), expected);
    }
}
