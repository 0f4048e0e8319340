//! Results of claims for people. Pure: from the document to text.

use std::fmt::Write as _;

use lab::claims::Claim;
use lab::document::{Answer, Document, Verdict};

/// Columns of a paragraph.
const WIDTH: usize = 100;

/// What can be tested.
pub(super) fn list(claims: &[&dyn Claim]) -> String {
    let mut text = String::new();
    for claim in claims {
        let _ = writeln!(text, "{:<4} {}", claim.id(), claim.title());
    }
    text + "\nserpentry claims C1 C2 tests these, serpentry claims --all tests all of them\n"
}

/// What came of it.
pub(super) fn text(document: &Document) -> String {
    let mut text = String::new();
    for claim in &document.claims {
        let _ = writeln!(text, "{}  {}  {}", claim.id, word(claim.verdict), claim.title);
        paragraph(&mut text, &claim.sentence);
        for id in &claim.answers {
            if let Some(answer) = document.answer(id) {
                paragraph(&mut text, &figures(answer));
            }
        }
        paragraph(&mut text, &format!("expected: {}", claim.expectation));
        if let Some(flips) = &claim.flips_when {
            paragraph(&mut text, &format!("changes: {flips}"));
        }
        for note in &claim.notes {
            paragraph(&mut text, note);
        }
        text.push('\n');
    }
    let lost = document.blocks.iter().filter(|block| !block.valid).count();
    let _ = writeln!(text, "{} blocks, {lost} of them do not count", document.blocks.len());
    for note in &document.notes {
        paragraph(&mut text, note);
    }
    text
}

fn figures(answer: &Answer) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.2}"));
    let [low, high] = answer.ci.map(number);
    let mut text = format!(
        "{}: {}, ratio {} ({low} to {high}) from {} pairs; material {}, noise {}",
        answer.metric,
        word(answer.verdict),
        number(answer.ratio),
        answer.pairs,
        number(answer.delta),
        number(answer.delta_aa)
    );
    if let Some(because) = &answer.because {
        let _ = write!(text, "; {because}");
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Supported => "SUPPORTED",
        Verdict::Contradicted => "CONTRADICTED",
        Verdict::NoMaterialEffect => "NO MATERIAL EFFECT",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Conditional => "CONDITIONAL",
        Verdict::NotTestable => "NOT TESTABLE HERE",
        Verdict::Descriptive => "DESCRIBED",
        Verdict::Unknown => "UNKNOWN",
    }
}

/// Indented, in lines of a readable length.
fn paragraph(text: &mut String, words: &str) {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() >= WIDTH {
            let _ = writeln!(text, "    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "    {line}");
}

#[cfg(test)]
mod tests {
    use lab::document;

    use super::*;

    #[test]
    fn a_claim_is_shown_with_its_figures_and_its_doubts() {
        let mut document = Document::default();
        document.verdicts.push(Answer {
            id: "C1-noisy".into(),
            metric: "p95 - p50".into(),
            ratio: Some(2.0),
            ci: [Some(1.5), None],
            pairs: 9,
            verdict: Verdict::Supported,
            ..Answer::default()
        });
        document.claims.push(document::Claim {
            id: "C1".into(),
            title: "shared varies more".into(),
            verdict: Verdict::Conditional,
            sentence: "it is so".into(),
            flips_when: Some("from 0.9 cores".into()),
            answers: vec!["C1-noisy".into()],
            ..document::Claim::default()
        });
        document.blocks.push(document::Block { invalid_because: vec!["steal".into()], ..Default::default() });
        let text = text(&document);
        assert!(text.starts_with("C1  CONDITIONAL  shared varies more\n    it is so\n"), "{text}");
        assert!(text.contains("SUPPORTED, ratio 2.00 (1.50 to ?) from 9 pairs"), "{text}");
        assert!(
            text.contains("changes: from 0.9 cores") && text.contains("1 blocks, 1 of them do not count"),
            "{text}"
        );
    }
}
