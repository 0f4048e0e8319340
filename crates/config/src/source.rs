//! The text of the file, and where in it things stand.
//!
//! Lines and columns are counted from 1, columns in characters.

use std::ops::Range;

/// Where something stands, in bytes.
pub(crate) type Span = Range<usize>;

/// The file as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Where each line begins; the first is 0.
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self { path: path.to_owned(), text, lines }
    }

    /// The line that holds a byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    /// Line and column of a byte.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let at = self.text.floor_char_boundary(at);
        let line = self.line(at);
        let column = self.text[self.lines[line - 1]..at].chars().count() + 1;
        (line, column)
    }

    /// The bytes of a line, without its end.
    pub(crate) fn line_span(&self, line: usize) -> Span {
        let start = self.lines[line - 1];
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_lines_and_columns() {
        let source = Source::new("file", "a\n\u{e4}b\n".to_owned());
        for (at, position) in
            [(0, (1, 1)), (1, (1, 2)), (2, (2, 1)), (3, (2, 1)), (4, (2, 2)), (6, (3, 1)), (99, (3, 1))]
        {
            assert_eq!(source.position(at), position, "byte {at}");
        }
        assert_eq!(source.line_span(2), 2..5);
        assert_eq!(source.line_span(3), 6..6);
    }
}
