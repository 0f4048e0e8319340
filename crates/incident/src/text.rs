//! Text of tenants and clients: how much of it is kept, and how it is shown without doing harm.
//!
//! What is kept is as it came, but cut; it is escaped where it is shown, because a terminal, a page and a log need different
//! escapes.

use std::fmt::Write as _;

/// Most bytes of a short text (a path, a reason) that are kept.
pub const LINE: usize = 512;

/// Most bytes of a long one (a traceback, a stack).
pub const BLOCK: usize = 8 * 1024;

/// At most `most` bytes of it, from its beginning, with a mark where it was cut.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(most.saturating_sub(3))])
}

/// The same from its end: the last lines of a traceback say what happened.
#[must_use]
pub fn cut_front(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(4);
    format!("...\n{}", &text[text.ceil_char_boundary(text.len() - kept)..])
}

/// For a terminal or a log: on one line, and nothing that a terminal would obey or that changes the direction of writing.
#[must_use]
pub fn line(text: &str) -> String {
    escape(text, false)
}

/// The same for text of several lines.
#[must_use]
pub fn block(text: &str) -> String {
    escape(text, true)
}

/// JSON that is shown on a terminal: what JSON allows in strings and a terminal would obey (C1 controls, directions) is
/// written as `\uXXXX`. The text must be JSON already.
#[must_use]
pub fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() || !is_harmful(c) {
            shown.push(c);
        } else {
            // Writing into a string does not fail.
            let _ = write!(shown, "\\u{:04x}", c as u32);
        }
    }
    shown
}

fn escape(text: &str, lines: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) && !(lines && matches!(c, '\n' | '\t')) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, and those that change the direction of what follows (Unicode Standard Annex 9).
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_obey() {
        let hostile = "a\x1b[2Jb\r\n\u{9b}31mc\u{202e}d\u{2028}\tü";
        assert_eq!(line(hostile), "a\\u{1b}[2Jb\\r\\n\\u{9b}31mc\\u{202e}d\\u{2028}\\tü");
        assert_eq!(block("a\n\tb\x07"), "a\n\tb\\u{7}");
        assert_eq!(json("{\"a\":\"\u{9b}\u{202e}ü\"}"), "{\"a\":\"\\u009b\\u202eü\"}");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("ääää", 6), "ä...");
        assert_eq!(cut_front("1\n2\nlast", 8), "1\n2\nlast");
        assert_eq!(cut_front("first\nlast", 8), "...\nlast");
        assert_eq!(cut_front("ääää", 7), "...\nä");
    }
}
