//! A document made readable: one HTML file with plots, and tables for terminals. Pure: from the document to text.
//!
//! The HTML file needs nothing but a browser: no network, no script, one style sheet inside, every plot an SVG with a title,
//! a description and its figures as a table. Its data are in it as JSON for whoever wants to compute again ([`extract`]).
//! Every text of a document may have come from an application, a URL or a client, and goes through [`escape`].
//!
//! It decides nothing: what it says was concluded before, and what is unknown is a dash.

pub mod escape;
mod format;
mod html;
mod page;
mod plot;
mod terminal;

use crate::document::{Document, DocumentError};

pub use self::terminal::{Style, tables};

/// The report as one HTML file.
///
/// # Errors
/// The document cannot be written as JSON.
pub fn html(document: &Document) -> Result<String, DocumentError> {
    page::page(document)
}

const DATA_OPEN: &str = r#"<script type="application/json" id="data">"#;
const DATA_CLOSE: &str = "</script>";

/// The document inside an HTML report, for `--against REPORT.html`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn extract(html: &str) -> Result<Document, DocumentError> {
    let data = html.find(DATA_OPEN).map(|start| &html[start + DATA_OPEN.len()..]);
    let data = data.and_then(|rest| rest.find(DATA_CLOSE).map(|end| &rest[..end]));
    Document::read(data.ok_or(DocumentError::NoVersion)?.as_bytes())
}
