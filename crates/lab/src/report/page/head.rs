//! What is read first: the sentence, how sure it is, why, and what would change it.

use std::fmt::Write as _;

use crate::document::{Change, Document, Kind, Resource, Verdict};
use crate::report::html::{Html, Table, list, paragraph};
use crate::report::{escape, format};

pub(super) fn title(document: &Document) -> String {
    match document.kind {
        Kind::Claims => "What holds on this machine: claims about hosting".to_owned(),
        _ => format!("{}: how to host it", document.subject),
    }
}

/// The conclusion in a sentence or two.
pub(in crate::report) fn sentence(document: &Document) -> String {
    if let Some(recommendation) = &document.recommendation
        && !recommendation.sentence.is_empty()
    {
        return recommendation.sentence.clone();
    }
    let verdicts: Vec<Verdict> = if document.claims.is_empty() {
        document.verdicts.iter().map(|answer| answer.verdict).collect()
    } else {
        document.claims.iter().map(|claim| claim.verdict).collect()
    };
    if verdicts.is_empty() {
        return "Nothing was concluded".to_owned();
    }
    let kinds = [
        Verdict::Supported,
        Verdict::Conditional,
        Verdict::Contradicted,
        Verdict::NoMaterialEffect,
        Verdict::Inconclusive,
        Verdict::NotTestable,
        Verdict::Descriptive,
        Verdict::Unknown,
    ];
    let counts =
        kinds.into_iter().map(|kind| (kind, verdicts.iter().filter(|verdict| **verdict == kind).count()));
    let parts: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {}", format::verdict(kind).0))
        .collect();
    let what = if document.claims.is_empty() { "questions" } else { "claims" };
    format!("Of {} {what} on this machine: {}", verdicts.len(), parts.join(", "))
}

pub(super) fn head(document: &Document) -> String {
    let kind = match document.kind {
        Kind::Compare => "comparison",
        Kind::Claims => "claims",
        Kind::Unknown => "result",
    };
    let mut text = format!(
        "<p class=\"kicker\">Serpentry laboratory, {kind} of <b>{}</b></p>\n<h1>{}</h1>\n",
        escape::html(&document.subject),
        escape::html(&sentence(document))
    );
    if document.simulated {
        text.push_str("<p class=\"banner\"><b>Simulated.</b> These figures come from a generator of random numbers, not from a machine. They show what a report looks like and prove nothing.</p>\n");
    }
    if let Some(why) = &document.interrupted {
        let _ = writeln!(
            text,
            "<p class=\"banner\"><b>Interrupted, partial results.</b> {}</p>",
            escape::html(why)
        );
    }
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(recommendation) = &document.recommendation {
        facts.push(("confidence", format::confidence(recommendation.confidence).to_owned()));
    }
    let valid = document.blocks.iter().filter(|block| block.valid).count();
    if !document.blocks.is_empty() {
        facts.push(("valid blocks", format!("{valid} of {}", document.blocks.len())));
    }
    if let Some(cores) = document.machine.cores {
        facts.push(("cores", cores.to_string()));
    }
    if document.seconds.is_some() {
        facts.push(("measured for", format::duration(document.seconds)));
    }
    if !document.started.is_empty() {
        facts.push(("started", document.started.clone()));
    }
    text.push_str("<ul class=\"facts\">");
    for (name, value) in facts {
        let _ = write!(text, "<li>{name} <b>{}</b></li>", escape::html(&value));
    }
    text.push_str("</ul>\n");
    text
}

pub(super) fn why(document: &Document) -> String {
    let Some(recommendation) = &document.recommendation else { return String::new() };
    let mut text = String::new();
    if !recommendation.reasons.is_empty() {
        text.push_str("<ul>");
        for reason in &recommendation.reasons {
            let evidence = reason.evidence.iter().map(|id| escape::html(id)).collect::<Vec<_>>().join(", ");
            let evidence = if evidence.is_empty() {
                String::new()
            } else {
                format!(" <span class=\"quiet\">[<a href=\"#verdicts\">{evidence}</a>]</span>")
            };
            let _ = writeln!(text, "<li>{}{evidence}</li>", escape::html(&reason.text));
        }
        text.push_str("</ul>\n");
    }
    if !recommendation.confidence_because.is_empty() {
        let word = format::confidence(recommendation.confidence);
        text.push_str(&paragraph(&format!(
            "Confidence is {word}: {}.",
            recommendation.confidence_because.trim_end_matches('.')
        )));
    }
    if !recommendation.fix_first.is_empty() {
        text.push_str("<h3>Mend first</h3>\n");
        text.push_str(&list(&recommendation.fix_first));
    }
    let mut table = Table::cards("Each resource has its own answer", &["resource", "recommended", "because"]);
    for choice in &recommendation.resources {
        table.row(vec![
            resource(choice.resource).into(),
            choice.choice.as_str().into(),
            choice.because.as_str().into(),
        ]);
    }
    text.push_str(&table.html());
    text
}

pub(in crate::report) fn resource(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "processor",
        Resource::Memory => "memory",
        Resource::Storage => "storage",
        Resource::Network => "network",
        Resource::Unknown => "other",
    }
}

pub(super) fn changes(document: &Document) -> String {
    let changes = document.recommendation.iter().flat_map(|recommendation| &recommendation.would_change_if);
    let mut table = Table::cards(
        "The recommendation holds as long as none of these happens",
        &["if", "#now", "#threshold", "#away", "then"],
    );
    for change in changes {
        table.row(vec![
            change.text.as_str().into(),
            with_unit(change.current, &change.unit).into(),
            with_unit(change.threshold, &change.unit).into(),
            to_go(change).into(),
            change.then.as_str().into(),
        ]);
    }
    table.html()
}

pub(in crate::report) fn with_unit(value: Option<f64>, unit: &str) -> String {
    let unit = match unit {
        "cores" if value == Some(1.0) => "core",
        "slots" if value == Some(1.0) => "slot",
        unit => unit,
    };
    format!("{} {unit}", format::plain(value)).trim_end().to_owned()
}

/// By how much it has to change to get there.
pub(in crate::report) fn to_go(change: &Change) -> String {
    match change.distance() {
        Some(distance) if distance < 0.0 => format!("{} less", format::percent(Some(-distance))),
        Some(distance) => format!("{} more", format::percent(Some(distance))),
        None => format::UNKNOWN.to_owned(),
    }
}

pub(super) fn config(document: &Document) -> String {
    let Some(recommendation) = &document.recommendation else { return String::new() };
    if recommendation.config.is_empty() {
        return String::new();
    }
    let Html(subject) = document.subject.as_str().into();
    format!(
        "<p>The recommended part of <code>serpentry.toml</code>; <code>serpentry compare {subject} --apply</code> puts it in place.</p>\n<pre>{}</pre>\n",
        escape::html_lines(&recommendation.config)
    )
}
