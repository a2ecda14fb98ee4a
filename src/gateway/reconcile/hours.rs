//! Business hours, as an operator writes them. Pure.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::Offset;

/// The days, as they are written; Monday is the first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Minutes of a day.
const DAY_MINUTES: u32 = 24 * 60;

/// The hours of a week in which webhooks are expected, by a fixed distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    first_day: usize,
    last_day: usize,
    from_minute: u32,
    to_minute: u32,
    offset_minutes: i32,
}

impl Hours {
    /// Reads `mon-fri 08:00-18:00 -03:00`, `mon 09:00-12:30 +00:00`, or `mon-fri 18:00-08:00 -03:00`: each of these days
    /// until the next morning.
    ///
    /// ```
    /// use deskgate::gateway::reconcile::hours::Hours;
    /// let hours = Hours::parse("mon-fri 08:00-18:00 -03:00").unwrap();
    /// assert!(hours.contain("2024-05-02T11:00:00Z".parse().unwrap()));
    /// assert!(!hours.contain("2024-05-02T10:59:00Z".parse().unwrap()));
    /// assert_eq!(hours.to_string(), "mon-fri 08:00-18:00 -03:00");
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let mut parts = text.split_whitespace();
        let (days, times, offset) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let day = |text: &str| DAYS.iter().position(|day| *day == text);
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (from, to) = times.split_once('-')?;
        let (from_minute, to_minute) = (minutes(from)?, minutes(to)?);
        let sign = match offset.get(..1)? {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        let distance = i32::try_from(minutes(offset.get(1..)?)?).ok()?;
        let hours = Self {
            first_day: day(first)?,
            last_day: day(last)?,
            from_minute,
            to_minute,
            offset_minutes: distance.checked_mul(sign)?,
        };
        let ordered =
            hours.first_day <= hours.last_day && from_minute != to_minute && from_minute < DAY_MINUTES;
        (ordered && distance <= 14 * 60).then_some(hours)
    }

    /// Whether a moment is within them.
    pub fn contain(&self, at: Timestamp) -> bool {
        let Ok(offset) = Offset::from_seconds(self.offset_minutes.saturating_mul(60)) else { return false };
        let local = offset.to_datetime(at);
        let day = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or_default();
        let minute = u32::try_from(local.hour()).unwrap_or_default().saturating_mul(60);
        let minute = minute.saturating_add(u32::try_from(local.minute()).unwrap_or_default());
        let is_day = |day| (self.first_day..=self.last_day).contains(&day);
        if self.from_minute < self.to_minute {
            return is_day(day) && (self.from_minute..self.to_minute).contains(&minute);
        }
        let day_before = day.checked_sub(1).unwrap_or(DAYS.len().saturating_sub(1));
        (is_day(day) && minute >= self.from_minute) || (is_day(day_before) && minute < self.to_minute)
    }
}

/// Minutes since midnight of `hh:mm`; `24:00` is the day's end.
fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let (hour, minute) = (two(hour)?, two(minute)?);
    let total = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && total <= DAY_MINUTES).then_some(total)
}

impl fmt::Display for Hours {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |at: usize| DAYS.get(at).copied().unwrap_or_default();
        let (first, last) = (day(self.first_day), day(self.last_day));
        let clock = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let days = if first == last { first.to_owned() } else { format!("{first}-{last}") };
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let offset = clock(self.offset_minutes.unsigned_abs());
        let (from, to) = (clock(self.from_minute), clock(self.to_minute));
        write!(out, "{days} {from}-{to} {sign}{offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_week_is_refused() {
        for text in [
            "",
            "mon-fri",
            "mon-fri 08:00-18:00",
            "fri-mon 08:00-18:00 +00:00",
            "mon-fri 08:00-08:00 +00:00",
            "mon-fri 24:00-08:00 +00:00",
            "mon-fri 08:00-25:00 +00:00",
            "mon-fri 8-18 +00:00",
            "mon-fri 08:00-18:00 03:00",
            "mon-fri 08:00-18:00 -03:00 x",
            "someday 08:00-18:00 -03:00",
        ] {
            assert_eq!(Hours::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_shift_may_pass_midnight() {
        let hours = Hours::parse("fri-sun 18:00-08:00 +00:00").unwrap();
        let within = |at: &str| hours.contain(at.parse().unwrap());
        assert!(!within("2024-05-03T07:59:00Z"), "the night from Thursday is not one of them");
        assert!(within("2024-05-03T18:00:00Z") && within("2024-05-04T07:59:00Z"));
        assert!(!within("2024-05-04T08:00:00Z") && !within("2024-05-04T17:59:00Z"));
        assert!(within("2024-05-06T07:59:00Z") && !within("2024-05-06T18:00:00Z"), "until Monday's morning");
        assert_eq!(hours.to_string(), "fri-sun 18:00-08:00 +00:00");
    }

    #[test]
    fn days_and_hours_are_local() {
        let hours = Hours::parse("SAT 00:00-24:00 -03:00").unwrap();
        assert!(hours.contain("2024-05-04T03:00:00Z".parse().unwrap()));
        assert!(hours.contain("2024-05-05T02:59:00Z".parse().unwrap()));
        assert!(!hours.contain("2024-05-04T02:59:00Z".parse().unwrap()));
        assert_eq!(hours.to_string(), "sat 00:00-24:00 -03:00");
    }
}
