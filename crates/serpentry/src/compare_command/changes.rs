//! What is different from an earlier result: the recommendation, and verdicts.

use std::fmt::Write as _;

use lab::document::{Answer, Document, Recommendation};

use crate::commands::table::printable;

pub(super) fn text(before: &Document, after: &Document) -> String {
    let mut text = format!("\nagainst the result of {}:\n", printable(&before.started));
    let how = |document: &Document| document.recommendation.as_ref().map_or("nothing".to_owned(), describe);
    let (was, is) = (how(before), how(after));
    if was == is {
        let _ = writeln!(text, "- the recommendation is the same: {}", printable(&is));
    } else {
        let _ = writeln!(text, "- recommended was {}, now it is {}", printable(&was), printable(&is));
    }
    for answer in &after.verdicts {
        let Some(earlier) = before.answer(&answer.id) else { continue };
        let (was, is) = (verdict(earlier), verdict(answer));
        let same = if earlier.verdict == answer.verdict { "still" } else { "was" };
        let line = match same {
            "still" => format!("still {is} (before: {was})"),
            _ => format!("was {was}, now {is}"),
        };
        let _ = writeln!(text, "- {}: {line}", printable(&answer.question));
    }
    if before.plan_hash != after.plan_hash {
        text.push_str("- what was measured is not the same: other pages, rates or lengths\n");
    }
    text
}

fn describe(recommendation: &Recommendation) -> String {
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "unknown".to_owned());
    let threads = recommendation.threads.map_or(String::new(), |threads| format!(" of {threads} threads"));
    let workers = recommendation.workers.map_or("?".to_owned(), |workers| workers.to_string());
    format!(
        "{}, {}, {workers} workers{threads}",
        word(&recommendation.tenancy),
        word(&recommendation.concurrency)
    )
}

fn verdict(answer: &Answer) -> String {
    let word = serde_json::to_value(answer.verdict).ok();
    let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown").replace('_', " ");
    answer.ratio.map_or(word.clone(), |ratio| format!("{word}, ratio {ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use lab::document::{Kind, Verdict};

    use super::*;

    fn document(tenancy: &str, verdict: Verdict, ratio: f64) -> Document {
        let mut document = Document::new(Kind::Compare, "shop");
        document.recommendation = Some(Recommendation {
            tenancy: Some(tenancy.to_owned()),
            concurrency: Some("threads".to_owned()),
            workers: Some(2),
            threads: Some(8),
            ..Recommendation::default()
        });
        let (id, question) = ("tenancy".to_owned(), "shared is slower".to_owned());
        document.verdicts = vec![Answer { id, question, verdict, ratio: Some(ratio), ..Answer::default() }];
        document
    }

    #[test]
    fn what_changed_is_said_and_what_did_not() {
        let before = document("shared", Verdict::Inconclusive, 1.1);
        let after = document("isolated", Verdict::Supported, 1.6);
        let said = text(&before, &after);
        assert!(
            said.contains("recommended was shared, threads, 2 workers of 8 threads, now it is isolated"),
            "{said}"
        );
        assert!(
            said.contains("shared is slower: was inconclusive, ratio 1.10, now supported, ratio 1.60"),
            "{said}"
        );
        let said = text(&after, &after);
        assert!(said.contains("the same") && said.contains("still supported"), "{said}");
    }
}
