//! Durations and sizes as people write them.

use std::time::Duration;

/// "30s", "500ms", "2m", "1h", or plain seconds.
///
/// # Errors
/// A sentence that says what is accepted.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a duration: use a number with ms, s, m or h, for example 30s");
    let (number, unit) = split(text).ok_or_else(error)?;
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| error())
}

/// "64KiB", "16MiB", "1GiB", "10MB", or plain bytes.
///
/// # Errors
/// A sentence that says what is accepted.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let error = || format!("{text:?} is not a size: use a number with B, KiB, MiB or GiB, for example 16MiB");
    let (number, unit) = split(text).ok_or_else(error)?;
    let factor = match unit {
        "" | "B" => 1.0,
        "KiB" | "K" => 1024.0,
        "MiB" | "M" => 1024.0 * 1024.0,
        "GiB" | "G" => 1024.0 * 1024.0 * 1024.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(error()),
    };
    let bytes = number * factor;
    // Within 2^53 a float holds every whole number of bytes.
    if bytes <= 9e15 { Ok(bytes as u64) } else { Err(error()) }
}

/// "2" or "0.5".
///
/// # Errors
/// A sentence that says what is accepted.
pub(crate) fn cores(text: &str) -> Result<f64, String> {
    let cores = text.parse().ok().filter(|cores| (0.01..=4096.0).contains(cores));
    cores.ok_or_else(|| format!("{text:?} is not a number of cores, for example 1 or 0.5"))
}

fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in
            [("30", 30_000), ("30s", 30_000), ("1.5s", 1_500), ("250ms", 250), ("2m", 120_000), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "-1", "5 years", "1e400", "999999999999999999999"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("64KiB", 65_536), ("1.5MiB", 1_572_864), ("10 MB", 10_000_000)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "-1", "5 apples", "99999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
