//! How long a call may take, and when its answer must leave.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// How long a call may take whose caller sets no time: a little more than Blip's own limit.
const TIMEOUT: Duration = Duration::from_secs(70);
/// The longest time that a caller can set.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);
/// How much earlier than its caller's time an answer must leave: a twentieth of that time, but no less than this, or a quarter
/// where that is less still.
const MARGIN_MIN: Duration = Duration::from_millis(50);
/// The same, at most.
const MARGIN_MAX: Duration = Duration::from_millis(500);

/// When an answer must be ready: tonic ends a call at its caller's time with a bare `CANCELLED`, so we answer
/// a little earlier, with what is known.
pub(super) fn deadline_of(metadata: &MetadataMap) -> Instant {
    let given = metadata.get("grpc-timeout").and_then(|text| text.to_str().ok()).and_then(timeout_of);
    let timeout = match given {
        None => TIMEOUT,
        Some(timeout) => {
            let margin = (timeout / 20).clamp(MARGIN_MIN, MARGIN_MAX).min(timeout / 4);
            timeout.saturating_sub(margin).min(TIMEOUT_MAX)
        }
    };
    Instant::now() + timeout
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = plain.then(|| digits.parse().ok()).flatten()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3_600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout_of("2H"), Some(Duration::from_hours(2)));
        assert_eq!(timeout_of("250m"), Some(Duration::from_millis(250)));
        for text in ["", "S", "1", "123456789S", "-1S", "1x", "1é"] {
            assert_eq!(timeout_of(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_leave_before_the_callers_time() {
        let mut metadata = MetadataMap::new();
        assert_eq!(deadline_of(&metadata) - Instant::now(), TIMEOUT);
        metadata.insert("grpc-timeout", "100m".parse().unwrap());
        assert_eq!(deadline_of(&metadata) - Instant::now(), Duration::from_millis(75));
        metadata.insert("grpc-timeout", "10S".parse().unwrap());
        assert_eq!(deadline_of(&metadata) - Instant::now(), Duration::from_millis(9_500));
        metadata.insert("grpc-timeout", "800m".parse().unwrap());
        assert_eq!(deadline_of(&metadata) - Instant::now(), Duration::from_millis(750));
    }
}
