//! From bytes to a tree of keys and values that know where they stand, and what the TOML grammar has to say.
//!
//! Not here: which keys there are and what their values must be. A file that breaks the grammar in some lines is still looked
//! at as far as it could be read, so that one missing quote does not hide everything else.

use std::collections::HashSet;
use std::sync::Arc;

use toml::de::DeTable;

use crate::diagnostic::{Diagnostics, Draft, SHOWN};
use crate::source::{Source, Span};

/// Largest file. A thousand applications with everything said are below 2 MiB.
pub const LARGEST_FILE: usize = 4 << 20;

/// Above this only the first mistake of grammar is reported: a parser that goes on after each needs memory for each.
const RECOVERED: usize = 256 << 10;

/// What the parser says of a key that is there twice.
const DUPLICATE: &str = "duplicate key";

/// What the parser says of the lines behind a list that is not closed.
const ARRAY: &str = "between array elements";

/// The readable part of a file.
pub(crate) struct Tree<'i> {
    pub(crate) root: DeTable<'i>,
    /// Lines with mistakes of grammar. Whatever seems to be wrong there, or to be missing anywhere, may be their doing.
    pub(crate) broken: HashSet<usize>,
}

/// The text of the file, or why it has none.
pub(crate) fn text(bytes: &[u8], path: &str) -> Result<Arc<Source>, Diagnostics> {
    if bytes.len() > LARGEST_FILE {
        let message = format!("the file is larger than {} MiB, the most that is read", LARGEST_FILE >> 20);
        return Err(Diagnostics::of_file(path, &message, "is this the right file?"));
    }
    let refuse = |at: usize, end: usize, message: &str| {
        // What could not be decoded is shown as far as it can be.
        let (before, after) = (&bytes[..at], &bytes[at..]);
        let text = format!("{}{}", String::from_utf8_lossy(before), String::from_utf8_lossy(after));
        let mut all = Diagnostics::new(Arc::new(Source::new(path, text)));
        all.add(Draft::error(at..end, message).hint("the file must be text in UTF-8"));
        Err(all)
    };
    match std::str::from_utf8(bytes) {
        Err(error) => {
            let at = error.valid_up_to();
            // The replacement character that stands for the bad bytes has three bytes.
            refuse(at, at + 3, "this is not UTF-8")
        }
        Ok(text) => match text.find('\0') {
            Some(at) => refuse(at, at + 1, "there is a zero byte here, so this is not a text file"),
            None => Ok(Arc::new(Source::new(path, text.to_owned()))),
        },
    }
}

/// Parse as much as can be parsed; mistakes of grammar go to `all`.
pub(crate) fn parse<'i>(source: &'i Source, all: &mut Diagnostics) -> Tree<'i> {
    let (root, errors) = if source.text.len() <= RECOVERED {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        (root.into_inner(), errors)
    } else {
        match DeTable::parse(&source.text) {
            Ok(root) => (root.into_inner(), Vec::new()),
            Err(error) => (DeTable::new(), vec![error]),
        }
    };
    let mut broken = HashSet::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // Looking for the other place costs a walk through the file: only for those that can be shown.
        let last = source.line(span.end.saturating_sub(1).max(span.start));
        // A list that is not closed makes a mistake of every line behind it.
        if error.message().contains(ARRAY) && broken.contains(&(source.line(span.start) - 1)) {
            broken.insert(last);
            continue;
        }
        // One per line: what follows on a line that is broken already is mostly an echo.
        if broken.insert(source.line(span.start)) {
            let search = broken.len() <= SHOWN;
            all.add(explain(source, error.message(), span, search));
        }
        broken.insert(last);
        if error.message() != DUPLICATE {
            broken.extend(behind(source, last));
        }
    }
    Tree { root, broken }
}

/// The lines behind a table's header that is broken, up to the next: their keys are taken for those of another table.
fn behind(source: &Source, header: usize) -> std::ops::Range<usize> {
    let is_header = |line: usize| source.text[source.line_span(line)].trim_start().starts_with('[');
    if !is_header(header) {
        return header..header;
    }
    let last = source.line(source.text.len());
    header + 1..(header + 1..=last).find(|line| is_header(*line)).unwrap_or(last + 1)
}

fn explain(source: &Source, message: &str, span: Span, search: bool) -> Draft {
    if message == DUPLICATE {
        let key = source.text.get(span.clone()).unwrap_or_default();
        let first = if search { earlier(source, &span) } else { None };
        let line = source.text[source.line_span(source.line(span.start))].trim();
        let what = if line.starts_with('[') { line.split('#').next().unwrap_or(line).trim() } else { key };
        let draft = Draft::error(span, format!("`{what}` is there twice"));
        return match first {
            Some(first) => draft.related(first, "here first").hint("remove or rename one of them"),
            None => draft.hint("it was there before, in another form; remove one of them"),
        };
    }
    let hint = match message {
        _ if message.contains("recursion limit") => "this is nested far deeper than any setting",
        _ if message.contains("quoted") || message.contains("literal string") => {
            "texts stand in double quotes"
        }
        _ if message.contains(ARRAY) => "is a closing bracket missing in the list above?",
        _ if message.contains("basic string") => {
            "is the quote at the end missing? a backslash is written twice"
        }
        _ if message.contains("unclosed table") => "a bracket is missing",
        _ if message.contains("newline") => "one setting per line; is a quote or bracket missing?",
        _ => "see https://toml.io for the syntax",
    };
    Draft::error(span, format!("syntax: {message}")).hint(hint)
}

/// Where the key of a "duplicate key" was defined first: the parser does not say, so the lines before are compared.
fn earlier(source: &Source, span: &Span) -> Option<Span> {
    let line = source.line(span.start);
    let text_of = |line: usize| &source.text[source.line_span(line)];
    let this = text_of(line).trim_start();
    let squeezed =
        |text: &str| -> String { text.split('#').next().unwrap_or("").split_whitespace().collect() };
    let found = if this.starts_with('[') {
        let header = squeezed(this);
        (1..line).find(|line| {
            text_of(line.to_owned()).trim_start().starts_with('[') && squeezed(text_of(*line)) == header
        })
    } else {
        let key_of = |text: &str| text.split_once('=').map(|(key, _)| squeezed(key));
        let key = key_of(this)?;
        let before = (1..line).rev().take_while(|line| !text_of(*line).trim_start().starts_with('['));
        before.filter(|line| key_of(text_of(*line)).as_ref() == Some(&key)).last()
    };
    let whole = source.line_span(found?);
    let text = &source.text[whole.clone()];
    let start = whole.start + text.len() - text.trim_start().len();
    // A key up to its "=", a header up to its bracket.
    let end = if this.starts_with('[') { text.rfind(']').map(|at| at + 1) } else { text.find('=') };
    let end = whole.start + end.unwrap_or(text.len());
    Some(start..start + source.text[start..end.max(start)].trim_end().len())
}
