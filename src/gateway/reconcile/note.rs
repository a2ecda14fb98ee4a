//! What a bot's reader notes down for the next process. Unknown members are passed over, and what cannot be read is as
//! good as nothing: the first round then begins anew.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::{Errand, Now, TRY_AGAIN_MAX, What};

/// The note.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Up to here everything that ended is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) covered_ms: Option<i64>,
    /// From when on tickets that ended are to be looked for, where somebody asked for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since_ms: Option<i64>,
    /// The first ticket whose conversation the round has still to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resume: Option<String>,
    /// Up to this position the log was followed, and nothing it asked for is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) followed: Option<u64>,
    /// What could not be read so far, or not yet, and neither the log nor a round brings again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<Left>,
    /// How many webhooks usually come, for each hour of the week.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) usual: Vec<Option<f64>>,
    /// The alerts that are raised, each with its cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) raised: Vec<String>,
}

impl Note {
    /// Up to when everything that ended is known.
    pub(super) fn covered(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.covered_ms?).ok()
    }

    /// From when on tickets that ended are to be looked for.
    pub(super) fn since(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.since_ms?).ok()
    }

    /// The same with those moments.
    pub(super) fn looking(self, covered: Option<Timestamp>, since: Option<Timestamp>) -> Self {
        let (covered_ms, since_ms) =
            (covered.map(Timestamp::as_millisecond), since.map(Timestamp::as_millisecond));
        Self { covered_ms, since_ms, ..self }
    }

    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Something that is left to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Left {
    /// The ticket's id.
    pub(super) ticket: String,
    what: About,
    /// How often it came to nothing.
    #[serde(default)]
    tries: u32,
    /// Not before.
    #[serde(default)]
    from_ms: i64,
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum About {
    /// The conversation of a ticket that had just come.
    Arrived,
    /// The conversation of a ticket that has ended.
    Ended,
    /// The ticket itself.
    Check,
}

impl Left {
    /// An errand, where it is one that only a note tells of.
    pub(super) fn of(errand: &Errand, now: Now) -> Option<Self> {
        let what = match errand.what {
            What::Arrived => About::Arrived,
            What::Ended => About::Ended,
            What::Check => About::Check,
            What::Living | What::Found { .. } => return None,
        };
        let wait = errand.from.saturating_duration_since(now.at).as_millis();
        let wait = i64::try_from(wait).unwrap_or(i64::MAX);
        let from_ms = now.date.as_millisecond().saturating_add(wait);
        Some(Self { ticket: errand.ticket_id.clone(), what, tries: errand.tries, from_ms })
    }

    /// The errand again, after a ticket made then.
    pub(super) fn errand(self, created: Option<Timestamp>, now: Now) -> Errand {
        let wait = self.from_ms.saturating_sub(now.date.as_millisecond());
        // A clock that was put back keeps nothing up for longer than any pause is.
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or_default()).min(TRY_AGAIN_MAX);
        let what = match self.what {
            About::Arrived => What::Arrived,
            About::Ended => What::Ended,
            About::Check => What::Check,
        };
        let from = now.at.checked_add(wait).unwrap_or(now.at);
        Errand { ticket_id: self.ticket, from, created, what, position: None, tries: self.tries }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_note_reads_back_and_what_is_none_is_empty() {
        let covered = "2024-05-02T12:00:00Z".parse().ok();
        let since = "2024-04-02T12:00:00Z".parse().ok();
        let note = Note {
            resume: Some("t1".to_owned()),
            followed: Some(7),
            usual: vec![None, Some(1.5)],
            raised: vec!["X".to_owned()],
            left: vec![Left { ticket: "t2".to_owned(), what: About::Ended, tries: 3, from_ms: 17 }],
            ..Note::default()
        };
        let note = note.looking(covered, since);
        assert_eq!((note.covered(), note.since()), (covered, since));
        assert_eq!(Note::read(&note.write()), note);
        assert_eq!(Note::read("{\"later\": 1}"), Note::default());
        assert_eq!(Note::read("no JSON"), Note::default());
    }

    /// What was tried is not tried from the beginning by the next process, and not sooner than it was to be.
    #[test]
    fn what_is_left_keeps_its_tries_and_its_time() {
        let date: Timestamp = "2024-05-02T12:00:00Z".parse().unwrap();
        let now = Now { at: Instant::now(), date };
        let next = Now { at: now.at + Duration::from_hours(9), date: date + Duration::from_mins(20) };
        for what in [What::Arrived, What::Ended, What::Check] {
            let from = now.at + Duration::from_mins(30);
            let ticket_id = "t".to_owned();
            let errand = Errand { ticket_id, from, created: None, what, position: None, tries: 7 };
            let left = Left::of(&errand, now).unwrap();
            let left: Left = serde_json::from_value(serde_json::to_value(left).unwrap()).unwrap();
            let ten_minutes = next.at + Duration::from_mins(10);
            assert_eq!(left.clone().errand(None, next), Errand { from: ten_minutes, ..errand });
            let put_back = Now { date: date - Duration::from_hours(100), ..next };
            assert_eq!(left.errand(None, put_back).from, next.at + TRY_AGAIN_MAX);
        }
        let errand = Errand {
            ticket_id: "t".to_owned(),
            from: now.at,
            created: None,
            what: What::Living,
            position: None,
            tries: 0,
        };
        assert_eq!(Left::of(&errand, now), None, "each round reads it");
    }
}
