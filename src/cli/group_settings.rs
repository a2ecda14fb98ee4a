//! A consumer group's settings as options of the command line, and as they are told back.

use clap::{Args, ValueEnum};

use crate::grpc::pb;
use pb::{ConsumerGroup, EventView, ExpiredCursorPolicy, ParkPolicy};

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Only events of this bot; may be repeated, or several with commas.
    #[arg(long, value_name = "NAME", env = "DESKGATE_GROUPS_BOT", value_delimiter = ',')]
    bot: Vec<String>,
    /// Only this type, such as message.customer or ticket.*; may be repeated, or several with commas.
    #[arg(long = "type", value_name = "TYPE", env = "DESKGATE_GROUPS_TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Not this type; may be repeated, or several with commas.
    #[arg(long, value_name = "TYPE", env = "DESKGATE_GROUPS_EXCLUDE_TYPE", value_delimiter = ',')]
    exclude_type: Vec<String>,
    /// Only of this team; may be repeated, or several with commas.
    #[arg(long, value_name = "TEAM", env = "DESKGATE_GROUPS_TEAM", value_delimiter = ',')]
    team: Vec<String>,
    /// How long a member has for an event, such as 30s or 2m.
    #[arg(long, value_name = "TIME", env = "DESKGATE_GROUPS_ACK_DEADLINE", value_parser = span)]
    ack_deadline: Option<prost_types::Duration>,
    /// How many times an event is delivered before it is parked.
    #[arg(
        long,
        value_name = "N",
        env = "DESKGATE_GROUPS_MAX_ATTEMPTS",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    max_attempts: Option<u32>,
    /// The wait after the first retry, such as 500ms; it doubles each time.
    #[arg(long, value_name = "TIME", env = "DESKGATE_GROUPS_MIN_BACKOFF", value_parser = span)]
    min_backoff: Option<prost_types::Duration>,
    /// The longest such wait.
    #[arg(long, value_name = "TIME", env = "DESKGATE_GROUPS_MAX_BACKOFF", value_parser = span)]
    max_backoff: Option<prost_types::Duration>,
    /// What becomes of a ticket while one of its events is parked: it goes on, or waits.
    #[arg(long, value_name = "POLICY", env = "DESKGATE_GROUPS_PARK")]
    park: Option<Park>,
    /// Whether events stay in the log until this group has settled them, as far as the disk allows.
    #[arg(long, value_name = "BOOL", env = "DESKGATE_GROUPS_PIN_RETENTION")]
    pin_retention: Option<bool>,
    /// How much of each event members get.
    #[arg(long, env = "DESKGATE_GROUPS_VIEW")]
    view: Option<View>,
    /// What to do where events are gone that the group has not settled: fail until it is moved, or go on.
    #[arg(long, value_name = "POLICY", env = "DESKGATE_GROUPS_EXPIRED")]
    expired: Option<Expired>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Park {
    Continue,
    Block,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum View {
    Envelope,
    Full,
    Raw,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Expired {
    Fail,
    Earliest,
    Latest,
}

/// A setting that can be changed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Field {
    Filter,
    AckDeadline,
    MaxAttempts,
    MinBackoff,
    MaxBackoff,
    Park,
    PinRetention,
    View,
    Expired,
}

impl Field {
    /// As the API names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::AckDeadline => "ack_deadline",
            Self::MaxAttempts => "max_attempts",
            Self::MinBackoff => "min_backoff",
            Self::MaxBackoff => "max_backoff",
            Self::Park => "park_policy",
            Self::PinRetention => "pin_retention",
            Self::View => "view",
            Self::Expired => "expired_cursor_policy",
        }
    }
}

impl Settings {
    /// What is given, and which fields that are.
    pub(super) fn to_pb(&self) -> (ConsumerGroup, Vec<String>) {
        let filter =
            [&self.bot, &self.types, &self.exclude_type, &self.team].iter().any(|list| !list.is_empty());
        let filter = filter.then(|| pb::EventFilter {
            bots: self.bot.clone(),
            types: self.types.clone(),
            exclude_types: self.exclude_type.clone(),
            teams: self.team.clone(),
            ..pb::EventFilter::default()
        });
        let group = ConsumerGroup {
            filter,
            ack_deadline: self.ack_deadline,
            max_attempts: self.max_attempts.unwrap_or_default(),
            min_backoff: self.min_backoff,
            max_backoff: self.max_backoff,
            park_policy: self.park.map_or(ParkPolicy::Unspecified, Park::to_pb).into(),
            pin_retention: self.pin_retention.unwrap_or_default(),
            view: self.view.map_or(EventView::Unspecified, View::to_pb).into(),
            expired_cursor_policy: self
                .expired
                .map_or(ExpiredCursorPolicy::Unspecified, Expired::to_pb)
                .into(),
            ..ConsumerGroup::default()
        };
        let given = [
            (Field::Filter, group.filter.is_some()),
            (Field::AckDeadline, self.ack_deadline.is_some()),
            (Field::MaxAttempts, self.max_attempts.is_some()),
            (Field::MinBackoff, self.min_backoff.is_some()),
            (Field::MaxBackoff, self.max_backoff.is_some()),
            (Field::Park, self.park.is_some()),
            (Field::PinRetention, self.pin_retention.is_some()),
            (Field::View, self.view.is_some()),
            (Field::Expired, self.expired.is_some()),
        ];
        let paths = given.into_iter().filter(|(_, given)| *given).map(|(field, _)| field.name().to_owned());
        (group, paths.collect())
    }
}

impl Park {
    fn to_pb(self) -> ParkPolicy {
        match self {
            Self::Continue => ParkPolicy::ContinueTicket,
            Self::Block => ParkPolicy::BlockTicket,
        }
    }
}

impl View {
    fn to_pb(self) -> EventView {
        match self {
            Self::Envelope => EventView::Envelope,
            Self::Full => EventView::Full,
            Self::Raw => EventView::Raw,
        }
    }
}

impl Expired {
    fn to_pb(self) -> ExpiredCursorPolicy {
        match self {
            Self::Fail => ExpiredCursorPolicy::Fail,
            Self::Earliest => ExpiredCursorPolicy::Earliest,
            Self::Latest => ExpiredCursorPolicy::Latest,
        }
    }
}

/// Reads `500ms`, `30s`, `2m` or `1h`.
fn span(text: &str) -> Result<prost_types::Duration, String> {
    let wrong = || "not a time such as 500ms, 30s, 2m or 1h".to_owned();
    let at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(at).ok_or_else(wrong)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_error| wrong())?;
    let millis = i64::from(number).saturating_mul(factor);
    let nanos = millis.rem_euclid(1_000).saturating_mul(1_000_000);
    let nanos = i32::try_from(nanos).map_err(|_error| wrong())?;
    Ok(prost_types::Duration { seconds: millis.div_euclid(1_000), nanos })
}

/// The settings, for people.
pub(super) fn told(group: &ConsumerGroup) -> Vec<(&'static str, String)> {
    let time = |time: &Option<prost_types::Duration>| {
        let time = time.unwrap_or_default();
        match time.nanos {
            0 => format!("{}s", time.seconds),
            nanos => format!(
                "{}ms",
                time.seconds.saturating_mul(1_000).saturating_add(i64::from(nanos / 1_000_000))
            ),
        }
    };
    let short = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
    let filter = group.filter.clone().unwrap_or_default();
    let lists = [
        ("bots", filter.bots),
        ("types", filter.types),
        ("not types", filter.exclude_types),
        ("tickets", filter.ticket_ids),
        ("teams", filter.teams),
        ("agents", filter.agent_identities),
        ("customers", filter.customer_identities),
    ];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let filter: Vec<_> = lists.map(|(name, list)| format!("{name} {}", list.join(", "))).collect();
    vec![
        ("filter", if filter.is_empty() { "everything".to_owned() } else { filter.join("; ") }),
        ("ack deadline", time(&group.ack_deadline)),
        ("attempts", format!("at most {}", group.max_attempts)),
        ("backoff", format!("{} to {}", time(&group.min_backoff), time(&group.max_backoff))),
        ("park policy", short(group.park_policy().as_str_name(), "PARK_POLICY_")),
        ("pins retention", if group.pin_retention { "yes" } else { "no" }.to_owned()),
        ("view", short(group.view().as_str_name(), "EVENT_VIEW_")),
        ("expired", short(group.expired_cursor_policy().as_str_name(), "EXPIRED_CURSOR_POLICY_")),
        ("etag", group.etag.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let read = |text| span(text).map(|span| (span.seconds, span.nanos)).ok();
        assert_eq!(
            (read("500ms"), read("2m"), read("1h")),
            (Some((0, 500_000_000)), Some((120, 0)), Some((3_600, 0)))
        );
        for text in ["", "5", "s", "1d", "-1s", "1.5s"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
