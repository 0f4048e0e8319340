//! The pages in `docs/incidents/`: what is generated from the catalogue, and the prose that people wrote below it.
//!
//! A page is the generated part, [`MARK`], and prose. A test compares the generated part with the table;
//! `SERPENTRY_WRITE_DOCS=1 cargo test -p incident` writes it anew and leaves the prose alone.

use std::fmt::Write as _;

use crate::catalogue::FAMILIES;
use crate::code::{Code, Entry};

/// What follows is written by hand.
pub const MARK: &str = "<!-- above: made from the catalogue; below: written by hand -->";

/// The generated part of a code's page, [`MARK`] included.
#[must_use]
pub fn generated(code: Code) -> String {
    let entry = code.entry();
    let mut page = String::new();
    // Writing into a string does not fail.
    let _ = write_page(&mut page, entry);
    page
}

/// `docs/incidents/README.md`: all codes.
#[must_use]
pub fn index() -> String {
    let mut page = "# Incidents\n\nEvery failure has a code: a letter for its family and two digits; 99 is always our own fault. \
                    `serpentry why` shows what happened here, `serpentry explain CODE` prints the page of a code.\n"
        .to_owned();
    for family in FAMILIES {
        let _ = write!(
            page,
            "\n## {}: {}\n\n| code | title | visitors get | severity |\n|---|---|---|---|\n",
            family.letter, family.title
        );
        for Entry { code, title, status, severity, .. } in family.entries {
            let status = status.map_or("-".to_owned(), |status| status.to_string());
            let _ = writeln!(page, "| [{code}]({code}.md) | {title} | {status} | {} |", severity.as_str());
        }
    }
    page
}

/// The prose of a code's page, as it was when this program was built.
#[must_use]
pub fn prose(code: Code) -> &'static str {
    let page = committed(code);
    page.split_once(MARK).map_or("", |(_, prose)| prose.trim())
}

fn write_page(page: &mut String, entry: &Entry) -> std::fmt::Result {
    writeln!(page, "# {}: {}\n", entry.code, entry.title)?;
    match entry.status {
        Some(status) => write!(page, "Visitors who notice are answered {status}.")?,
        None => write!(page, "Visitors are not answered an error because of it.")?,
    }
    write!(page, " Severity: {}.", entry.severity.as_str())?;
    if let Some(resource) = entry.resource {
        write!(page, " Resource: {resource}.")?;
    }
    writeln!(page, "\n")?;
    for cause in entry.causes {
        writeln!(
            page,
            "**{}**: {}.\n\nRemedy: {}.\n",
            cause.name,
            places(&plain(cause.sentence)),
            places(&plain(cause.remedy))
        )?;
    }
    writeln!(page, "| evidence | unit | what it is |\n|---|---|---|")?;
    for evidence in entry.evidence {
        writeln!(page, "| `{}` | {} | {} |", evidence.key, evidence.unit.as_str(), evidence.about)?;
    }
    writeln!(page, "\n{MARK}")
}

/// A template with all its optional parts, and counted things in the plural.
#[must_use]
pub fn plain(template: &str) -> String {
    let mut shown = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('|') {
        let (noun, after) = after.split_once('}').unwrap_or((after, ""));
        shown.push_str(&format!("{before}}} {noun}s"));
        rest = after;
    }
    shown.push_str(rest);
    shown.replace(['«', '»'], "")
}

/// `{pid}` as *pid*, but not inside of code.
fn places(text: &str) -> String {
    let code = |(index, part): (usize, &str)| match index % 2 {
        0 => part.replace(['{', '}'], "*"),
        _ => format!(
            "`{}`",
            part.replace("{app}", "APP").replace("{pid}", "PID").replace("{moved_to}", "FILE")
        ),
    };
    text.split('`').enumerate().map(code).collect()
}

macro_rules! committed {
    ($($code:ident)*) => {
        fn committed(code: Code) -> &'static str {
            match code {
                $(Code::$code => include_str!(concat!("../../../docs/incidents/", stringify!($code), ".md"))),*
            }
        }
    };
}

committed! {
    A10 A11 A20 A21 A22 A30 A31
    C10 C11 C20 C21 C22
    M10 M11 M20 M30 M31
    D10 D11 D20 D30
    N10 N11 N12 N20 N21 N22 N23 N30
    P10 P11
    H10 H99
}
