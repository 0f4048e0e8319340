//! What goes into the file: settings with the reason for each, before they are text.
//!
//! Readers of other formats fill it; [`super::render`] writes it. Nothing here knows where a value comes from.

use std::fmt::Write as _;

/// Notes kept of one table: more would not be read.
const NOTES: usize = 100;

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(u64),
    Boolean(bool),
    Texts(Vec<String>),
    /// `{ min = 1, max = 4, idle = "15s" }`
    Table(Vec<(&'static str, Value)>),
}

/// One key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) value: Value,
    /// Said behind it.
    pub(super) remark: String,
}

/// One table of the file: settings and what could not be said in them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub(super) settings: Vec<Setting>,
    /// What was found and has no counterpart, one line each.
    pub(super) notes: Vec<String>,
}

/// One application.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct App {
    /// As wished; [`super::render`] sees to it that it is legal and unique.
    pub(super) name: String,
    /// `module:attribute`.
    pub(super) target: String,
    /// The attribute is a factory.
    pub(super) factory: bool,
    /// Relative to the project with slashes, "" for the project itself, or absolute.
    pub(super) directory: String,
    /// Why this is an application.
    pub(super) reason: String,
    pub(super) table: Table,
    pub(super) limits: Table,
    pub(super) env: Vec<(String, String)>,
    /// Which requests it gets, with a remark each. Empty: all.
    pub(super) routes: Vec<(String, String)>,
    /// Other entry points that could be meant: what they are as key lines, and why.
    pub(super) alternatives: Vec<(String, String)>,
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Draft {
    pub(super) host: Table,
    /// Limits of all applications.
    pub(super) default_limits: Table,
    pub(super) apps: Vec<App>,
    /// What was recognised and why, one line each.
    pub(super) findings: Vec<String>,
}

impl Table {
    /// Set a key, in the place of an earlier value if there is one.
    pub(super) fn set(&mut self, key: &'static str, value: Value, remark: impl Into<String>) {
        let setting = Setting { key, value, remark: remark.into() };
        match self.settings.iter_mut().find(|known| known.key == key) {
            Some(known) => *known = setting,
            None => self.settings.push(setting),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.settings.retain(|setting| setting.key != key);
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|setting| setting.key == key).map(|setting| &setting.value)
    }

    /// Add to a list. What was there from before `remark` was said is replaced: a command line overrides a file.
    pub(super) fn add(&mut self, key: &'static str, text: String, remark: &str) {
        match self.settings.iter_mut().find(|known| known.key == key && known.remark == remark) {
            Some(Setting { value: Value::Texts(texts), .. }) if !texts.contains(&text) => texts.push(text),
            Some(_) => {}
            None => self.set(key, Value::Texts(vec![text]), remark),
        }
    }

    /// Say something that has no counterpart; once.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.notes.len() == NOTES {
            self.notes.push("there was more; it is not shown".to_owned());
        } else if self.notes.len() < NOTES && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }
}

impl App {
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }
}

/// A basic string of TOML (toml.io, 1.0.0, String): quotes, backslashes and control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if character.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A key: bare if it may be, else quoted.
pub(super) fn key(text: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !text.is_empty() && text.bytes().all(is_bare) { text.to_owned() } else { quoted(text) }
}

impl Value {
    /// As TOML, on one line.
    pub(super) fn toml(&self) -> String {
        match self {
            Value::Text(text) => quoted(text),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(truth) => truth.to_string(),
            Value::Texts(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("[{}]", texts.join(", "))
            }
            Value::Table(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(key, value)| format!("{key} = {}", value.toml())).collect();
                format!("{{ {} }}", pairs.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(
            quoted("a\"b\\c\n\t\r\u{0}\u{7f}\u{85}é"),
            "\"a\\\"b\\\\c\\n\\t\\r\\u0000\\u007F\\u0085é\""
        );
        assert_eq!(key("A_b-1"), "A_b-1");
        assert_eq!(key("a b"), "\"a b\"");
        assert_eq!(key(""), "\"\"");
    }

    #[test]
    fn values_stand_on_one_line() {
        let workers = Value::Table(vec![("min", Value::Integer(0)), ("idle", Value::Text("15s".to_owned()))]);
        assert_eq!(workers.toml(), "{ min = 0, idle = \"15s\" }");
        assert_eq!(Value::Texts(vec!["a".to_owned(), "b".to_owned()]).toml(), "[\"a\", \"b\"]");
        assert_eq!(Value::Boolean(true).toml(), "true");
    }

    #[test]
    fn a_list_is_replaced_by_a_later_source_and_extended_by_the_same() {
        let mut table = Table::default();
        for (text, remark) in [("a", "file"), ("b", "line"), ("c", "line"), ("b", "line")] {
            table.add("listen", text.to_owned(), remark);
        }
        assert_eq!(table.get("listen"), Some(&Value::Texts(vec!["b".to_owned(), "c".to_owned()])));
        table.set("listen", Value::Integer(1), "");
        assert_eq!(table.settings.len(), 1);
        table.remove("listen");
        assert_eq!(table.get("listen"), None);
    }
}
