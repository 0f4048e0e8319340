//! The pieces a page is made of. Cells and texts come in raw and are escaped here; [`Html`] is what already is.

use std::fmt::Write as _;

use super::escape;

/// Text that is HTML.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Html(pub(super) String);

impl Html {
    pub(super) fn text(text: &str) -> Self {
        Html(escape::html(text))
    }
}

impl From<&str> for Html {
    fn from(text: &str) -> Self {
        Html::text(text)
    }
}

impl From<String> for Html {
    fn from(text: String) -> Self {
        Html::text(&text)
    }
}

/// Rows of one table that are shown; what is left out is said, and is in the data.
const MAX_ROWS: usize = 500;

pub(super) struct Table {
    caption: String,
    /// Title, and whether its column holds figures.
    columns: Vec<(String, bool)>,
    rows: Vec<Vec<Html>>,
    /// On a phone each row becomes a card: for tables of sentences, not of figures.
    cards: bool,
}

impl Table {
    /// Titles that begin with `#` are of columns with figures.
    pub(super) fn new<T: AsRef<str>>(caption: &str, titles: &[T]) -> Self {
        let column = |title: &T| match title.as_ref().strip_prefix('#') {
            Some(title) => (title.to_owned(), true),
            None => (title.as_ref().to_owned(), false),
        };
        let columns = titles.iter().map(column).collect();
        Table { caption: caption.to_owned(), columns, rows: Vec::new(), cards: false }
    }

    pub(super) fn cards<T: AsRef<str>>(caption: &str, titles: &[T]) -> Self {
        Table { cards: true, ..Table::new(caption, titles) }
    }

    pub(super) fn row(&mut self, cells: Vec<Html>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Empty when there is no row.
    pub(super) fn html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let caption = escape::html(&self.caption);
        let class = if self.cards { " class=\"cards\"" } else { "" };
        // Outside of the table, so that it does not scroll with it. The roles are what a table has by itself; they stay
        // where the style sheet makes cards of it. Wide tables scroll by themselves, also with the keyboard.
        let mut text = format!(
            "<div class=\"table\"><p class=\"caption\" aria-hidden=\"true\">{caption}</p><div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table{class} role=\"table\" aria-label=\"{caption}\"><thead><tr role=\"row\">"
        );
        for (title, figures) in &self.columns {
            let class = if *figures { " class=\"n\"" } else { "" };
            let title = escape::html(title);
            let _ = write!(text, "<th scope=\"col\" role=\"columnheader\"{class}>{title}</th>");
        }
        text.push_str("</tr></thead><tbody>\n");
        for row in self.rows.iter().take(MAX_ROWS) {
            text.push_str("<tr role=\"row\">");
            for (i, (cell, (title, figures))) in row.iter().zip(&self.columns).enumerate() {
                let (tag, head) = if i == 0 {
                    ("th", " scope=\"row\" role=\"rowheader\"")
                } else {
                    ("td", " role=\"cell\"")
                };
                let class = if *figures { " class=\"n\"" } else { "" };
                let label = match (self.cards, title.is_empty()) {
                    (true, false) => format!(" data-label=\"{}\"", escape::html(title)),
                    _ => String::new(),
                };
                let _ = write!(text, "<{tag}{head}{class}{label}>{}</{tag}>", cell.0);
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</tbody></table></div>");
        if self.rows.len() > MAX_ROWS {
            let more = self.rows.len() - MAX_ROWS;
            let _ = write!(
                text,
                "<p class=\"quiet\">{more} more rows are in the data at the end of this file.</p>"
            );
        }
        text.push_str("</div>\n");
        text
    }

    /// Behind a line that opens it. Empty when there is no row.
    pub(super) fn folded(&self, summary: &str) -> String {
        match self.html() {
            table if table.is_empty() => table,
            table => format!("<details><summary>{}</summary>{table}</details>\n", escape::html(summary)),
        }
    }
}

pub(super) fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape::html(text))
}

/// A section with a heading that can be linked to. Empty when there is nothing in it.
pub(super) fn section(id: &str, title: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{}</h2>\n{body}</section>\n",
        escape::html(title)
    )
}

pub(super) fn list(items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape::html(item))).collect();
    format!("<ul>{items}</ul>\n")
}
