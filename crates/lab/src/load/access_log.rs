//! Traffic to repeat, from an access log: common, combined, or JSON as Serpentry writes it.
//!
//! A log notes when requests ended. JSON has milliseconds and how long each took, so that the arrival is known; the other
//! two have whole seconds, and arrivals are spread evenly at random over theirs, which is what independent clients would
//! have done. Bodies are not in a log: what is repeated has none.

use std::io::{self, BufRead};
use std::time::Duration;

use serde::Deserialize;

use crate::Random;

/// Longest line, in bytes; a longer one is counted as unreadable.
pub const MAX_LINE: usize = 64 * 1024;
/// Requests that are read; the rest of the file is left.
pub const MAX_REQUESTS: usize = 1 << 20;

/// One request of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Arrival, in seconds since 1970.
    pub time: f64,
    /// The time is known to the second only.
    pub coarse: bool,
    pub method: String,
    pub target: String,
    pub status: u16,
}

/// A log that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// In the order of arrival.
    pub requests: Vec<Logged>,
    /// Lines that are none of the three forms.
    pub unreadable: usize,
    /// Whether the file had more than [`MAX_REQUESTS`].
    pub truncated: bool,
}

#[derive(Deserialize)]
struct JsonLine {
    time: f64,
    method: String,
    target: String,
    status: u16,
    #[serde(default)]
    total_ms: f64,
}

impl Traffic {
    /// Read a log; the seed decides where within their second coarse arrivals are put.
    ///
    /// # Errors
    /// Reading fails.
    pub fn read(mut log: impl BufRead, seed: u64) -> io::Result<Traffic> {
        let mut traffic = Traffic::default();
        let mut random = Random::stream(seed, 3);
        let mut line = Vec::new();
        while read_line(&mut log, &mut line)? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            if traffic.requests.len() == MAX_REQUESTS {
                traffic.truncated = true;
                break;
            }
            match parse(&line) {
                Some(mut logged) => {
                    if logged.coarse {
                        logged.time += random.unit();
                    }
                    traffic.requests.push(logged);
                }
                None => traffic.unreadable += 1,
            }
        }
        traffic.requests.sort_by(|a, b| a.time.total_cmp(&b.time));
        Ok(traffic)
    }

    /// Arrivals from the first one on, `speed` times as fast.
    #[must_use]
    pub fn offsets(&self, speed: f64) -> Vec<Duration> {
        let first = self.requests.first().map_or(0.0, |logged| logged.time);
        let offset = |logged: &Logged| {
            Duration::try_from_secs_f64((logged.time - first) / speed).unwrap_or(Duration::ZERO)
        };
        self.requests.iter().map(offset).collect()
    }
}

/// The next line without its end; false at the end of the file. Of a line that is too long, only the beginning is kept.
fn read_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let available = match log.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr::memchr(b'\n', available);
        let used = end.map_or(available.len(), |end| end + 1);
        let text = &available[..end.unwrap_or(available.len())];
        let room = (MAX_LINE + 1).saturating_sub(line.len());
        line.extend_from_slice(&text[..text.len().min(room)]);
        log.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// One line of any of the three forms; None for anything else.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Logged> {
    if line.len() > MAX_LINE {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?.trim();
    let logged = if text.starts_with('{') { json(text) } else { common(text) }?;
    // The arrival may be computed from nonsense; then it is none.
    let plausible = logged.time.is_finite() && logged.time.abs() < 1e11;
    let complete =
        !logged.method.is_empty() && !logged.target.is_empty() && (100..1000).contains(&logged.status);
    (plausible && complete).then_some(logged)
}

fn json(text: &str) -> Option<Logged> {
    let JsonLine { time, method, target, status, total_ms } = serde_json::from_str(text).ok()?;
    Some(Logged { time: time - total_ms.max(0.0) / 1e3, coarse: false, method, target, status })
}

/// `client identity user [25/Nov/2026:08:00:00 +0000] "GET /a HTTP/1.1" 200 12 ...`
fn common(text: &str) -> Option<Logged> {
    let (_, rest) = text.split_once(" [")?;
    let (stamp, rest) = rest.split_once("] \"")?;
    let (request, rest) = quoted(rest)?;
    let status = rest.split_ascii_whitespace().next()?.parse().ok()?;
    let mut parts = request.split(' ');
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    Some(Logged { time: seconds(stamp)?, coarse: true, method, target, status })
}

/// What is before the closing quotation mark, with its escapes resolved, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut content = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((String::from_utf8(content).ok()?, text.get(at + 1..)?)),
            b'\\' if bytes.get(at + 1) == Some(&b'x') => {
                content.push(u8::from_str_radix(text.get(at + 2..at + 4)?, 16).ok()?);
                at += 4;
            }
            b'\\' => {
                content.push(*bytes.get(at + 1)?);
                at += 2;
            }
            byte => {
                content.push(*byte);
                at += 1;
            }
        }
    }
}

/// Seconds since 1970 of `25/Nov/2026:08:00:00 +0000`.
fn seconds(stamp: &str) -> Option<f64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (moment, zone) = stamp.split_once(' ')?;
    let mut parts = moment.split(['/', ':']);
    let day = number(parts.next()?, 1, 31)?;
    let month = MONTHS.iter().position(|name| Some(*name) == moment.get(3..6))? as i64 + 1;
    parts.next()?;
    let year = number(parts.next()?, 1970, 9999)?;
    let (hour, minute) = (number(parts.next()?, 0, 23)?, number(parts.next()?, 0, 59)?);
    // 60 in a leap second.
    let second = number(parts.next()?, 0, 60)?;
    if parts.next().is_some() {
        return None;
    }
    let (sign, digits) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let zone = number(digits.get(..2)?, 0, 23)? * 3_600 + number(digits.get(2..)?, 0, 59)? * 60;
    let local = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((local - sign * zone) as f64)
}

fn number(text: &str, low: i64, high: i64) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| digits && (low..=high).contains(value))
}

/// Days since 1970 in the Gregorian calendar, from years that begin in March (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_three_forms() {
        let common = r#"1.2.3.4 - - [25/Nov/2026:08:00:01 +0100] "GET /a\x22b HTTP/1.1" 200 12"#;
        let combined =
            r#"::1 - a b [29/Feb/2024:23:59:60 -0030] "POST /x?y=\"z\" HTTP/1.0" 503 - "-" "curl \"x\"""#;
        let json = r#"{"time":1795593601.250,"app":"shop","client":"::1","method":"GET","target":"/a\"b","referer":"","user_agent":"x","request_id":"r1","version":"1.1","status":200,"bytes":1,"worker":2,"total_ms":250.000,"queue_ms":1.0}"#;
        let logged = |text: &str| parse(text.as_bytes()).unwrap();
        let expected = Logged {
            // date -u -d '2026-11-25 07:00:01' +%s
            time: 1_795_590_001.0,
            coarse: true,
            method: "GET".into(),
            target: "/a\"b".into(),
            status: 200,
        };
        assert_eq!(logged(common), expected);
        // date -u -d '2024-03-01 00:30:00' +%s
        let second = logged(combined);
        assert_eq!(
            (second.time, second.target.as_str(), second.status),
            (1_709_253_000.0, "/x?y=\"z\"", 503)
        );
        let third = logged(json);
        assert_eq!((third.time, third.coarse, third.target.as_str()), (1_795_593_601.0, false, "/a\"b"));
    }

    #[test]
    fn leaves_out_what_is_no_request() {
        let log = "garbage\n\n1.2.3.4 - - [25/Nov/2026:08:00:01 +0000] \"-\" 408 -\n\
                   1.2.3.4 - - [25/Nov/2026:08:00:03 +0000] \"GET /b HTTP/1.1\" 200 -\n\
                   1.2.3.4 - - [25/Nov/2026:08:00:01 +0000] \"GET /a HTTP/1.1\" 200 -\n\
                   1.2.3.4 - - [25/Foo/2026:08:00:01 +0000] \"GET / HTTP/1.1\" 200 -\n{}\n";
        let traffic = Traffic::read(log.as_bytes(), 1).unwrap();
        let targets: Vec<&str> = traffic.requests.iter().map(|logged| logged.target.as_str()).collect();
        assert_eq!((targets, traffic.unreadable), (vec!["/a", "/b"], 4));
        let offsets = traffic.offsets(2.0);
        assert_eq!(offsets[0], Duration::ZERO);
        // Between 1 and 3 seconds apart, at twice the speed.
        assert!((0.5..=1.5).contains(&offsets[1].as_secs_f64()), "{offsets:?}");
        assert_eq!(Traffic::read(log.as_bytes(), 1).unwrap(), traffic);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let log = [vec![b'x'; 3 * MAX_LINE], b"\nalso not\n".to_vec()].concat();
        assert_eq!(Traffic::read(log.as_slice(), 0).unwrap().unreadable, 2);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn near_lines_do_not_make_it_panic(
            parts in prop::collection::vec(prop::sample::select(vec![
                "1.2.3.4 - - [", "25/Nov/2026:08:00:01 +0000", "] \"", "GET /", "\\x2", "\\", "\u{e4}", "\" 200", "+", "{\"time\":", "1e999",
            ]), 0..10),
        ) {
            let _ = parse(parts.concat().as_bytes());
        }

        /// Whatever the target, escaped as the router escapes it, comes back.
        #[test]
        fn escapes_are_resolved(target in "/[ -~]{0,20}") {
            prop_assume!(!target.contains(' '));
            let escaped = target.replace('\\', "\\x5c").replace('"', "\\x22");
            let line = format!("c - - [25/Nov/2026:08:00:01 +0000] \"GET {escaped} HTTP/1.1\" 200 5");
            prop_assert_eq!(parse(line.as_bytes()).map(|logged| logged.target), Some(target));
        }
    }
}
