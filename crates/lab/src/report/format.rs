//! Figures for people: three digits say enough. Unknown is a dash.

use crate::document::{Bounds, Confidence, Growth, Latency, Verdict};

pub(super) const UNKNOWN: &str = "–";

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// Three digits: 1234, 123, 12.3, 1.23, 0.012.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => UNKNOWN.to_owned(),
        size if size >= 1e6 => format!("{value:.2e}"),
        size if size >= 99.95 => grouped(value),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.095 || size == 0.0 => format!("{value:.2}"),
        size if size >= 0.009_5 => format!("{value:.3}"),
        size if size >= 0.000_95 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn maybe(value: Option<f64>) -> String {
    or_unknown(value.map(figure))
}

/// Without zeros at the end, for sentences: 3, 0.5.
pub(super) fn plain(value: Option<f64>) -> String {
    let text = maybe(value);
    if !text.contains('.') || text.contains('e') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn count(value: u64) -> String {
    grouped(value as f64)
}

/// With its unit, for sentences and terminals.
pub(super) fn milliseconds(value: f64) -> String {
    if value.abs() >= 10_000.0 {
        format!("{} s", figure(value / 1e3))
    } else {
        format!("{} ms", figure(value))
    }
}

pub(super) fn latency(value: Option<&Latency>) -> String {
    match value {
        Some(Latency::Milliseconds(value)) => figure(*value),
        Some(Latency::Failed) => "failed".to_owned(),
        None => UNKNOWN.to_owned(),
    }
}

pub(super) fn percent(value: Option<f64>) -> String {
    or_unknown(value.map(|value| match value * 100.0 {
        small if small != 0.0 && small.abs() < 9.95 => format!("{small:.1} %"),
        large => format!("{large:.0} %"),
    }))
}

pub(super) fn ratio(value: Option<f64>) -> String {
    or_unknown(value.map(|value| format!("{}×", figure(value))))
}

/// `[1.20, 1.80]`; a side without a limit is a dash.
pub(super) fn interval(ci: &Bounds) -> String {
    match ci {
        [None, None] => "no interval".to_owned(),
        [low, high] => format!("[{}, {}]", maybe(*low), maybe(*high)),
    }
}

pub(super) fn bytes(value: Option<f64>) -> String {
    or_unknown(value.map(|value| {
        let size = value.abs();
        let (divisor, unit) = match size {
            size if size >= 1_073_741_824.0 => (1_073_741_824.0, "GiB"),
            size if size >= 1_048_576.0 => (1_048_576.0, "MiB"),
            size if size >= 1_024.0 => (1_024.0, "KiB"),
            _ => return format!("{value:.0} B"),
        };
        format!("{} {unit}", figure(value / divisor))
    }))
}

pub(super) fn duration(seconds: Option<f64>) -> String {
    or_unknown(seconds.map(|seconds| {
        if seconds >= 120.0 {
            format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
        } else {
            format!("{} s", plain(Some(seconds)))
        }
    }))
}

/// A verdict in words, and a sign that is not only a colour.
pub(super) fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Supported => ("supported", "+"),
        Verdict::Contradicted => ("contradicted", "−"),
        Verdict::NoMaterialEffect => ("no material effect", "="),
        Verdict::Inconclusive => ("inconclusive", "?"),
        Verdict::Conditional => ("conditional", "±"),
        Verdict::NotTestable => ("not testable here", "×"),
        Verdict::Descriptive => ("descriptive", "·"),
        Verdict::Unknown => ("unknown", "?"),
    }
}

pub(super) fn growth(growth: Growth) -> &'static str {
    match growth {
        Growth::Leak => "grows with every request: a leak",
        Growth::UnboundedCache => "grows with distinct inputs: a cache without a bound",
        Growth::Warming => "grows at first and then no more",
        Growth::Flat => "does not grow",
        Growth::PerConcurrentRequest => "what each concurrent request needs",
        Growth::Unknown => "unknown",
    }
}

pub(super) fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::High => "high",
        Confidence::Medium => "medium",
        Confidence::Low => "low",
        Confidence::Unknown => "unknown",
    }
}

/// "p95" of 0.95, "p99.9" of 0.999.
pub(super) fn quantile(q: f64) -> String {
    let text = format!("p{:.2}", q * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_unknown_is_a_dash() {
        let shown = [0.0, 0.012, 0.5, 1.234, 12.34, 123.4, 12_345.6, -1_234.0, f64::NAN].map(figure);
        assert_eq!(shown, ["0.00", "0.012", "0.50", "1.23", "12.3", "123", "12,346", "-1,234", "–"]);
        assert_eq!([3.0, 0.5, 80.0, 120.0].map(|value| plain(Some(value))), ["3", "0.5", "80", "120"]);
        assert_eq!([99.96, 9.996].map(figure), ["100", "10.0"]);
        assert_eq!((maybe(None), percent(None), bytes(None)), ("–".into(), "–".into(), "–".into()));
        assert_eq!(interval(&[Some(1.2), None]), "[1.20, –]");
        assert_eq!((bytes(Some(3.5e6)), bytes(Some(12.0))), ("3.34 MiB".into(), "12 B".into()));
        assert_eq!([0.5, 0.95, 0.999].map(quantile), ["p50", "p95", "p99.9"]);
        assert_eq!((percent(Some(0.012)), percent(Some(0.5))), ("1.2 %".into(), "50 %".into()));
        assert_eq!(duration(Some(312.0)), "5 min 12 s");
    }
}
