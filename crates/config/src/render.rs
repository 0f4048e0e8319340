//! Diagnostics as text, in the form of the Rust compiler: place, line quoted and marked, what to do.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Diagnostics, Location, Severity};
use crate::source::{Source, Span};

/// Columns that the quoted lines may take; longer lines are cut around the mark.
const WIDTH: usize = 120;

/// Bytes of a line that are looked at on each side of the mark. A line can be as long as the file.
const AROUND: usize = 400;

/// Two places that are no more than this many lines apart are quoted together.
const TOGETHER: usize = 6;

/// Lines of a value that are marked; the rest of a longer one is left out.
const TALLEST: usize = 8;

impl Diagnostics {
    /// All of them, one after another, with an empty line between, and how many are not shown.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
        let mut text = String::new();
        for diagnostic in self.shown() {
            text.push_str(&one(self.source(), diagnostic, &renderer));
            text.push_str("\n\n");
        }
        if self.omitted() > 0 {
            text.push_str(&format!("and {} more\n\n", self.omitted()));
        }
        text
    }
}

fn one(source: &Source, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(printable(&diagnostic.message));
    let mut elements: Vec<Element<'_>> = Vec::new();
    match &diagnostic.location {
        Some(location) => snippets(source, diagnostic, location, &mut elements),
        None => elements.push(Origin::path(source.path.as_str()).into()),
    }
    if let Some(hint) = &diagnostic.hint {
        elements.push(Level::HELP.message(printable(hint)).into());
    }
    let text = renderer.render(&[title.elements(elements)]);
    // A piece of a line that was cut comes without a name, and the line where that would stand is empty.
    text.lines().filter(|line| line.trim() != ":::").collect::<Vec<_>>().join("\n")
}

/// The quoted lines: one piece if the places are near each other, else one piece each.
fn snippets<'a>(
    source: &'a Source,
    diagnostic: &'a Diagnostic,
    location: &Location,
    elements: &mut Vec<Element<'a>>,
) {
    let mut apart = Vec::new();
    let mut near = Vec::new();
    for related in &diagnostic.related {
        let distance = related.location.line.abs_diff(location.line);
        if distance <= TOGETHER { near.push(related) } else { apart.push(related) }
    }
    let lines = near.iter().map(|related| related.location.line);
    let first = lines.clone().chain([location.line]).min().unwrap_or(location.line);
    let last = lines.chain([location.end_line.min(location.line + TALLEST)]).max().unwrap_or(location.line);
    let wide = (first..=last).any(|line| source.line_span(line).len() > 2 * AROUND);
    if wide {
        // The mark would be far beyond the screen: only the piece of the line around it.
        // It says the column itself, unless the line is cut only at its end.
        let cut = location.span.start.saturating_sub(AROUND) > source.line_span(location.line).start;
        let origin = Origin::path(source.path.as_str()).line(location.line).char_column(location.column);
        if cut {
            elements.push(origin.into());
        }
        elements.push(piece(source, location, AnnotationKind::Primary, None));
        apart = diagnostic.related.iter().collect();
    } else {
        let whole = source.line_span(first).start..source.line_span(last).end;
        let mut snippet = Snippet::source(quotable(&source.text[whole.clone()]))
            .path(source.path.as_str())
            .line_start(first)
            .fold(true);
        snippet = snippet.annotation(AnnotationKind::Primary.span(within(&location.span, &whole)));
        for related in near {
            let span = within(&related.location.span, &whole);
            snippet =
                snippet.annotation(AnnotationKind::Context.span(span).label(printable(&related.message)));
        }
        elements.push(snippet.into());
    }
    for related in apart {
        elements.push(piece(source, &related.location, AnnotationKind::Context, Some(&related.message)));
    }
}

/// One line, or what of it is around the mark.
fn piece<'a>(
    source: &'a Source,
    location: &Location,
    kind: AnnotationKind,
    label: Option<&str>,
) -> Element<'a> {
    let line = source.line_span(location.line);
    let start = source.text.floor_char_boundary(location.span.start.saturating_sub(AROUND)).max(line.start);
    let end = source.text.ceil_char_boundary(location.span.start + AROUND).min(line.end).max(start);
    let whole = start..end;
    let mark = kind.span(within(&location.span, &whole)).label(label.map(printable));
    // The column of a line that was cut would be wrong.
    let path = (start == line.start).then_some(source.path.as_str());
    Snippet::source(quotable(&source.text[whole]))
        .path(path)
        .line_start(location.line)
        .fold(true)
        .annotation(mark)
        .into()
}

/// A span relative to a part of the text, cut to it.
fn within(span: &Span, whole: &Span) -> Span {
    let start = span.start.clamp(whole.start, whole.end) - whole.start;
    let end = span.end.clamp(whole.start, whole.end) - whole.start;
    start..end.max(start)
}

/// A part of the file as it can be shown. The renderer replaces the control characters of ASCII but not those of Latin-1, among
/// them U+009B, which begins an escape sequence on some terminals. What replaces them has as many bytes, so that marks stay right.
fn quotable(text: &str) -> Cow<'_, str> {
    let latin = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
    if text.contains(latin) { Cow::Owned(text.replace(latin, "\u{a4}")) } else { Cow::Borrowed(text) }
}

/// Texts of the file inside our messages: no control characters, not endless.
fn printable(text: &str) -> String {
    const LONGEST: usize = 600;
    let cut = &text[..text.floor_char_boundary(LONGEST)];
    let mut shown: String = cut.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if cut.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
