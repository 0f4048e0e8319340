//! Times in logs, incidents and results: RFC 3339, UTC, milliseconds, always [`LENGTH`] characters, so that they sort as text.
//!
//! Not a calendar library: it writes, it does not parse.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Characters of `2026-11-24T03:14:15.123Z`.
pub const LENGTH: usize = 24;

const SECONDS_PER_DAY: u64 = 86_400;

/// The last second that fits the form: 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

/// The current time; 1970 if the system's clock is set before that.
#[must_use]
pub fn now() -> String {
    of(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Time since 1970 (proleptic Gregorian calendar, no leap seconds, as POSIX counts).
#[must_use]
pub fn of(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs().min(LAST);
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let second = seconds % SECONDS_PER_DAY;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_millis()
    )
}

/// Year, month and day of a count of days since 1970-01-01. Years and months are counted off from the front; a log line
/// batch asks once, so a few dozen steps cost nothing and the code can be read.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_known_times() {
        for (millis, expect) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_795_489_999_999, "2026-11-24T03:13:19.999Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX / 1_000_000 * 1_000, "9999-12-31T23:59:59.000Z"),
        ] {
            let written = of(Duration::from_millis(millis));
            assert_eq!(written, expect);
            assert_eq!(written.len(), LENGTH);
        }
    }
}
