//! Making texts of others harmless where they are shown. A path of a request, the name of a route, a line of a traceback:
//! all of it may have been written by somebody who wants the report to run a script, or to show something that is not there.

/// Characters of one text that are shown.
pub const MAX_SHOWN: usize = 400;

/// For HTML text and quoted attributes. Long texts are cut, invisible characters become visible.
#[must_use]
pub fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_SHOWN) + 16);
    for (position, c) in text.chars().enumerate() {
        if position == MAX_SHOWN {
            shown.push('…');
            break;
        }
        html_char(&mut shown, c);
    }
    shown
}

/// The same for texts that are shown whole with their line breaks: configuration.
#[must_use]
pub fn html_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c == '\n' { shown.push('\n') } else { html_char(&mut shown, c) }
    }
    shown
}

fn html_char(shown: &mut String, c: char) {
    match c {
        '&' => shown.push_str("&amp;"),
        '<' => shown.push_str("&lt;"),
        '>' => shown.push_str("&gt;"),
        '"' => shown.push_str("&quot;"),
        '\'' => shown.push_str("&#39;"),
        c if is_deceptive(c) => shown.extend(c.escape_unicode()),
        c => shown.push(c),
    }
}

/// For terminals: nothing moves the cursor, paints or turns the direction of writing. Long texts are cut.
#[must_use]
pub fn terminal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_SHOWN));
    for (position, c) in text.chars().enumerate() {
        if position == MAX_SHOWN {
            shown.push('…');
            break;
        }
        if is_deceptive(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// JSON that may stand inside a script element: no text in it can end the element or begin a comment. Outside of strings,
/// where the escapes would not be allowed, JSON has none of these characters.
#[must_use]
pub fn json_in_script(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Control characters, and what changes the direction or hides: U+202E makes "exe.txt" of "txt.exe".
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(html(r#"<a b="c" d='e'>&"#), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
        assert_eq!(html("a\u{202e}b\0c\u{1b}"), "a\\u{202e}b\\u{0}c\\u{1b}");
        assert_eq!(html(&"x".repeat(500)).chars().count(), MAX_SHOWN + 1);
        assert_eq!(html_lines("a\n<b>\r"), "a\n&lt;b&gt;\\u{d}");
        assert_eq!(terminal("\u{1b}[31mred\u{9b}\u{2066}"), "\\u{1b}[31mred\\u{9b}\\u{2066}");
        let hostile = r#"{"a":"</script><!--<script>\u2028"}"#;
        let escaped = json_in_script(hostile);
        assert!(!escaped.contains('<') && !escaped.contains('>'));
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(&escaped), value(hostile));
    }
}
