//! What limits did, alone and together.

use crate::document::{Document, LimitTrial};
use crate::report::format;
use crate::report::html::{Html, Table, paragraph};

pub(super) fn limits(document: &Document) -> String {
    let Some(limits) = &document.limits else { return String::new() };
    let mut text: String =
        limits.sentences.iter().map(|sentence| paragraph(&sentence_of(sentence))).collect();
    let caption =
        format!("At {} requests per second; medians of the rounds that count", format::figure(limits.rate));
    let mut table = Table::cards(
        &caption,
        &[
            "with",
            "#cores",
            "#memory",
            "#workers",
            "#rounds",
            "#p50 ms",
            "#p95 ms",
            "#throttled",
            "#holds",
            "#failed",
        ],
    );
    for trial in &limits.trials {
        table.row(row(trial));
    }
    text.push_str(&table.html());
    text
}

fn row(trial: &LimitTrial) -> Vec<Html> {
    let bytes = |bytes: Option<u64>| Html::from(format::bytes(bytes.map(|bytes| bytes as f64)));
    let name = match &trial.refused {
        Some(why) => format!("{}: could not be run: {why}", trial.name),
        None => trial.name.clone(),
    };
    vec![
        name.as_str().into(),
        trial.cpu_cores.map_or("no limit".to_owned(), format::figure).into(),
        if trial.memory_bytes.is_none() { "no limit".into() } else { bytes(trial.memory_bytes) },
        trial.workers.to_string().into(),
        trial.rounds.to_string().into(),
        format::maybe(trial.p50_ms).into(),
        format::maybe(trial.p95_ms).into(),
        format::percent(trial.throttled).into(),
        bytes(trial.used_bytes),
        format::count(trial.failed).into(),
    ]
}

/// As a sentence of its own.
fn sentence_of(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
