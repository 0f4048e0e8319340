//! What `load` prints. Pure: from figures to text.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use lab::load::{Moment, Tally};
use lab::statistics::queueing;

use super::figures::{Figures, Quantile};

/// Rows of the histogram, and the longest bar.
const ROWS: usize = 14;
const BAR: f64 = 48.0;

pub(super) fn json(figures: &Figures) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(figures).context("cannot write the figures as JSON")?;
    text.push('\n');
    Ok(text)
}

/// One line, to be overwritten by the next.
pub(super) fn progress(elapsed: Duration, duration: Duration, moment: Moment) -> String {
    let Moment { planned, answered, failed, outstanding } = moment;
    let (elapsed, duration) = (elapsed.as_secs_f64(), duration.as_secs_f64());
    let whole = if duration < 86_400.0 { format!(" of {duration:.0}") } else { String::new() };
    let rate = answered as f64 / elapsed.max(0.001);
    format!(
        "{elapsed:.0}{whole} s  {} sent  {} answered ({rate:.0}/s)  {} failed  {outstanding} under way",
        grouped(planned),
        grouped(answered),
        grouped(failed)
    )
}

pub(super) fn text(figures: &Figures, tally: &Tally) -> String {
    let mut text = String::new();
    head(&mut text, figures);
    counts(&mut text, figures);
    quantiles(&mut text, figures);
    histogram(&mut text, tally);
    generator(&mut text, figures);
    text
}

fn head(text: &mut String, figures: &Figures) {
    let Figures { url, endpoint, schedule, seconds, seed, .. } = figures;
    let how = match (figures.rate, figures.connections) {
        (Some(rate), _) => {
            let pool = figures.pool.map_or(String::new(), |pool| format!(" over {pool} connections"));
            format!("{schedule}, {rate:.1} requests/s{pool}, seed {seed}")
        }
        (None, connections) => format!("{schedule}, {} at a time, seed {seed}", connections.unwrap_or(0)),
    };
    // A String as writer cannot fail; the same holds below.
    let _ = writeln!(text, "{url} ({endpoint})\n{how}, {seconds:.2} s\n");
}

fn counts(text: &mut String, figures: &Figures) {
    let Figures { planned, answered, goodput, failed, statuses, .. } = figures;
    let _ = writeln!(text, "planned   {:>12}", grouped(*planned));
    let _ = writeln!(text, "answered  {:>12}   {goodput:.1}/s", grouped(*answered));
    let total: u64 = failed.values().sum();
    let kinds: Vec<String> =
        failed.iter().map(|(kind, count)| format!("{} {kind}", grouped(*count))).collect();
    let _ = writeln!(text, "failed    {:>12}   {}", grouped(total), kinds.join(", "));
    let statuses: Vec<String> =
        statuses.iter().map(|(status, count)| format!("{status}: {}", grouped(*count))).collect();
    if !statuses.is_empty() {
        let _ = writeln!(text, "status    {}", statuses.join("  "));
    }
}

fn quantiles(text: &mut String, figures: &Figures) {
    let _ = writeln!(text, "\n          {:>16}   {:>16}", "from its time", "from sending");
    for (name, latency) in &figures.latency_ms {
        let service = figures.service_ms.get(name).map_or("-".to_owned(), shown);
        let _ = writeln!(text, "{name:<8}  {:>16}   {service:>16}", shown(latency));
    }
    if figures.latency_ms.is_empty() {
        let _ = writeln!(text, "too few requests for any quantile: 20 for the median");
    }
    if figures.connections.is_some() {
        let _ = writeln!(text, "a closed loop asks a slow server less: not the latency of real traffic");
    }
    if let Some(deviation) = figures.little_deviation.filter(|deviation| *deviation > queueing::TOLERANCE) {
        let _ = writeln!(
            text,
            "requests at a time, throughput and mean latency contradict each other by {:.0} % (Little's law): run longer",
            deviation * 100.0
        );
    }
}

fn shown(quantile: &Quantile) -> String {
    match quantile {
        Quantile::Milliseconds(milliseconds) => format!("{milliseconds:.3} ms"),
        Quantile::Failed => "failed".to_owned(),
    }
}

/// Latencies in classes that each are a fixed factor wide.
fn histogram(text: &mut String, tally: &Tally) {
    let latencies = tally.latencies();
    if latencies.is_empty() {
        return;
    }
    let (low, high) = ((latencies.min().max(1_000)) as f64, latencies.max() as f64 + 1.0);
    let rows = ROWS.min(((high / low).log2() * 2.0).ceil().max(1.0) as usize);
    let factor = (high / low).powf(1.0 / rows as f64);
    let mut counts = vec![0; rows];
    for value in latencies.iter_recorded() {
        let row = ((value.value_iterated_to() as f64 / low).ln() / factor.ln()).max(0.0) as usize;
        counts[row.min(rows - 1)] += value.count_since_last_iteration();
    }
    let most = counts.iter().copied().chain([tally.censored()]).max().unwrap_or(0).max(1) as f64;
    let bar = |count: u64| "#".repeat((count as f64 / most * BAR).ceil() as usize);
    text.push('\n');
    for (row, &count) in counts.iter().enumerate() {
        let until = low * factor.powi(i32::try_from(row).unwrap_or(0) + 1) / 1e6;
        let _ = writeln!(text, "< {until:>9.3} ms {:>10}  {}", grouped(count), bar(count));
    }
    if tally.censored() > 0 {
        let _ = writeln!(text, "failed         {:>10}  {}", grouped(tally.censored()), bar(tally.censored()));
    }
}

fn generator(text: &mut String, figures: &Figures) {
    let own = &figures.generator;
    let _ = writeln!(
        text,
        "\ngenerator: late by {:.3} ms (p50), {:.3} ms (p99), {:.3} ms (most); {:.0} % of a core, {:.1} us per request",
        own.lag_p50_ms,
        own.lag_p99_ms,
        own.lag_max_ms,
        own.cpu_share * 100.0,
        own.cpu_per_request_us
    );
    let _ = write!(
        text,
        "connections: {} opened, at most {} requests at a time",
        grouped(own.connections_opened),
        grouped(own.peak_outstanding as u64)
    );
    if own.resent > 0 {
        let _ =
            write!(text, ", {} sent again because the server had closed the connection", grouped(own.resent));
    }
    text.push('\n');
    if let Some(arrivals) = &figures.arrivals {
        let _ = write!(text, "arrivals: squared variation of gaps {:.2}", arrivals.gaps_cv2);
        if let Some(index) = arrivals.index_of_dispersion {
            let _ = write!(text, ", dispersion of counts per second {index:.2}");
        }
        text.push_str(" (independent clients: 1)\n");
    }
    if own.busy {
        text.push_str(
            "the generator itself used most of a core: on a small machine it competes with the server\n",
        );
    }
}

/// Thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn progress_fits_a_line() {
        let moment = Moment { planned: 1_200, answered: 1_190, failed: 3, outstanding: 7 };
        assert_eq!(
            progress(Duration::from_secs(4), Duration::from_secs(10), moment),
            "4 of 10 s  1,200 sent  1,190 answered (298/s)  3 failed  7 under way"
        );
    }
}
