//! `[reconcile]`: how Blip is read back for what webhooks did not tell.

use std::time::Duration;

use super::reading::{Reading, Section};
use super::{Reconcile, Silence, units};
use crate::gateway::reconcile::hours::Hours;

/// The largest share: what runs in the background never has more of a bot's rate than a quarter.
const SHARE_MAX: usize = 25;
/// How long a key is recognised at least: what is older could not be told from what is new.
const EARLIER_SECONDS_MAX: u64 = 70 * 3_600;

pub(super) fn read(mut section: Section, reading: &mut Reading<'_>) -> Reconcile {
    let enabled = section.flag("enabled", reading);
    let share = section.count("share_percent", SHARE_MAX, reading);
    let interval = time(&mut section, "interval", (10, 86_400), "is no time from 10s to 1d", reading);
    let grace = time(&mut section, "grace", (1, 3_600), "is no time from 1s to 1h", reading);
    let bounded = |text: &str| match text {
        "off" => Some(None),
        text => units::duration(text).filter(|time| time.as_secs() <= EARLIER_SECONDS_MAX).map(Some),
    };
    let fix = "write it like 1h, or \"off\"";
    let earlier = section.parsed("earlier", "is no time up to 70h", fix, reading, bounded);
    let lookback = time(&mut section, "lookback", (60, 90 * 86_400), "is no time from 1m to 90d", reading);
    let named = |text: &str| match text {
        "learnt" => Some(Silence::Learnt),
        "off" => Some(Silence::Off),
        text => {
            units::duration(text).filter(|time| (10..=86_400).contains(&time.as_secs())).map(Silence::After)
        }
    };
    let fix = "write \"learnt\", \"off\", or a time from 10s to 1d";
    let silence = section.parsed("silence", "is no silence", fix, reading, named);
    let fix = "write it like \"mon-fri 08:00-18:00 -03:00\", or \"mon-fri 18:00-02:00 -03:00\" where it ends the next day";
    let hours = section.parsed("business_hours", "are no hours", fix, reading, Hours::parse);
    section.finish(reading);
    let default = Reconcile::default();
    Reconcile {
        enabled: enabled.unwrap_or(default.enabled),
        share_percent: share.and_then(|share| u32::try_from(share).ok()).unwrap_or(default.share_percent),
        interval: interval.unwrap_or(default.interval),
        grace: grace.unwrap_or(default.grace),
        earlier: earlier.unwrap_or(default.earlier),
        lookback: lookback.unwrap_or(default.lookback),
        silence: silence.unwrap_or(default.silence),
        business_hours: hours.or(default.business_hours),
    }
}

fn time(
    section: &mut Section,
    key: &'static str,
    (least, most): (u64, u64),
    what: &str,
    reading: &mut Reading<'_>,
) -> Option<Duration> {
    let bounded = |text: &str| units::duration(text).filter(|time| (least..=most).contains(&time.as_secs()));
    section.parsed(key, what, "write it like 90s, 15m or 24h", reading, bounded)
}
