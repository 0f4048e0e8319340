//! The page, from the sentence down to the data. Its parts are in `page/`.

mod evidence;
mod head;
mod limits;
mod method;

use super::escape;
use super::html::section;
use super::{DATA_CLOSE, DATA_OPEN};
use crate::document::{Document, DocumentError};

pub(super) use self::evidence::class as class_name;
pub(super) use self::head::{sentence as head_sentence, with_unit};

const STYLE: &str = include_str!("style.css");

/// Nothing is loaded and no script runs, whatever an escape forgot.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// Patterns that all plots share.
const PATTERNS: &str = "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" style=\"position:absolute\"><defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path class=\"hatch\" d=\"M0 0V6\"/></pattern></defs></svg>";

pub(super) fn page(document: &Document) -> Result<String, DocumentError> {
    let json = escape::json_in_script(&document.write()?);
    let sections: Vec<(&str, &str, String)> = vec![
        ("claims", "Claims", evidence::claims(document)),
        ("why", "Why", head::why(document)),
        ("changes", "What would change it", head::changes(document)),
        ("config", "Configuration", head::config(document)),
        ("verdicts", "Verdicts", evidence::verdicts(document)),
        ("scorecard", "Five dimensions", evidence::scorecard(document)),
        ("latency", "Latency over time", evidence::latency(document)),
        ("distribution", "Where in the distribution", evidence::distribution(document)),
        ("causes", "Where added latency comes from", evidence::causes(document)),
        ("endpoints", "Endpoints", evidence::endpoints(document)),
        ("scaling", "Scaling", evidence::scaling(document)),
        ("memory", "Memory", evidence::memory(document)),
        ("together", "Limits, alone and together", limits::limits(document)),
        ("start", "Cold start", evidence::cold_start(document)),
        ("limits", "What was not tested", method::not_testable(document)),
        ("method", "Machine and method", method::method(document)),
        ("arms", "Arms", method::arms(document)),
        ("blocks", "Blocks", method::blocks(document)),
    ];
    let shown: Vec<&(&str, &str, String)> = sections.iter().filter(|(_, _, body)| !body.is_empty()).collect();
    let links: String =
        shown.iter().map(|(id, title, _)| format!("<li><a href=\"#{id}\">{title}</a></li>")).collect();
    let bodies: String = shown.iter().map(|(id, title, body)| section(id, title, body)).collect();
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"serpentry\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{PATTERNS}\n<header>\n{head}<nav aria-label=\"Sections\"><ul>{links}<li><a href=\"#raw\">Data</a></li></ul></nav>\n</header>\n<main>\n{bodies}{raw}</main>\n{DATA_OPEN}{json}{DATA_CLOSE}\n</body>\n</html>\n",
        title = escape::html(&head::title(document)),
        head = head::head(document),
        raw = section("raw", "Data", RAW),
    ))
}

const RAW: &str = "<p>This file holds its own data: every block, verdict and figure, as JSON in the element <code>data</code> at its end. <code>serpentry compare --against THIS_FILE</code> reads it, and so does anything else:</p>\n<pre>python3 -c 'import json,re,sys; print(json.dumps(json.loads(re.search(r\"id=.data.&gt;(.*?)&lt;/script\", sys.stdin.read(), re.S)[1]), indent=1))' &lt; report.html</pre>";
