//! What is wrong with a file, as data: where, what, and what to do.
//!
//! Not here: how it is drawn (`render.rs`).

use std::sync::Arc;

use serde::Serialize;

use crate::source::{Source, Span};

/// Most diagnostics that are shown; how many more there are is said.
pub const SHOWN: usize = 100;

/// Most diagnostics that are remembered, so that the first ones in the order of the file can be shown.
const REMEMBERED: usize = 10_000;

/// Whether the file can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where; `None` if it is about the file as a whole.
    #[serde(flatten)]
    pub location: Option<Location>,
    /// What to do.
    pub hint: Option<String>,
    /// The other place, if two do not go together.
    pub related: Vec<Related>,
}

/// A place in the file. Lines and columns from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    /// The first column that does not belong to it.
    pub end_column: usize,
    #[serde(skip)]
    pub(crate) span: Span,
}

/// A second place, and what it has to do with the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    pub message: String,
    #[serde(flatten)]
    pub location: Location,
}

/// A diagnostic before its lines and columns are known.
#[derive(Debug)]
pub(crate) struct Draft {
    severity: Severity,
    message: String,
    span: Option<Span>,
    hint: Option<String>,
    related: Vec<(Span, String)>,
}

impl Draft {
    pub(crate) fn error(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some(span), message.into())
    }

    pub(crate) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Some(span), message.into())
    }

    /// About the file as a whole, or about the environment.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, None, message.into())
    }

    pub(crate) fn new(severity: Severity, span: Option<Span>, message: String) -> Self {
        Self { severity, message, span, hint: None, related: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push((span, message.into()));
        self
    }

    pub(crate) fn span(&self) -> Option<&Span> {
        self.span.as_ref()
    }
}

/// All that is wrong with one file.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    source: Arc<Source>,
    /// At most [`REMEMBERED`].
    items: Vec<Diagnostic>,
    /// Those that were not remembered.
    forgotten: usize,
    errors: usize,
}

impl Diagnostics {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, items: Vec::new(), forgotten: 0, errors: 0 }
    }

    /// One about a file whose text is not known: it cannot be read, for example.
    pub fn of_file(path: &str, message: &str, hint: &str) -> Self {
        let mut all = Self::new(Arc::new(Source::new(path, String::new())));
        all.add(Draft::general(message).hint(hint));
        all
    }

    pub(crate) fn add(&mut self, draft: Draft) {
        let located = |span: Span| locate(&self.source, span);
        let related = draft.related.into_iter();
        let diagnostic = Diagnostic {
            severity: draft.severity,
            message: draft.message,
            location: draft.span.map(located),
            hint: draft.hint,
            related: related.map(|(span, message)| Related { message, location: located(span) }).collect(),
        };
        self.push(diagnostic);
    }

    /// Add one that [`crate::Origins::diagnostic`] made.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.items.len() < REMEMBERED {
            self.items.push(diagnostic);
        } else {
            self.forgotten += 1;
        }
    }

    /// Bring them into the order of the file.
    pub fn sort(&mut self) {
        self.items.sort_by_key(|item| item.location.as_ref().map_or(0, |location| location.span.start));
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many errors and warnings there are, shown or not.
    pub fn counts(&self) -> (usize, usize) {
        (self.errors, self.items.len() + self.forgotten - self.errors)
    }

    /// Those that are shown: at most [`SHOWN`].
    pub fn shown(&self) -> &[Diagnostic] {
        &self.items[..self.items.len().min(SHOWN)]
    }

    /// How many are not shown.
    pub fn omitted(&self) -> usize {
        self.items.len() + self.forgotten - self.shown().len()
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// For programs: `{"file", "errors", "warnings", "omitted", "diagnostics": [...]}`.
    pub fn to_json(&self) -> serde_json::Value {
        let (errors, warnings) = self.counts();
        serde_json::json!({
            "file": self.source.path,
            "errors": errors,
            "warnings": warnings,
            "omitted": self.omitted(),
            "diagnostics": self.shown(),
        })
    }
}

pub(crate) fn locate(source: &Source, span: Span) -> Location {
    let (line, column) = source.position(span.start);
    let (end_line, end_column) = source.position(span.end.max(span.start));
    Location { line, column, end_line, end_column, span }
}
