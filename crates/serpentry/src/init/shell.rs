//! A command line as a shell would split it: words, quotes, `${NAME:-default}`, and several commands on one line.
//!
//! Nothing is run and no variable of the environment is read: a variable without a default stays as it is written and is
//! named. Patterns, loops and functions are not known. Source: POSIX.1-2017, Shell Command Language, 2.2, 2.3 and 2.6.2.

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    /// Quotes are gone and defaults are filled in; what has no default stands as it was written.
    pub(super) text: String,
    /// Variables and substitutions (`$(...)`) in it, as written, whether or not a default was filled in.
    pub(super) variables: Vec<String>,
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("the quote in column {0} is never closed")]
    Quote(usize),
    #[error("the substitution in column {0} is never closed")]
    Substitution(usize),
}

/// The commands of one line, which `&&`, `||`, `;`, `|` or `&` separate. None is empty.
///
/// # Errors
/// When a quote or a substitution is not closed.
pub(super) fn split(line: &str) -> Result<Vec<Vec<Word>>, Problem> {
    let mut splitter = Splitter { line, at: 0, commands: vec![Vec::new()], word: None, redirected: false };
    splitter.run()?;
    splitter.end_word();
    splitter.commands.retain(|command| !command.is_empty());
    Ok(splitter.commands)
}

struct Splitter<'a> {
    line: &'a str,
    /// Byte position, always at the border of a character.
    at: usize,
    commands: Vec<Vec<Word>>,
    word: Option<Word>,
    /// The next word is a file that something is written to or read from.
    redirected: bool,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), Problem> {
        while let Some(next) = self.peek() {
            match next {
                '\'' => {
                    let (column, start) = (self.column(), self.at + 1);
                    let length = self.line[start..].find('\'').ok_or(Problem::Quote(column))?;
                    self.push(&self.line[start..start + length]);
                    self.at = start + length + 1;
                }
                '"' => self.double_quoted()?,
                '$' | '`' => self.expansion()?,
                '\\' => {
                    self.at += 1;
                    self.take_char();
                }
                // Only where a word begins: `a#b` is one word.
                '#' if self.word.is_none() => self.at = self.line.len(),
                '&' | '|' | ';' | '\n' => {
                    self.end_word();
                    self.at += 1;
                    self.redirected = false;
                    self.commands.push(Vec::new());
                }
                '<' | '>' => self.redirection(),
                _ if next.is_whitespace() => {
                    self.end_word();
                    self.at += next.len_utf8();
                }
                _ => self.take_char(),
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.line[self.at..].chars().next()
    }

    /// Counted in characters, from 1.
    fn column(&self) -> usize {
        self.line[..self.at].chars().count() + 1
    }

    fn push(&mut self, text: &str) {
        self.word.get_or_insert_default().text.push_str(text);
    }

    /// Move one character into the word, whatever it is.
    fn take_char(&mut self) {
        let word = self.word.get_or_insert_default();
        if let Some(next) = self.line[self.at..].chars().next() {
            word.text.push(next);
            self.at += next.len_utf8();
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.redirected)
            && let Some(command) = self.commands.last_mut()
        {
            command.push(word);
        }
    }

    /// `>file`, `2>&1`, `<file`: neither the descriptor nor the file is an argument.
    fn redirection(&mut self) {
        let descriptor = |word: &Word| word.text.bytes().all(|byte| byte.is_ascii_digit());
        if self.word.as_ref().is_some_and(descriptor) {
            self.word = None;
        }
        self.end_word();
        let rest = &self.line[self.at..];
        self.at += rest.find(|c| !matches!(c, '<' | '>' | '&')).unwrap_or(rest.len());
        self.redirected = true;
    }

    fn double_quoted(&mut self) -> Result<(), Problem> {
        let column = self.column();
        self.at += 1;
        self.push("");
        loop {
            match self.peek().ok_or(Problem::Quote(column))? {
                '"' => break,
                '$' | '`' => self.expansion()?,
                '\\' => {
                    let escaped = self.line[self.at + 1..].chars().next().ok_or(Problem::Quote(column))?;
                    if !matches!(escaped, '"' | '\\' | '$' | '`' | '\n') {
                        self.push("\\");
                    }
                    self.at += 1;
                    self.take_char();
                }
                _ => self.take_char(),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// `$NAME`, `${NAME}`, `${NAME:-default}`, `$(command)`, `` `command` `` or a mere dollar sign.
    fn expansion(&mut self) -> Result<(), Problem> {
        let column = self.column();
        let rest = &self.line[self.at..];
        let written = if rest.starts_with("${") {
            &rest[..=closing(rest, '{', '}').ok_or(Problem::Substitution(column))?]
        } else if rest.starts_with("$(") {
            &rest[..=closing(rest, '(', ')').ok_or(Problem::Substitution(column))?]
        } else if let Some(command) = rest.strip_prefix('`') {
            &rest[..=command.find('`').ok_or(Problem::Substitution(column))? + 1]
        } else {
            let name = &rest[1..];
            let length = name.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(name.len());
            &rest[..=length]
        };
        let written = written.to_owned();
        self.at += written.len();
        match default_of(&written) {
            Some(default) => self.push(default),
            None => self.push(&written),
        }
        if written.len() > 1 {
            self.word.get_or_insert_default().variables.push(written);
        }
        Ok(())
    }
}

/// Position of the bracket that closes the first one in `text`.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        if character == open {
            depth += 1;
        } else if character == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// What `${NAME:-default}`, `${NAME-default}` or `${NAME:=default}` says, unless that is again computed.
fn default_of(written: &str) -> Option<&str> {
    let inside = written.strip_prefix("${")?.strip_suffix('}')?;
    let end = inside.find(|c: char| c != '_' && !c.is_ascii_alphanumeric())?;
    let rest = &inside[end..];
    let default = [":-", ":=", "-", "="].iter().find_map(|mark| rest.strip_prefix(mark))?;
    (end > 0 && !default.contains(['$', '`', '"', '\''])).then_some(default)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<Vec<String>> {
        let texts = |command: Vec<Word>| command.into_iter().map(|word| word.text).collect();
        split(line).unwrap().into_iter().map(texts).collect()
    }

    #[test]
    fn splits_as_a_shell_does() {
        let cases: &[(&str, &[&[&str]])] = &[
            ("", &[]),
            ("  a\tb  ", &[&["a", "b"]]),
            ("a 'b c' \"d e\" f\\ g", &[&["a", "b c", "d e", "f g"]]),
            ("a'b'\"c\"d", &[&["abcd"]]),
            ("a '' \"\"", &[&["a", "", ""]]),
            (r#"a "x\"y\\z\n""#, &[&["a", r#"x"y\z\n"#]]),
            ("a && b; c | d & ", &[&["a"], &["b"], &["c"], &["d"]]),
            ("a # comment 'x", &[&["a"]]),
            ("a#b", &[&["a#b"]]),
            ("a >log 2>&1 b", &[&["a", "b"]]),
            ("a > log", &[&["a"]]),
            ("a 'it''s' \"it's\"", &[&["a", "its", "it's"]]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line), *expected, "{line:?}");
        }
    }

    #[test]
    fn variables_have_their_defaults() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("0.0.0.0:$PORT", "0.0.0.0:$PORT", &["$PORT"]),
            ("0.0.0.0:${PORT:-8000}", "0.0.0.0:8000", &["${PORT:-8000}"]),
            ("\"${A-x y}\"", "x y", &["${A-x y}"]),
            ("${A:=1}", "1", &["${A:=1}"]),
            ("'$PORT'", "$PORT", &[]),
            ("\\$PORT", "$PORT", &[]),
            ("${A:-$B}", "${A:-$B}", &["${A:-$B}"]),
            ("${A:?text}", "${A:?text}", &["${A:?text}"]),
            ("$(nproc)", "$(nproc)", &["$(nproc)"]),
            ("$(a $(b) c)x", "$(a $(b) c)x", &["$(a $(b) c)"]),
            ("`nproc`", "`nproc`", &["`nproc`"]),
            ("a$", "a$", &[]),
        ];
        for (line, text, variables) in cases {
            let variables = variables.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(split(line), Ok(vec![vec![Word { text: (*text).to_owned(), variables }]]), "{line}");
        }
    }

    #[test]
    fn what_is_not_closed_is_named() {
        assert_eq!(split("a 'b"), Err(Problem::Quote(3)));
        assert_eq!(split("é \"b"), Err(Problem::Quote(3)));
        assert_eq!(split("\"\\"), Err(Problem::Quote(1)));
        assert_eq!(split("a $(b"), Err(Problem::Substitution(3)));
        assert_eq!(split("${b"), Err(Problem::Substitution(1)));
        assert_eq!(split("`b"), Err(Problem::Substitution(1)));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(line in r#"([a-zA-Z0-9$`'"\\(){}:<>&|; #-]|\PC){0,120}"#) {
            let _ = split(&line);
        }

        /// Words that are quoted one by one come back as they were.
        #[test]
        fn quoted_words_come_back(texts in proptest::collection::vec(r#"[ -~\u{e9}]{0,12}"#, 1..6)) {
            let single = |text: &String| format!("'{}'", text.replace('\'', r"'\''"));
            let line = texts.iter().map(single).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&line), vec![texts]);
        }
    }
}
