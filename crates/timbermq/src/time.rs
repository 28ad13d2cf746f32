//! Times as people write and read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `ms` since the epoch as UTC with milliseconds; `-` when it is not a time that calendars know.
pub fn utc(ms: i64) -> String {
    /// First millisecond of the year 10000.
    const LIMIT_MS: u64 = 253_402_300_800_000;
    match u64::try_from(ms) {
        Ok(ms) if ms < LIMIT_MS => humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string(),
        _ => "-".to_owned(),
    }
}

/// A point in time as a user writes it, in milliseconds since the epoch: `2026-01-31T12:00:00Z`, `2026-01-31 12:00:00`
/// (UTC), milliseconds since the epoch, or a time ago such as `-15m`.
pub fn parse_point(text: &str, now: SystemTime) -> Option<i64> {
    let millis = |time: SystemTime| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok();
    if let Some(ago) = text.strip_prefix('-') {
        return millis(now.checked_sub(humantime::parse_duration(ago).ok()?)?);
    }
    // Fewer digits would be a year, a day or an offset.
    if text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    millis(humantime::parse_rfc3339_weak(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_in_four_spellings() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let point = |text| parse_point(text, now);
        assert_eq!(point("2001-09-09T01:46:40Z"), Some(1_000_000_000_000));
        assert_eq!(point("2001-09-09 01:46:40"), Some(1_000_000_000_000));
        assert_eq!(point("1000000000001"), Some(1_000_000_000_001));
        assert_eq!(point("-1m 40s"), Some(999_999_900_000));
        for bad in ["", "-", "17", "yesterday", "-5", "-100000y"] {
            assert_eq!(point(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_are_shown_in_utc_and_nonsense_is_not() {
        assert_eq!(utc(1_000_000_000_001), "2001-09-09T01:46:40.001Z");
        assert_eq!((utc(-1), utc(i64::MAX)), ("-".into(), "-".into()));
    }
}
