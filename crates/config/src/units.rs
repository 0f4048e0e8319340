//! Durations, sizes and rates as people write them, and back. Exact: no rounding in either direction.
//!
//! A number with a unit in one string, as in "1.5s" or "256MiB". Whoever reads the file knows where a text stands; here are
//! only texts.

use std::time::Duration;

use crate::plan::Rate;

/// Unit, and how many of the smallest unit it has.
type Unit = (&'static str, u64);

/// In milliseconds.
const TIME: &[Unit] = &[("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// In bytes. Longest first where one ends in another; binary before decimal, since printing takes the first that divides.
const SIZE: &[Unit] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// In bits per second; eight of them make the byte per second that is counted in.
const BITS: &[Unit] = &[("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)];

/// What somebody means who leaves out the "/s".
const PER_SECOND: [&str; 10] =
    ["TiB/s", "GiB/s", "MiB/s", "KiB/s", "TB/s", "GB/s", "MB/s", "kB/s", "B/s", "ops/s"];

/// Largest number that is accepted, in smallest units: beyond it other programs and formats lose precision.
const LARGEST: u64 = 1 << 53;

/// What is accepted, for messages.
pub(crate) const DURATION: &str = "a number with ms, s, m or h";
pub(crate) const BYTES: &str = "a number with B, KiB, MiB, GiB or TiB";
pub(crate) const RATE: &str = "a size per second such as \"20MiB/s\", or operations such as \"500ops/s\"";
pub(crate) const BANDWIDTH: &str = "a size or bits per second, such as \"10MiB/s\" or \"100Mbit/s\"";

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It does not begin with a number.
    NoNumber,
    /// A number with no unit behind it.
    NoUnit,
    /// The unit is not one of ours; perhaps this one was meant.
    Unit { found: String, meant: Option<&'static str> },
    /// Finer than the smallest unit, or beyond [`LARGEST`].
    Inexact,
}

/// "30s", "500ms", "2m", "1.5h". A bare "0" needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, Problem> {
    quantity(text, TIME).map(Duration::from_millis)
}

/// "64KiB", "16MiB", "10MB", in bytes. A bare "0" needs no unit.
pub(crate) fn size(text: &str) -> Result<u64, Problem> {
    quantity(text, SIZE)
}

/// "20MiB/s" or "500ops/s".
pub(crate) fn rate(text: &str) -> Result<Rate, Problem> {
    match text.strip_suffix("/s").map(str::trim_end) {
        Some(text) if text.ends_with("ops") => quantity(text, &[("ops", 1)]).map(Rate::Operations),
        Some(text) => size(text).map(Rate::Bytes),
        None => without_second(text),
    }
}

/// "10MiB/s" or "100Mbit/s", in bytes per second.
pub(crate) fn bandwidth(text: &str) -> Result<u64, Problem> {
    if text.ends_with("bit/s") {
        let bits = quantity(text, BITS)?;
        return if bits.is_multiple_of(8) { Ok(bits / 8) } else { Err(Problem::Inexact) };
    }
    match text.strip_suffix("/s") {
        Some(text) => size(text.trim_end()),
        None => without_second(text),
    }
}

/// A rate that lacks its "/s", or is no rate at all.
fn without_second<T>(text: &str) -> Result<T, Problem> {
    let (_, unit) = split(text)?;
    match unit {
        "" => Err(Problem::NoUnit),
        _ => {
            let meant = PER_SECOND.iter().find(|rate| rate.strip_suffix("/s") == Some(unit)).copied();
            Err(Problem::Unit { found: unit.to_owned(), meant })
        }
    }
}

pub(crate) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), TIME)
}

pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, SIZE)
}

pub(crate) fn show_bandwidth(bytes: u64) -> String {
    format!("{}/s", show_size(bytes))
}

pub(crate) fn show_rate(rate: Rate) -> String {
    match rate {
        Rate::Bytes(bytes) => show_bandwidth(bytes),
        Rate::Operations(operations) => format!("{operations}ops/s"),
    }
}

/// In the largest unit that divides it.
fn show(value: u64, units: &[Unit]) -> String {
    let fits = |(_, factor): &&Unit| value >= *factor && value.is_multiple_of(*factor);
    match units.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => "0".to_owned(),
    }
}

fn quantity(text: &str, units: &[Unit]) -> Result<u64, Problem> {
    let (number, unit) = split(text)?;
    let factor = match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() && number.bytes().all(|byte| byte == b'0' || byte == b'.') => 1,
        None if unit.is_empty() => return Err(Problem::NoUnit),
        None => return Err(Problem::Unit { found: unit.to_owned(), meant: meant(unit, units) }),
    };
    decimal(number, factor).ok_or(Problem::Inexact)
}

/// The number and the unit of a text.
fn split(text: &str) -> Result<(&str, &str), Problem> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let dots = number.bytes().filter(|byte| *byte == b'.').count();
    if dots > 1 || !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
        return Err(Problem::NoNumber);
    }
    Ok((number, unit))
}

/// A unit of ours that somebody wrote in another habit: "sec", "mib", "M".
fn meant(unit: &str, units: &[Unit]) -> Option<&'static str> {
    let lower = unit.to_ascii_lowercase();
    let habits: &[(&str, &'static str)] = &[
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hr", "h"),
        ("hour", "h"),
        ("hours", "h"),
        ("msec", "ms"),
        ("millis", "ms"),
        ("k", "KiB"),
        ("m", "MiB"),
        ("g", "GiB"),
        ("t", "TiB"),
        ("ki", "KiB"),
        ("mi", "MiB"),
        ("gi", "GiB"),
        ("ti", "TiB"),
        ("byte", "B"),
        ("bytes", "B"),
        ("io", "ops"),
        ("iops", "ops"),
    ];
    let same = units.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(unit));
    same.or_else(|| {
        let habit = |(_, ours): &&(&str, &'static str)| units.iter().any(|(name, _)| name == ours);
        habits.iter().filter(|(theirs, _)| *theirs == lower).find(habit).map(|(_, ours)| *ours)
    })
}

/// `number` times `factor` if that is a whole number.
fn decimal(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    // More digits than this cannot come out whole with any unit.
    if fraction.len() > 15 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole: u64 = whole.parse().ok()?;
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let total = (u128::from(whole) * scale + fraction).checked_mul(u128::from(factor))?;
    let value = u64::try_from(total / scale).ok()?;
    (total.is_multiple_of(scale) && value <= LARGEST).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_durations() {
        let cases =
            [("30s", 30_000), ("1.5s", 1_500), ("250ms", 250), ("2 m", 120_000), ("0", 0), ("0.0", 0)];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("30"), Err(Problem::NoUnit));
        assert_eq!(duration("0.1ms"), Err(Problem::Inexact));
        assert_eq!(duration("99999999999999999999h"), Err(Problem::Inexact));
        for bad in ["", "s", "-1s", "1.s", ".5s", "1..5s", "five"] {
            assert_eq!(duration(bad), Err(Problem::NoNumber), "{bad}");
        }
    }

    #[test]
    fn knows_which_unit_was_meant() {
        for (text, meant) in
            [("5 sec", Some("s")), ("5 Min", Some("m")), ("5S", Some("s")), ("5 years", None)]
        {
            let found = text[1..].trim().to_owned();
            assert_eq!(duration(text), Err(Problem::Unit { found, meant }), "{text}");
        }
        for (text, meant) in [("5mib", "MiB"), ("5M", "MiB"), ("5gb", "GB"), ("5K", "KiB")] {
            let found = text[1..].to_owned();
            assert_eq!(size(text), Err(Problem::Unit { found, meant: Some(meant) }), "{text}");
        }
    }

    #[test]
    fn reads_sizes_and_rates() {
        let cases =
            [("0", 0), ("512B", 512), ("64KiB", 65_536), ("1.5MiB", 1_572_864), ("10 MB", 10_000_000)];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!(rate("20MiB/s"), Ok(Rate::Bytes(20 << 20)));
        assert_eq!(rate("500ops/s"), Ok(Rate::Operations(500)));
        assert_eq!(rate("20MiB"), Err(Problem::Unit { found: "MiB".to_owned(), meant: Some("MiB/s") }));
        assert_eq!(bandwidth("100Mbit/s"), Ok(12_500_000));
        assert_eq!(bandwidth("1MiB/s"), Ok(1 << 20));
        assert_eq!(bandwidth("10"), Err(Problem::NoUnit));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_the_same(value in 0..=LARGEST, shift in 0..50_u32) {
            let value = value >> shift;
            let time = Duration::from_millis(value);
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
            prop_assert_eq!(size(&show_size(value)), Ok(value));
            prop_assert_eq!(bandwidth(&show_bandwidth(value)), Ok(value));
            for either in [Rate::Bytes(value), Rate::Operations(value)] {
                prop_assert_eq!(rate(&show_rate(either)), Ok(either));
            }
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = (duration(&text), size(&text), rate(&text), bandwidth(&text));
        }
    }
}
