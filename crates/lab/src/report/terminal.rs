//! Tables for terminals. Colours only if they are asked for; the caller knows whether there is a terminal and `NO_COLOR`.

use std::fmt::Write as _;

use super::page::head_sentence;
use super::{escape, format};
use crate::document::{Answer, Document, Verdict};

/// How the output may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    pub colour: bool,
}

/// A cell; coloured ones are as wide as others.
struct Cell {
    text: String,
    /// SGR parameter (ECMA-48).
    colour: Option<&'static str>,
    right: bool,
}

fn left(text: impl AsRef<str>) -> Cell {
    Cell { text: escape::terminal(text.as_ref()), colour: None, right: false }
}

fn right(text: impl AsRef<str>) -> Cell {
    Cell { right: true, ..left(text) }
}

fn verdict(verdict: Verdict) -> Cell {
    let colour = match verdict {
        Verdict::Supported => Some("32"),
        Verdict::Contradicted => Some("31"),
        Verdict::Inconclusive | Verdict::NotTestable | Verdict::Conditional => Some("33"),
        _ => None,
    };
    Cell { colour, ..left(format::verdict(verdict).0) }
}

/// The result for people at a terminal: the sentence, verdicts, five dimensions, what would change it.
#[must_use]
pub fn tables(document: &Document, style: Style) -> String {
    let mut text = String::new();
    if document.simulated {
        text.push_str(
            "SIMULATED: these figures come from a generator of random numbers, not from a machine\n",
        );
    }
    if let Some(why) = &document.interrupted {
        let _ = writeln!(text, "INTERRUPTED, partial results: {}", escape::terminal(why));
    }
    let (on, off) = if style.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(text, "{on}{}{off}", escape::terminal(&head_sentence(document)));
    if let Some(recommendation) = &document.recommendation {
        for reason in &recommendation.reasons {
            let _ = writeln!(text, "- {}", escape::terminal(&reason.text));
        }
        let _ = writeln!(
            text,
            "confidence: {}{}",
            format::confidence(recommendation.confidence),
            Some(&recommendation.confidence_because)
                .filter(|text| !text.is_empty())
                .map(|text| format!(", {}", escape::terminal(text)))
                .unwrap_or_default()
        );
    }
    let all = [
        claims(document),
        verdicts(document),
        endpoints(document),
        limits(document),
        scorecard(document),
        changes(document),
        invalid(document),
    ];
    for (titles, rows) in all.into_iter().flatten() {
        text.push('\n');
        text.push_str(&layout(titles, rows, style));
    }
    let sentences = document.limits.iter().flat_map(|limits| &limits.sentences);
    for (index, sentence) in sentences.enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}- {}", escape::terminal(sentence));
    }
    text
}

type Rows = Option<(Vec<Cell>, Vec<Vec<Cell>>)>;

fn rows(titles: Vec<Cell>, rows: Vec<Vec<Cell>>) -> Rows {
    (!rows.is_empty()).then_some((titles, rows))
}

fn claims(document: &Document) -> Rows {
    let row =
        |claim: &crate::document::Claim| vec![left(&claim.id), verdict(claim.verdict), left(&claim.title)];
    rows(
        vec![left("CLAIM"), left("VERDICT"), left("WHAT IS SAID")],
        document.claims.iter().map(row).collect(),
    )
}

fn verdicts(document: &Document) -> Rows {
    let row = |answer: &Answer| {
        vec![
            left(&answer.id),
            verdict(answer.verdict),
            right(format::ratio(answer.ratio)),
            right(format::interval(&answer.ci)),
            right(answer.pairs.to_string()),
            left(&answer.question),
        ]
    };
    let titles =
        vec![left("ID"), left("VERDICT"), right("RATIO"), right("95 %"), right("PAIRS"), left("QUESTION")];
    rows(titles, document.verdicts.iter().map(row).collect())
}

fn endpoints(document: &Document) -> Rows {
    let row = |endpoint: &crate::document::Endpoint| {
        vec![
            left(format!("{} {}", endpoint.method, endpoint.route)),
            left(super::page::class_name(endpoint.classification)),
            right(format::maybe(endpoint.latency_ms.p50)),
            right(format::maybe(endpoint.latency_ms.p95)),
            right(format::maybe(endpoint.cpu_ms)),
            right(format::maybe(endpoint.wait_ms)),
        ]
    };
    let titles =
        vec![left("ROUTE"), left("IS"), right("P50 MS"), right("P95 MS"), right("CPU MS"), right("WAIT MS")];
    rows(titles, document.endpoints.iter().map(row).collect())
}

fn limits(document: &Document) -> Rows {
    let row = |trial: &crate::document::LimitTrial| {
        vec![
            left(&trial.name),
            right(trial.workers.to_string()),
            right(format::maybe(trial.p50_ms)),
            right(format::maybe(trial.p95_ms)),
            right(format::percent(trial.throttled)),
            right(format::bytes(trial.used_bytes.map(|bytes| bytes as f64))),
            left(trial.refused.as_deref().unwrap_or_default()),
        ]
    };
    let titles = vec![
        left("WITH"),
        right("WORKERS"),
        right("P50 MS"),
        right("P95 MS"),
        right("THROTTLED"),
        right("HOLDS"),
        left(""),
    ];
    rows(titles, document.limits.iter().flat_map(|limits| &limits.trials).map(row).collect())
}

fn scorecard(document: &Document) -> Rows {
    let card = document.scorecard.as_ref()?;
    let titles =
        std::iter::once(left("DIMENSION")).chain(card.options.iter().map(|option| right(&option.name)));
    let of = |dimension| {
        let score = move |option: &crate::document::ScoredOption| {
            option.scores.iter().find(|score| score.dimension == dimension).and_then(|score| score.score)
        };
        card.options.iter().map(move |option| right(format::maybe(score(option))))
    };
    let mut lines: Vec<Vec<Cell>> = crate::document::Dimension::ALL
        .into_iter()
        .map(|dimension| std::iter::once(left(dimension.title())).chain(of(dimension)).collect())
        .collect();
    let totals = card.options.iter().map(|option| right(format::maybe(option.total)));
    lines.push(std::iter::once(left("weighted mean")).chain(totals).collect());
    rows(titles.collect(), lines)
}

fn changes(document: &Document) -> Rows {
    let row = |change: &crate::document::Change| {
        vec![
            left(&change.text),
            right(super::page::with_unit(change.current, &change.unit)),
            right(super::page::with_unit(change.threshold, &change.unit)),
            left(&change.then),
        ]
    };
    let changes = document.recommendation.iter().flat_map(|recommendation| &recommendation.would_change_if);
    rows(
        vec![left("IT CHANGES IF"), right("NOW"), right("THRESHOLD"), left("THEN")],
        changes.map(row).collect(),
    )
}

fn invalid(document: &Document) -> Rows {
    let blocks = document.blocks.iter().filter(|block| !block.valid);
    let row = |block: &crate::document::Block| {
        vec![right(block.index.to_string()), left(&block.arm), left(block.invalid_because.join("; "))]
    };
    rows(vec![right("BLOCK"), left("ARM"), left("NOT COUNTED BECAUSE")], blocks.map(row).collect())
}

/// Columns as wide as their widest cell, two blanks apart.
fn layout(titles: Vec<Cell>, mut rows: Vec<Vec<Cell>>, style: Style) -> String {
    rows.insert(0, titles);
    let columns = rows.iter().map(Vec::len).min().unwrap_or(0);
    let width = |column: usize| rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.text.chars().count());
            let shown = match cell.colour.filter(|_| style.colour) {
                Some(colour) => format!("\x1b[{colour}m{}\x1b[0m", cell.text),
                None => cell.text.clone(),
            };
            let gap = if i == 0 { "" } else { "  " };
            let _ = if cell.right {
                write!(line, "{gap}{padding}{shown}")
            } else {
                write!(line, "{gap}{shown}{padding}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
