//! What `plan` prints. Pure: from the answer to text.

use std::fmt::Write as _;

use anyhow::Context as _;
use lab::plan::capacity::{Concurrency, Tenancy};
use lab::plan::formulas::Bound;
use lab::plan::what_if::RECOVERED;
use lab::simulate::Prediction;

use super::answer::{Answer, Priced};
use crate::commands::table::{Cell, Style, coloured, layout, left, printable, right, size};

pub(super) fn json(answer: &Answer) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(answer).context("cannot write the plan as JSON")?;
    text.push('\n');
    Ok(text)
}

pub(super) fn text(answer: &Answer, style: Style) -> String {
    let mut text = String::new();
    head(&mut text, answer);
    trust(&mut text, answer, style);
    proposals(&mut text, answer, style);
    chosen(&mut text, answer);
    overload(&mut text, answer);
    tenants(&mut text, answer);
    what_if(&mut text, answer, style);
    for assumed in &answer.assumed {
        let _ = writeln!(text, "assumed: {assumed}");
    }
    text
}

fn head(text: &mut String, answer: &Answer) {
    let Answer { app, source, goal, machine, request, .. } = answer;
    let _ = writeln!(
        text,
        "{}: {} requests/s, {:.0} % of them within {}, on {} cores and {}",
        printable(app),
        short(goal.rate),
        goal.quantile * 100.0,
        time(goal.seconds),
        machine.cores,
        size(machine.memory_bytes),
    );
    let _ = writeln!(
        text,
        "a request computes {} and waits {} (from {})\n",
        time(request.cpu_ms / 1e3),
        time(request.wait_ms / 1e3),
        printable(source),
    );
}

/// The prediction for the present beside the present.
fn trust(text: &mut String, answer: &Answer, style: Style) {
    let Some(trust) = &answer.trust else {
        let why = answer.why_not_compared.unwrap_or("there was nothing");
        let _ = writeln!(text, "not compared with a measurement: {why}\n");
        return;
    };
    let rows = [
        ("measured now", trust.measured.p50, trust.measured.p95, trust.measured.throughput),
        ("predicted for it", trust.predicted.p50, trust.predicted.p95, trust.predicted.throughput),
    ];
    let mut rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(what, p50, p95, rate)| {
            vec![left(what), right(time(p50)), right(time(p95)), right(format!("{}/s", short(rate)))]
        })
        .collect();
    let percent = |error: f64| right(format!("{:+.0} %", error * 100.0));
    rows.push(vec![
        left("apart"),
        percent(trust.errors.p50),
        percent(trust.errors.p95),
        percent(trust.errors.throughput),
    ]);
    let titles = vec![left("PRESENT"), right("P50"), right("P95"), right("THROUGHPUT")];
    text.push_str(&layout(titles, rows, style));
    let verdict = if trust.trusted {
        "trusted: the simulation says what is measured".to_owned()
    } else {
        format!("not trusted for this application: {}", trust.broken().join(", "))
    };
    let _ = writeln!(text, "{verdict}\n");
}

fn proposals(text: &mut String, answer: &Answer, style: Style) {
    let priced = answer.proposals.iter().any(|priced| priced.cost_per_hour.is_some());
    let mut titles: Vec<Cell> = ["TENANCY", "CONCURRENCY"].map(left).to_vec();
    titles.extend(["WORKERS", "THREADS", "CORES", "MEMORY"].map(right));
    if priced {
        titles.extend(["PER HOUR", "PER MILLION"].map(right));
    }
    titles.extend(["P50", "P95", "P99", "CORES USED", "SLOTS USED", "UP TO"].map(right));
    titles.push(left(""));
    let rows = answer
        .proposals
        .iter()
        .enumerate()
        .map(|(index, proposal)| row(proposal, priced, answer.best == Some(index), style));
    text.push_str(&layout(titles, rows.collect(), style));
    text.push('\n');
}

fn row(priced: &Priced, with_prices: bool, best: bool, _: Style) -> Vec<Cell> {
    let proposal = &priced.proposal;
    let configuration = &proposal.configuration;
    let threads = match configuration.concurrency {
        Concurrency::Sync => "1".into(),
        Concurrency::Threads => configuration.threads.to_string(),
        Concurrency::Async => "-".to_owned(),
    };
    let mut row = vec![
        left(tenancy(configuration.tenancy)),
        left(concurrency(configuration.concurrency)),
        right(configuration.workers.to_string()),
        right(threads),
        right(format!("{:.2}", proposal.paid_cores)),
        right(if proposal.paid_bytes == 0 { "-".to_owned() } else { size(proposal.paid_bytes) }),
    ];
    if with_prices {
        let cost = |cost: Option<f64>| right(cost.map_or("-".to_owned(), |cost| format!("{cost:.4}")));
        row.extend([cost(priced.cost_per_hour), cost(priced.cost_per_million)]);
    }
    row.extend(latencies(&proposal.prediction));
    row.extend([
        right(format!("{:.2}", proposal.prediction.cores)),
        right(format!("{:.0} %", proposal.prediction.slots * 100.0)),
        right(format!("{}/s", short(proposal.capacity))),
    ]);
    row.push(match (best, proposal.meets_goal) {
        (true, _) => coloured("<- cheapest", Some("32")),
        (false, true) => left(""),
        (false, false) => coloured("misses the goal", Some("33")),
    });
    row
}

fn latencies(prediction: &Prediction) -> [Cell; 3] {
    [prediction.p50, prediction.p95, prediction.p99].map(|estimate| right(time(estimate.value)))
}

fn chosen(text: &mut String, answer: &Answer) {
    let Some(best) = answer.best.map(|index| &answer.proposals[index].proposal) else { return };
    let configuration = &best.configuration;
    let _ = writeln!(text, "in serpentry.toml:\n  tenancy = \"{}\"", tenancy(configuration.tenancy));
    let _ = writeln!(text, "  concurrency = \"{}\"", concurrency(configuration.concurrency));
    let _ = writeln!(text, "  workers = {}", configuration.workers);
    if configuration.concurrency == Concurrency::Threads {
        let _ = writeln!(text, "  threads = {}", configuration.threads);
    }
    if configuration.tenancy == Tenancy::Isolated {
        let _ = writeln!(text, "  limits = {{ cpu = {} }}", best.paid_cores);
    }
    let bound = match best.bound {
        Bound::Slots => "workers and threads",
        Bound::Cores => "cores",
    };
    let _ = writeln!(
        text,
        "it bears {}/s within the goal; beyond {}/s its {bound} are all in use (by formula)\n",
        short(best.capacity),
        short(best.highest),
    );
}

fn overload(text: &mut String, answer: &Answer) {
    let Some(overload) = &answer.metastability else { return };
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let _ = writeln!(
        text,
        "overload: {} of what it could serve; from {} on, clients that give up and retry twice can keep an overload alive \
         ({})",
        percent(overload.load),
        percent(overload.boundary),
        if overload.distance > 0.0 {
            format!("{} away", percent(overload.distance))
        } else {
            format!("{} beyond", percent(-overload.distance))
        },
    );
    let recovered = |ratio: f64| if ratio >= RECOVERED { "has recovered" } else { "HAS NOT RECOVERED" };
    let _ = writeln!(
        text,
        "  10 s after a standstill of 1 s, served of what was served before: {} ({}); with a retry budget of 10 %: {}; with a \
         queue that sheds early: {}\n",
        percent(overload.goodput_after_stall),
        recovered(overload.goodput_after_stall),
        percent(overload.goodput_with_budget),
        percent(overload.goodput_with_codel),
    );
}

fn tenants(text: &mut String, answer: &Answer) {
    let tenants = &answer.tenants;
    let _ = writeln!(
        text,
        "applications like this one on this machine: {} shared (then {} are full), {} isolated (then {} are full)",
        tenants.shared, tenants.shared_full, tenants.isolated, tenants.isolated_full,
    );
    if let Some(cores) = tenants.neighbours_until_isolated_is_faster {
        let _ = writeln!(
            text,
            "  shared is faster on average until neighbours use {cores:.2} cores, then a core of its own is (by formula)"
        );
    }
    text.push('\n');
}

fn what_if(text: &mut String, answer: &Answer, style: Style) {
    if answer.what_if.is_empty() {
        return;
    }
    let mut titles = vec![left("WHAT IF")];
    titles.extend(["P50", "P95", "P99", "SERVED", "FAILED", "SLOTS USED"].map(right));
    titles.push(left(""));
    let rows = answer.what_if.iter().map(|row| {
        let prediction = &row.prediction;
        let mut cells = vec![left(row.what.clone())];
        cells.extend(latencies(prediction));
        cells.extend([
            right(format!("{}/s", short(prediction.throughput.value))),
            right(format!("{:.1} %", prediction.failed.value * 100.0)),
            right(format!("{:.0} %", prediction.slots * 100.0)),
            if row.meets_goal { left("") } else { coloured("misses the goal", Some("33")) },
        ]);
        cells
    });
    text.push_str(&layout(titles, rows.collect(), style));
    text.push('\n');
}

fn tenancy(tenancy: Tenancy) -> &'static str {
    match tenancy {
        Tenancy::Shared => "shared",
        Tenancy::Isolated => "isolated",
    }
}

fn concurrency(concurrency: Concurrency) -> &'static str {
    match concurrency {
        Concurrency::Sync => "sync",
        Concurrency::Threads => "threads",
        Concurrency::Async => "async",
    }
}

/// A quantile that falls among requests that failed has no time.
fn time(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if !ms.is_finite() => "failed".into(),
        ms if ms < 10.0 => format!("{ms:.1}ms"),
        ms if ms < 1_000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1e3),
    }
}

fn short(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let shown = [0.000_04, 0.0126, 1.26, f64::INFINITY].map(time);
        assert_eq!(shown, ["0.0ms", "13ms", "1.3s", "failed"]);
    }
}
