//! API ↔ domain. Outward cannot fail; inward names the faulty field. No `Status` is built here.

use jiff::{SignedDuration, Timestamp};

use crate::grpc::pb;

pub(super) mod admin;
pub(super) mod command;
pub(super) mod content;
pub(super) mod desk;
pub(super) mod directory;
pub(super) mod event;
pub(super) mod group;
pub(super) mod lists;
pub(super) mod request;
pub(super) mod start;
pub(super) mod ticket;
pub(super) mod value;

/// A field that cannot be taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvalidField {
    /// Its path in the request, such as `content.location.latitude`.
    pub(super) field: String,
    /// What is wrong with it, and what would be right.
    pub(super) description: String,
}

impl InvalidField {
    pub(super) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// A request that cannot be taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Invalid {
    /// These fields are wrong.
    Fields(Vec<InvalidField>),
    /// The fields make sense, and no message can be made of them.
    Content {
        /// The type it was to have.
        media_type: String,
        /// Why not.
        description: String,
    },
}

impl From<InvalidField> for Invalid {
    fn from(fault: InvalidField) -> Self {
        Self::Fields(vec![fault])
    }
}

/// Gathers every faulty field of a request, so that its author mends them in one go.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<InvalidField>);

impl Faults {
    /// Notes a fault.
    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(InvalidField::new(field, description));
    }

    /// Notes the faults of a part, under its path.
    pub(super) fn within(&mut self, part: &str, faults: Faults) {
        let at = |fault: InvalidField| InvalidField { field: format!("{part}.{}", fault.field), ..fault };
        self.0.extend(faults.0.into_iter().map(at));
    }

    /// The value, or a stand-in and a note of the fault.
    pub(super) fn take<T: Default>(&mut self, result: Result<T, InvalidField>) -> T {
        result.unwrap_or_else(|fault| {
            self.0.push(fault);
            T::default()
        })
    }

    /// `value` if nothing was noted.
    pub(super) fn done<T>(self, value: T) -> Result<T, Invalid> {
        if self.0.is_empty() { Ok(value) } else { Err(Invalid::Fields(self.0)) }
    }
}

/// The first second that the API can tell, that of the year 1; a second earlier, no client could print it.
const SECOND_MIN: i64 = -62_135_596_800;

/// A date as the API carries it: nanoseconds always count upwards. What an earlier version may have stored of a time
/// before the year 1 is that year's beginning.
pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let at = at.max(Timestamp::constant(SECOND_MIN, 0));
    let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        let (seconds, nanos) = (seconds.saturating_sub(1), nanos.saturating_add(1_000_000_000));
        return prost_types::Timestamp { seconds, nanos };
    }
    prost_types::Timestamp { seconds, nanos }
}

/// A date as a caller gave it.
pub(super) fn time_of(at: prost_types::Timestamp, field: &str) -> Result<Timestamp, InvalidField> {
    let prost_types::Timestamp { seconds, nanos } = at;
    let in_range = (0..1_000_000_000).contains(&nanos) && seconds >= SECOND_MIN;
    let time = Timestamp::new(seconds, nanos).ok().filter(|_| in_range);
    time.ok_or_else(|| InvalidField::new(field, "must be a date from year 1 to 9999, nanos 0 to 999999999"))
}

/// A span of time as a caller gave it; may be negative.
pub(super) fn span_of(span: prost_types::Duration, field: &str) -> Result<SignedDuration, InvalidField> {
    let prost_types::Duration { seconds, nanos } = span;
    let signs_differ = (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0);
    if signs_differ || nanos.unsigned_abs() >= 1_000_000_000 {
        let fault = "is no duration: nanos are -999999999 to 999999999, of the same sign as seconds";
        return Err(InvalidField::new(field, fault));
    }
    Ok(SignedDuration::from_secs(seconds).saturating_add(SignedDuration::from_nanos(i64::from(nanos))))
}

/// A span of time as the API carries it.
pub(super) fn span(span: std::time::Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
    }
}

/// How much of each event to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum View {
    /// Without payload and raw body.
    Envelope,
    /// Without raw body.
    #[default]
    Full,
    /// Everything.
    Raw,
}

impl View {
    /// How many views there are.
    pub(super) const COUNT: usize = 3;

    /// Reads the enum's number.
    pub(super) fn of(number: i32) -> Result<Self, InvalidField> {
        match pb::EventView::try_from(number) {
            Ok(pb::EventView::Unspecified | pb::EventView::Full) => Ok(Self::Full),
            Ok(pb::EventView::Envelope) => Ok(Self::Envelope),
            Ok(pb::EventView::Raw) => Ok(Self::Raw),
            Err(_) => Err(unknown_number("view", number)),
        }
    }

    /// The item that belongs to this view.
    pub(super) fn pick<T>(self, of: &[T; Self::COUNT]) -> &T {
        let [envelope, full, raw] = of;
        match self {
            Self::Envelope => envelope,
            Self::Full => full,
            Self::Raw => raw,
        }
    }

    /// The same, to change it.
    pub(super) fn pick_mut<T>(self, of: &mut [T; Self::COUNT]) -> &mut T {
        let [envelope, full, raw] = of;
        match self {
            Self::Envelope => envelope,
            Self::Full => full,
            Self::Raw => raw,
        }
    }
}

/// The fault of an enum's number that is not a value of this version.
pub(super) fn unknown_number(field: &str, number: i32) -> InvalidField {
    InvalidField::new(field, format!("{number} is not a value of the enum"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The fields that are named as faulty.
    pub(super) fn fields<T: std::fmt::Debug>(result: Result<T, Invalid>) -> Vec<String> {
        match result {
            Err(Invalid::Fields(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
            other => panic!("no faults: {other:?}"),
        }
    }

    #[test]
    fn a_duration_is_refused_rather_than_mended() {
        let read = |seconds, nanos| span_of(prost_types::Duration { seconds, nanos }, "ago").ok();
        assert_eq!(read(1, 500_000_000), Some(SignedDuration::from_millis(1_500)));
        assert_eq!(read(-1, -500_000_000), Some(SignedDuration::from_millis(-1_500)));
        assert_eq!(read(0, -999_999_999), Some(SignedDuration::from_nanos(-999_999_999)));
        assert_eq!(read(i64::MAX, 999_999_999), Some(SignedDuration::MAX));
        let faulty = [(30, -5), (-30, 5), (1, 1_000_000_000), (0, i32::MIN), (0, -1_000_000_000)];
        assert_eq!(faulty.map(|(seconds, nanos)| read(seconds, nanos)), [None; 5]);
    }

    proptest! {
        #[test]
        fn dates_round_trip(seconds in -62_135_596_800_i64..253_402_000_000, nanos in 0_i32..1_000_000_000) {
            let pb = prost_types::Timestamp { seconds, nanos };
            prop_assert_eq!(timestamp(time_of(pb, "at").unwrap()), pb);
        }

        #[test]
        fn every_date_can_be_printed(seconds in -377_705_023_201_i64..253_402_207_200, nanos in 0_i32..1_000_000_000) {
            let at = Timestamp::new(seconds, nanos).unwrap();
            prop_assert!(timestamp(at).seconds >= -62_135_596_800);
            let taken = time_of(prost_types::Timestamp { seconds, nanos }, "at").is_ok();
            prop_assert_eq!(taken, seconds >= -62_135_596_800);
        }

        #[test]
        fn no_date_panics(seconds: i64, nanos: i32) {
            let _ = time_of(prost_types::Timestamp { seconds, nanos }, "at");
            let _ = span_of(prost_types::Duration { seconds, nanos }, "ago");
        }
    }
}
