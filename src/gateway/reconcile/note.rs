//! What a bot's reader notes down for the next process. Unknown members are passed over, and what cannot be read is as
//! good as nothing: the first round then begins anew.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// Tickets whose conversation a round could not read, and which none reads again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unread: Vec<String>,
    /// Tickets that ended too lately to be told without their webhook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unchecked: Vec<String>,
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

#[cfg(test)]
mod tests {
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
            unread: vec!["t2".to_owned()],
            unchecked: vec!["t3".to_owned()],
            ..Note::default()
        };
        let note = note.looking(covered, since);
        assert_eq!((note.covered(), note.since()), (covered, since));
        assert_eq!(Note::read(&note.write()), note);
        assert_eq!(Note::read("{\"later\": 1}"), Note::default());
        assert_eq!(Note::read("no JSON"), Note::default());
    }
}
