//! What it rests on: verdicts, plots, tables of figures.

use std::fmt::Write as _;

use crate::document::{Answer, Class, Document, Endpoint, Score, Verdict};
use crate::report::html::{Html, Table, paragraph};
use crate::report::{escape, format, plot};

pub(super) fn verdict(verdict: Verdict) -> Html {
    let (word, sign) = format::verdict(verdict);
    let class = match verdict {
        Verdict::Supported => "supported",
        Verdict::Contradicted => "contradicted",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Conditional => "conditional",
        Verdict::NotTestable => "not_testable",
        _ => "other",
    };
    Html(format!("<span class=\"v {class}\"><span aria-hidden=\"true\">{sign}</span> {word}</span>"))
}

pub(super) fn claims(document: &Document) -> String {
    let mut table = Table::cards(
        "What is commonly said, and what was found",
        &["", "claim", "verdict", "found", "expected", "flips when"],
    );
    for claim in &document.claims {
        table.row(vec![
            claim.id.as_str().into(),
            claim.title.as_str().into(),
            verdict(claim.verdict),
            claim.sentence.as_str().into(),
            claim.expectation.as_str().into(),
            claim.flips_when.as_deref().unwrap_or(format::UNKNOWN).into(),
        ]);
    }
    table.html()
}

pub(super) fn verdicts(document: &Document) -> String {
    let mut text = plot::forest(&document.verdicts);
    let mut table = Table::cards(
        "Every question with its figures; a verdict needs the effect to be material and its interval to exclude 1",
        &["question", "verdict", "#ratio", "#95 % interval", "#material", "#A/A", "#pairs", "#p"],
    );
    for answer in &document.verdicts {
        table.row(verdict_row(answer));
    }
    text.push_str(&table.html());
    text
}

fn verdict_row(answer: &Answer) -> Vec<Html> {
    let kind = if answer.primary { "" } else { ", exploratory" };
    let mut question = format!(
        "{} <span class=\"quiet\">[{}{kind}]</span>",
        escape::html(&answer.question),
        escape::html(&answer.id)
    );
    for line in [Some(&answer.metric), answer.because.as_ref(), answer.power.as_ref()].into_iter().flatten() {
        let _ = write!(question, "<br><span class=\"quiet\">{}</span>", escape::html(line));
    }
    vec![
        Html(question),
        verdict(answer.verdict),
        format::ratio(answer.ratio).into(),
        format::interval(&answer.ci).into(),
        format::ratio(answer.delta).into(),
        format::ratio(answer.delta_aa).into(),
        answer.pairs.to_string().into(),
        format::maybe(answer.p).into(),
    ]
}

pub(super) fn scorecard(document: &Document) -> String {
    let Some(card) = &document.scorecard else { return String::new() };
    let mut text = card.sentence.as_deref().map(paragraph).unwrap_or_default();
    text.push_str(&plot::scorecard(card));
    let names = card.options.iter().map(|option| option.name.clone());
    let titles: Vec<String> =
        ["dimension".to_owned(), "#weight".to_owned()].into_iter().chain(names).collect();
    let mut table = Table::cards("Scores, their intervals, and what they are made of", &titles);
    for (dimension, weight) in crate::document::Dimension::ALL.into_iter().zip(card.weights.values()) {
        let mut row = vec![dimension.title().into(), format::figure(weight).into()];
        for option in &card.options {
            let score = option.scores.iter().find(|score| score.dimension == dimension);
            row.push(score.map_or(format::UNKNOWN.into(), made_of));
        }
        table.row(row);
    }
    text.push_str(&table.html());
    let totals: Vec<String> = card
        .options
        .iter()
        .map(|option| {
            let dominated = option
                .dominated_by
                .as_ref()
                .map(|by| format!(", worse than {by} on every dimension"))
                .unwrap_or_default();
            format!("{} {}{dominated}", option.name, format::maybe(option.total))
        })
        .collect();
    text.push_str(&paragraph(&format!("Weighted mean: {}.", totals.join("; "))));
    text
}

/// A score with its interval, and below it what it is made of.
fn made_of(score: &Score) -> Html {
    let interval = match score.ci {
        [None, None] => String::new(),
        ci => format!(" <span class=\"quiet\">{}</span>", format::interval(&ci)),
    };
    let mut text = format!("<b>{}</b>{interval}<br>{}", format::maybe(score.score), escape::html(&score.raw));
    if score.rule_based {
        text.push_str(" <span class=\"quiet\">(counted by rules, not measured)</span>");
    }
    for detail in &score.details {
        let _ = write!(text, "<br><span class=\"quiet\">{}</span>", escape::html(detail));
    }
    Html(text)
}

pub(super) fn latency(document: &Document) -> String {
    let mut text = plot::latency(document);
    if text.is_empty() {
        return text;
    }
    let mut table = Table::new(
        "Latency by block, ms",
        &["block", "arm", "phase", "#from s", "#p50", "#p95", "#p99", "#failed"],
    );
    for block in document.blocks.iter().filter(|block| !block.latency_ms.is_empty()) {
        let quantile = |name: &str| Html::from(format::latency(block.latency_ms.get(name)));
        table.row(vec![
            block.index.to_string().into(),
            block.arm.as_str().into(),
            block.phase.as_deref().unwrap_or(format::UNKNOWN).into(),
            format::figure(block.at_seconds).into(),
            quantile("p50"),
            quantile("p95"),
            quantile("p99"),
            block.failed.to_string().into(),
        ]);
    }
    text.push_str(&table.folded("Latency by block as a table"));
    text
}

pub(super) fn distribution(document: &Document) -> String {
    let mut text = String::new();
    for (number, shift) in document.shifts.iter().enumerate() {
        let caption = format!("Quantiles of {} and {}, ms", shift.a, shift.b);
        let (a, b) = (format!("#{}", shift.a), format!("#{}", shift.b));
        let titles = ["quantile", a.as_str(), b.as_str(), "#difference", "#95 % band", "#ratio"];
        let mut table = Table::new(&caption, &titles);
        for point in &shift.points {
            table.row(vec![
                format::quantile(point.q).into(),
                format::latency(point.a_ms.as_ref()).into(),
                format::latency(point.b_ms.as_ref()).into(),
                format::maybe(point.difference_ms).into(),
                format::interval(&point.difference_ci).into(),
                format::ratio(point.ratio).into(),
            ]);
        }
        if table.is_empty() {
            continue;
        }
        let question =
            document.answer(&shift.question).map_or(shift.question.as_str(), |answer| &answer.question);
        let heading = escape::html(question);
        let _ = write!(
            text,
            "<h3>{heading}</h3>\n<div class=\"pair\">{}{}</div>\n",
            plot::shift(shift, number),
            table.html()
        );
    }
    text
}

pub(super) fn causes(document: &Document) -> String {
    let mut text = String::new();
    for decomposition in &document.decompositions {
        if let Some(sentence) = &decomposition.sentence {
            text.push_str(&paragraph(sentence));
        }
        let caption = format!(
            "{}, {}: {} ms more",
            decomposition.arm,
            decomposition.between,
            format::maybe(decomposition.added_ms)
        );
        let mut table = Table::new(&caption, &["cause", "#ms per request", "#share"]);
        for part in &decomposition.parts {
            let share = part.milliseconds.zip(decomposition.added_ms).filter(|(_, all)| *all > 0.0);
            table.row(vec![
                part.cause.as_str().into(),
                format::maybe(part.milliseconds).into(),
                share_bar(share.map(|(part, all)| part / all)),
            ]);
        }
        if !table.is_empty() {
            text.push_str(&table.html());
        }
    }
    text
}

/// A share as figure and bar.
fn share_bar(share: Option<f64>) -> Html {
    let length = share.filter(|share| share.is_finite()).unwrap_or(0.0).clamp(0.0, 1.0) * 120.0;
    let bar = format!(
        "<svg class=\"bar\" width=\"120\" height=\"10\" aria-hidden=\"true\"><rect class=\"key s0\" width=\"{length:.0}\" height=\"10\"/></svg>"
    );
    Html(format!("{} {bar}", format::percent(share)))
}

pub(super) fn endpoints(document: &Document) -> String {
    let mut table = Table::new(
        "What each route spends its time with, means in ms per request",
        &[
            "route",
            "is",
            "#requests",
            "#failed",
            "#p50",
            "#p95",
            "#cpu",
            "#waiting",
            "#run queue",
            "#lock",
            "#storage",
            "#queue",
        ],
    );
    for endpoint in &document.endpoints {
        table.row(endpoint_row(endpoint));
    }
    table.html()
}

pub(in crate::report) fn class(class: Class) -> &'static str {
    match class {
        Class::Cpu => "processor",
        Class::Wait => "waiting",
        Class::Storage => "storage",
        Class::Mixed => "mixed",
        Class::Unknown => "unknown",
    }
}

fn endpoint_row(endpoint: &Endpoint) -> Vec<Html> {
    let route = format!(
        "<span class=\"mono\">{} {}</span>",
        escape::html(&endpoint.method),
        escape::html(&endpoint.route)
    );
    let figures = [
        endpoint.latency_ms.p50,
        endpoint.latency_ms.p95,
        endpoint.cpu_ms,
        endpoint.wait_ms,
        endpoint.run_queue_ms,
        endpoint.gil_ms,
        endpoint.storage_ms,
        endpoint.queue_ms,
    ];
    let mut row: Vec<Html> = vec![
        Html(route),
        class(endpoint.classification).into(),
        format::count(endpoint.requests).into(),
        format::count(endpoint.failed).into(),
    ];
    row.extend(figures.map(|figure| Html::from(format::maybe(figure))));
    row
}

pub(super) fn scaling(document: &Document) -> String {
    if document.ladders.is_empty() {
        return String::new();
    }
    let mut rungs = Table::new(
        "Rungs of the ladder",
        &["arm", "#at a time", "#answers/s", "#p50 ms", "#p95 ms", "#failed", "valid"],
    );
    let mut laws = String::new();
    for ladder in &document.ladders {
        for rung in &ladder.rungs {
            let why = rung.invalid_because.as_deref().unwrap_or("no");
            rungs.row(vec![
                ladder.arm.as_str().into(),
                rung.concurrency.to_string().into(),
                format::maybe(rung.throughput).into(),
                format::maybe(rung.p50_ms).into(),
                format::maybe(rung.p95_ms).into(),
                rung.failed.to_string().into(),
                if rung.valid { "yes" } else { why }.into(),
            ]);
        }
        let law = match (&ladder.fit, &ladder.no_fit_because) {
            (Some(fit), _) => {
                let best = match fit.best_concurrency.filter(|_| fit.retrograde) {
                    Some(best) => {
                        format!("beyond {} requests at a time more load gives less", format::figure(best))
                    }
                    None => "no concurrency is known beyond which more load gives less".to_owned(),
                };
                format!(
                    "{}: one request at a time gives {} answers per second, {} of the work is serial, {best} (R² {}).",
                    ladder.arm,
                    format::figure(fit.gamma),
                    format::percent(Some(fit.sigma)),
                    fit.r_squared.map_or(format::UNKNOWN.to_owned(), |value| format!("{value:.3}"))
                )
            }
            (None, Some(why)) => format!("{}: no law was fitted: {why}.", ladder.arm),
            (None, None) => continue,
        };
        laws.push_str(&paragraph(&law));
    }
    let plot = plot::ladders(&document.ladders);
    // Beside the plot its last column, which says why a rung does not count, would be cut off.
    format!("{laws}{plot}{}", rungs.folded("Rungs of the ladder as a table"))
}

pub(super) fn memory(document: &Document) -> String {
    let mut text = String::new();
    let mut table = Table::cards("Slopes", &["arm", "against", "#for each", "#interval", "it"]);
    let mut plots = String::new();
    for (number, growth) in document.memory.iter().enumerate() {
        if let Some(sentence) = &growth.sentence {
            text.push_str(&paragraph(sentence));
        }
        let ci = match growth.slope_ci {
            [None, None] => "no interval".to_owned(),
            [low, high] => format!("{} to {}", format::bytes(low), format::bytes(high)),
        };
        table.row(vec![
            growth.arm.as_str().into(),
            growth.against.as_str().into(),
            format::bytes(growth.slope).into(),
            ci.into(),
            format::growth(growth.growth).into(),
        ]);
        plots.push_str(&plot::memory(growth, number));
    }
    if table.is_empty() {
        return text;
    }
    format!("{text}<div class=\"pair\">{plots}</div>\n{}", table.html())
}

pub(super) fn cold_start(document: &Document) -> String {
    let Some(start) = &document.cold_start else { return String::new() };
    let mut table = Table::new("From nothing to a good answer, ms", &["until", "#ms"]);
    for (name, value) in [
        ("ready for requests", start.ready_ms),
        ("first answer", start.first_answer_ms),
        ("as fast as it stays", start.steady_ms),
        ("ready, forked from a process that has imported it", start.forked_ms),
    ] {
        table.row(vec![name.into(), format::maybe(value).into()]);
    }
    let mut imports = Table::new("Slowest imports, with what they import", &["module", "#ms"]);
    for import in &start.imports {
        let module = format!("<span class=\"mono\">{}</span>", escape::html(&import.module));
        imports.row(vec![Html(module), format::figure(import.milliseconds).into()]);
    }
    let imports = imports.html();
    format!("<div class=\"pair\">{}{imports}</div>\n", table.html())
}
