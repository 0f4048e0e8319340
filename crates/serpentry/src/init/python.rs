//! Python source as statements and tokens: enough to see what a module binds at its top level.
//!
//! A lexer, not a parser: it knows comments, strings, brackets and continued lines, so that nothing inside a comment or a
//! string is taken for code. It runs nothing, refuses nothing and ends on any text: what is no Python becomes tokens that
//! nobody recognises. Source: the Python Language Reference, chapter 2.

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// An identifier or keyword.
    Name(&'a str),
    Number(&'a str),
    /// A string's value; `None` if it is bytes or only known when the code runs (an f-string with fields).
    Text(Option<String>),
    /// An operator or delimiter, the longest that fits.
    Symbol(&'a str),
}

/// One logical line, or a part of it between semicolons. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statement<'a> {
    /// Counted from 1.
    pub(super) line: usize,
    /// It belongs to a block: a function, a class, an `if`.
    pub(super) indented: bool,
    pub(super) tokens: Vec<Token<'a>>,
    /// As written, without the line's end; for messages.
    pub(super) text: &'a str,
}

/// How deep strings inside the fields of f-strings are followed.
const NESTED_STRINGS: usize = 8;

/// Longest first, so that the longest one that fits is taken.
const SYMBOLS: &[&str] = &[
    "**=", "//=", ">>=", "<<=", "...", "==", "!=", "<=", ">=", "->", ":=", "**", "//", "+=", "-=", "*=",
    "/=", "%=", "@=", "&=", "|=", "^=", "<<", ">>",
];

/// Keywords whose statement may have its block on the same line.
const BLOCKS: &[&str] = &[
    "if", "elif", "else", "for", "while", "try", "except", "finally", "with", "def", "class", "async",
    "match", "case",
];

/// The statements of a module.
pub(super) fn statements(source: &str) -> Vec<Statement<'_>> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, depth: 0, found: Vec::new(), current: None };
    lexer.run();
    lexer.found
}

impl<'a> Statement<'a> {
    /// The name, if this binds one by `NAME = ...` or `NAME: TYPE = ...`, and what stands on the right-hand side. Of
    /// `a = b = ...` every name.
    pub(super) fn assignments(&self) -> Option<(Vec<&'a str>, &[Token<'a>])> {
        let mut names = Vec::new();
        let mut rest = self.tokens.as_slice();
        loop {
            match rest {
                [Token::Name(name), Token::Symbol("="), after @ ..] => {
                    names.push(*name);
                    rest = after;
                }
                [Token::Name(name), Token::Symbol(":"), after @ ..] if names.is_empty() => {
                    let equals = after.iter().position(|token| *token == Token::Symbol("="))?;
                    let keyword = BLOCKS.contains(name) || *name == "lambda";
                    return (!keyword).then(|| (vec![*name], &after[equals + 1..]));
                }
                _ => break,
            }
        }
        (!names.is_empty() && !rest.is_empty()).then_some((names, rest))
    }

    /// Whether the tokens contain `part` in one piece.
    pub(super) fn find(&self, part: &[Token<'_>]) -> Option<usize> {
        self.tokens.windows(part.len()).position(|window| window == part)
    }
}

struct Lexer<'a> {
    source: &'a str,
    /// Byte position, always at the border of a character.
    at: usize,
    line: usize,
    /// Open brackets.
    depth: usize,
    found: Vec<Statement<'a>>,
    current: Option<Open<'a>>,
}

/// A statement that has begun.
struct Open<'a> {
    start: usize,
    line: usize,
    indented: bool,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) {
        let mut indented = false;
        let mut fresh_line = true;
        while let Some(next) = self.peek() {
            let indentation = matches!(next, ' ' | '\t' | '\u{c}');
            if fresh_line && self.depth == 0 && self.current.is_none() {
                // A form feed at the beginning counts for nothing.
                indented = next != '\u{c}' && indentation;
            }
            fresh_line = false;
            match next {
                '\n' => {
                    if self.depth == 0 {
                        self.end_statement();
                        indented = false;
                        fresh_line = true;
                    }
                    self.skip(1);
                    self.line += 1;
                }
                '#' => self.skip_comment(),
                '\\' if self.continues_line() => {}
                ';' if self.depth == 0 => {
                    indented = indented || self.current.as_ref().is_some_and(opens_block);
                    self.end_statement();
                    self.skip(1);
                }
                _ if next.is_whitespace() => self.skip(next.len_utf8()),
                _ => self.token(next, indented),
            }
        }
        self.end_statement();
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn skip_comment(&mut self) {
        let rest = &self.source[self.at..];
        self.skip(rest.find('\n').unwrap_or(rest.len()));
    }

    /// Skip a backslash and the end of its line, if that is what is here.
    fn continues_line(&mut self) -> bool {
        let rest = &self.source[self.at..];
        let length = ["\\\n", "\\\r\n"].iter().find(|end| rest.starts_with(**end)).map(|end| end.len());
        self.skip(length.unwrap_or(0));
        self.line += usize::from(length.is_some());
        length.is_some()
    }

    fn end_statement(&mut self) {
        if let Some(open) = self.current.take() {
            let text = self.source[open.start..self.at].trim_end();
            let Open { line, indented, tokens, .. } = open;
            self.found.push(Statement { line, indented, tokens, text });
        }
    }

    fn token(&mut self, next: char, indented: bool) {
        let (start, line) = (self.at, self.line);
        let token = if next == '"' || next == '\'' {
            self.string("")
        } else if next == '_' || next.is_alphabetic() {
            let name = self.take_while(|c| c == '_' || c.is_alphanumeric());
            let quoted = matches!(self.peek(), Some('"' | '\''));
            if quoted && is_string_prefix(name) { self.string(name) } else { Token::Name(name) }
        } else if next.is_ascii_digit() {
            Token::Number(self.take_while(|c| c == '_' || c == '.' || c.is_alphanumeric()))
        } else {
            Token::Symbol(self.symbol(next))
        };
        let open = || Open { start, line, indented, tokens: Vec::new() };
        self.current.get_or_insert_with(open).tokens.push(token);
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.source[self.at..];
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.skip(length);
        &rest[..length]
    }

    fn symbol(&mut self, next: char) -> &'a str {
        match next {
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        let rest = &self.source[self.at..];
        let known = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
        let length = known.map_or(next.len_utf8(), |symbol| symbol.len());
        self.skip(length);
        &rest[..length]
    }

    /// A string literal; the position is at its opening quote.
    fn string(&mut self, prefix: &str) -> Token<'a> {
        let has = |letter: char| prefix.contains([letter, letter.to_ascii_uppercase()]);
        let formatted = has('f') || has('t');
        let body = self.string_body(formatted, 0);
        let value = if has('b') || (formatted && has_fields(body)) {
            None
        } else {
            let text = if has('r') { body.to_owned() } else { unescape(body) };
            Some(if formatted { text.replace("{{", "{").replace("}}", "}") } else { text })
        };
        Token::Text(value)
    }

    /// Skip a string from its opening quote to behind its closing one; what is between them. One that is never closed ends
    /// with its line, or with the file if its quotes are triple.
    fn string_body(&mut self, formatted: bool, nesting: usize) -> &'a str {
        let source = self.source;
        let quote = &source[self.at..=self.at];
        let triple = source[self.at..].starts_with(&quote.repeat(3));
        let width = if triple { 3 } else { 1 };
        self.skip(width);
        let start = self.at;
        let mut braces = 0_usize;
        while let Some(next) = self.peek() {
            let rest = &source[self.at..];
            let closes = rest.starts_with(quote) && (!triple || rest.starts_with(&quote.repeat(3)));
            match next {
                '\\' => {
                    self.skip(1);
                    let Some(escaped) = self.peek() else { break };
                    self.line += usize::from(escaped == '\n');
                    self.skip(escaped.len_utf8());
                }
                '\n' if !triple => return &source[start..self.at],
                // Since Python 3.12 a field may hold strings with the same quotes.
                '"' | '\'' if braces > 0 && nesting < NESTED_STRINGS && !(triple && closes) => {
                    self.string_body(false, nesting + 1);
                }
                _ if closes => {
                    let body = &source[start..self.at];
                    self.skip(width);
                    return body;
                }
                '{' if formatted && braces == 0 && rest.starts_with("{{") => self.skip(2),
                '{' | '}' if formatted => {
                    braces = if next == '{' { braces + 1 } else { braces.saturating_sub(1) };
                    self.skip(1);
                }
                _ => {
                    self.line += usize::from(next == '\n');
                    self.skip(next.len_utf8());
                }
            }
        }
        &source[start..]
    }
}

fn opens_block(statement: &Open<'_>) -> bool {
    matches!(statement.tokens.first(), Some(Token::Name(name)) if BLOCKS.contains(name))
}

fn is_string_prefix(name: &str) -> bool {
    let known = ["r", "u", "b", "f", "t", "br", "rb", "fr", "rf", "tr", "rt"];
    known.iter().any(|prefix| prefix.eq_ignore_ascii_case(name))
}

/// Whether the body of an f-string has a field to be filled in.
fn has_fields(body: &str) -> bool {
    body.replace("{{", "").contains('{')
}

/// A string's body with its escape sequences resolved. `\N{...}` and unknown ones stay as they are.
fn unescape(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else {
            text.push('\\');
            break;
        };
        let after = &rest[kind.len_utf8()..];
        let (meant, used) = match kind {
            '\n' => (None, 0),
            '\\' | '\'' | '"' => (Some(kind), 0),
            'n' => (Some('\n'), 0),
            'r' => (Some('\r'), 0),
            't' => (Some('\t'), 0),
            'a' => (Some('\u{7}'), 0),
            'b' => (Some('\u{8}'), 0),
            'f' => (Some('\u{c}'), 0),
            'v' => (Some('\u{b}'), 0),
            'x' => (numbered(after, 2, 16), 2),
            'u' => (numbered(after, 4, 16), 4),
            'U' => (numbered(after, 8, 16), 8),
            '0'..='7' => {
                let digits = rest.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                (numbered(rest, digits, 8), digits - 1)
            }
            _ => (None, 0),
        };
        match meant {
            Some(character) => {
                text.push(character);
                rest = &after[used..];
            }
            None if kind == '\n' => rest = after,
            None => {
                text.push('\\');
                text.push(kind);
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

/// The character whose number stands in the first `digits` of `text`.
fn numbered(text: &str, digits: usize, radix: u32) -> Option<char> {
    let digits = text.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every statement as `line[>]: tokens`, where `>` marks one inside a block.
    fn shown(source: &str) -> Vec<String> {
        let show = |token: &Token<'_>| match token {
            Token::Name(text) | Token::Number(text) | Token::Symbol(text) => (*text).to_owned(),
            Token::Text(Some(text)) => format!("{text:?}"),
            Token::Text(None) => "?".to_owned(),
        };
        let line = |statement: &Statement<'_>| {
            let tokens: Vec<String> = statement.tokens.iter().map(show).collect();
            let mark = if statement.indented { ">" } else { "" };
            format!("{}{mark}: {}", statement.line, tokens.join(" "))
        };
        statements(source).iter().map(line).collect()
    }

    #[test]
    fn comments_and_strings_hide_code() {
        let source =
            "# app = Flask()\n'''\napp = Flask()\n'''\nx = 'app = 1'  # app = 2\ny = \"#\" 'it\\'s'\n";
        assert_eq!(
            shown(source),
            ["2: \"\\napp = Flask()\\n\"", "5: x = \"app = 1\"", "6: y = \"#\" \"it's\""]
        );
    }

    #[test]
    fn brackets_and_backslashes_continue_a_line() {
        let source = "app = Flask(\n  'x',  # why\n)\r\nb = 1 + \\\n 2\nc = [\n]\n";
        assert_eq!(shown(source), ["1: app = Flask ( \"x\" , )", "4: b = 1 + 2", "6: c = [ ]"]);
    }

    #[test]
    fn blocks_are_told_from_the_top_level() {
        let source = "def f():\n    app = 1\n\tx = 2\napp = 3; b = 4\nif x: y = 1; app = 5\nz = 6\n";
        assert_eq!(
            shown(source),
            [
                "1: def f ( ) :",
                "2>: app = 1",
                "3>: x = 2",
                "4: app = 3",
                "4: b = 4",
                "5: if x : y = 1",
                "5>: app = 5",
                "6: z = 6"
            ]
        );
    }

    #[test]
    fn strings_have_their_values() {
        let cases = [
            (r"'a\nb\x41\u00e9\101\q'", "\"a\\nbAéA\\\\q\""),
            (r"r'a\n'", "\"a\\\\n\""),
            ("u'a'", "\"a\""),
            ("b'a'", "?"),
            ("f'a{{b}}'", "\"a{b}\""),
            ("f'{a}'", "?"),
            ("rb'\\'' + 1", "? + 1"),
            ("f\"{a[\"b\"]}\" + 1", "? + 1"),
            ("f'''{a['b']}''' + 1", "? + 1"),
            ("'''a'b''c'''", "\"a'b''c\""),
            ("'never closed", "\"never closed\""),
            ("'\\ud800'", "\"\\\\ud800\""),
        ];
        for (source, expected) in cases {
            assert_eq!(shown(source), [format!("1: {expected}")], "{source}");
        }
        assert_eq!(shown("a = 'never closed\nb = 1"), ["1: a = \"never closed\"", "2: b = 1"]);
    }

    #[test]
    fn operators_are_the_longest_that_fit() {
        assert_eq!(shown("a **= b == c := d ** -1"), ["1: a **= b == c := d ** - 1"]);
    }

    #[test]
    fn finds_what_is_assigned() {
        let cases: &[(&str, &[&str])] = &[
            ("app = Flask(x)", &["app"]),
            ("app: Flask = Flask(x)", &["app"]),
            ("app: dict[str, int] = {}", &["app"]),
            ("app = application = Flask(x)", &["app", "application"]),
            ("app == 1", &[]),
            ("app += 1", &[]),
            ("app.x = 1", &[]),
            ("app: Flask", &[]),
            ("else: app = 1", &[]),
            ("f(app = 1)", &[]),
            ("app =", &[]),
        ];
        for (source, expected) in cases {
            let statements = statements(source);
            let names = statements[0].assignments().map(|(names, _)| names).unwrap_or_default();
            assert_eq!(names, *expected, "{source}");
        }
    }

    #[test]
    fn a_statement_keeps_its_text() {
        let statements = statements("x = 1\nworkers = count( 2,\n 3 )  \n");
        assert_eq!(statements[1].text, "workers = count( 2,\n 3 )");
    }

    proptest! {
        #[test]
        fn any_text_ends(source in r#"([a-z=:;#(){}\[\]'"\\ \t\n]|f"|'''|\PC){0,200}"#) {
            let lines = source.matches('\n').count() + 1;
            for statement in statements(&source) {
                prop_assert!(!statement.tokens.is_empty());
                prop_assert!(statement.line >= 1 && statement.line <= lines);
                prop_assert!(source.contains(statement.text));
            }
        }

        /// A string literal with anything in it, written as Python would write it, reads as it was and hides its content.
        #[test]
        fn a_quoted_text_is_read_back(text in r#"[ -~\n\t\u{e9}\u{4e2d}]{0,40}"#, quote in r#"['"]"#) {
            let body = text.replace('\\', "\\\\").replace('\n', "\\n").replace(&quote, &format!("\\{quote}"));
            let source = format!("a = {quote}{body}{quote}\nb = 1\n");
            let found = statements(&source);
            prop_assert_eq!(found.len(), 2);
            prop_assert_eq!(&found[0].tokens[2], &Token::Text(Some(text)));
        }
    }
}
