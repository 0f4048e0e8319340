//! One value of the file, checked against the kind of its setting.
//!
//! Says what is wrong with a value by itself: type, unit, bounds, form. What values mean together is not looked at here.

mod address;
mod quantity;
mod route;
mod text;
mod workers;

use std::collections::HashSet;

use toml::Spanned;
use toml::de::DeValue;

use crate::diagnostic::{Diagnostics, Draft};
use crate::section;
use crate::source::Source;
use crate::suggest;
use crate::table::{Kind, LIMITS, OVERRIDES, Setting};
use crate::value::Value;

pub(crate) use text::wrong_proxy;
pub(crate) use workers::MOST as MOST_WORKERS;

/// Where mistakes are reported to.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a Source,
    pub(crate) all: &'a mut Diagnostics,
    /// Lines with mistakes of grammar.
    pub(crate) broken: &'a HashSet<usize>,
    /// The table that is being read, as it stands in the file in place of "apps.NAME".
    pub(crate) table: String,
    /// Unknown keys that may still be compared with all known ones: that is work, and only so many are shown.
    pub(crate) comparisons: usize,
}

/// Most unknown keys for which the one that was meant is looked for.
const COMPARISONS: usize = 500;

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Source, all: &'a mut Diagnostics, broken: &'a HashSet<usize>) -> Self {
        Self { source, all, broken, table: "apps.NAME".to_owned(), comparisons: COMPARISONS }
    }

    /// A text of ours with the name of the table that is being read.
    pub(crate) fn named(&self, text: &str) -> String {
        text.replace("apps.NAME", &self.table)
    }

    /// Report a mistake, unless the line is broken anyway: then it is not what somebody wrote.
    pub(crate) fn report(&mut self, draft: Draft) {
        let broken = |span: &std::ops::Range<usize>| self.broken.contains(&self.source.line(span.start));
        if !draft.span().is_some_and(broken) {
            self.all.add(draft);
        }
    }

    /// Report that something is missing, unless it may stand in a line that is broken.
    pub(crate) fn report_missing(&mut self, draft: Draft) {
        if self.broken.is_empty() {
            self.all.add(draft);
        }
    }
}

/// The value of a setting; `None` if it is wrong, which is then reported.
pub(crate) fn value(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let name = setting.name;
    let kind = setting.kind;
    match kind {
        Kind::Flag => match value.get_ref() {
            DeValue::Boolean(flag) => Some(Value::Flag(*flag)),
            _ => wrong_type(setting, value, "true or false", reader),
        },
        Kind::Integer { min, max, none } => quantity::integer(setting, value, (min, max), none, reader),
        Kind::Number { min, max, none } => quantity::number(setting, value, (min, max), none, reader),
        Kind::Duration { min, max, none } => quantity::duration(setting, value, (min, max), none, reader),
        Kind::Size { min, max, none } => quantity::size(setting, value, (min, max), none, reader),
        Kind::Rate => quantity::rate(setting, value, reader),
        Kind::Bandwidth => quantity::bandwidth(setting, value, reader),
        Kind::Choice(names) => choice(setting, value, names, reader),
        Kind::Callable => text::callable(setting, value, reader),
        Kind::Directory | Kind::Interpreter => text::path(setting, value, reader),
        Kind::Log => match text::path(setting, value, reader)? {
            Value::Text(text) if text == "none" => Some(Value::Nothing),
            other => Some(other),
        },
        Kind::Hook => text::hook(setting, value, reader),
        Kind::Proxies => text::proxies(setting, value, reader),
        Kind::User => text::user(setting, value, reader),
        Kind::Application => text::plain(setting, value, reader).map(|text| Value::Text(text.to_owned())),
        Kind::Environment => text::environment(value, reader),
        Kind::Addresses => address::list(setting, value, reader),
        Kind::Routes => route::list(setting, value, reader),
        Kind::Prefix => {
            let text = text::plain(setting, value, reader)?;
            match route::prefix(text) {
                Ok(prefix) if !prefix.is_empty() => Some(Value::Text(prefix)),
                Ok(_) => {
                    let draft = Draft::error(value.span(), "this prefix is the whole application");
                    reader.report(draft.hint("put the values under the application's limits"));
                    None
                }
                Err(why) => {
                    reader
                        .report(Draft::error(value.span(), format!("`{text}` is not a path prefix: {why}")));
                    None
                }
            }
        }
        Kind::Workers => workers::read(setting, value, reader),
        Kind::Limits => match value.get_ref() {
            DeValue::Table(table) => Some(Value::Layer(section::read(&LIMITS, table, reader))),
            _ => wrong_type(setting, value, "a table", reader),
        },
        Kind::Overrides => match value.get_ref() {
            DeValue::Array(list) => Some(Value::Overrides(section::overrides(&OVERRIDES, list, reader))),
            _ => {
                let draft = Draft::error(value.span(), format!("`{name}` must be a list of tables"));
                let hint = reader.named("begin each with [[apps.NAME.overrides]], in double brackets");
                reader.report(draft.hint(hint));
                None
            }
        },
    }
}

/// Report a value of the wrong type: what it is, what it must be, an example.
fn wrong_type<T>(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    wanted: &str,
    reader: &mut Reader<'_>,
) -> Option<T> {
    let name = setting.name;
    let message = format!("`{name}` must be {wanted}, not {}", described(value.get_ref()));
    reader.report(Draft::error(value.span(), message).hint(example(setting)));
    None
}

/// What a value of the file is, in words.
fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn example(setting: &Setting) -> String {
    format!("for example: {} = {}", setting.name, setting.example)
}

fn choice(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    names: &'static [(&'static str, &'static str)],
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let words = names.iter().map(|(word, _)| *word);
    let listed = words.clone().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let DeValue::String(text) = value.get_ref() else {
        return wrong_type(setting, value, &format!("one of {listed}"), reader);
    };
    if let Some(word) = words.clone().find(|word| word == text) {
        return Some(Value::Word(word));
    }
    let message = format!("`{}` cannot be \"{text}\"", setting.name);
    let hint = match suggest::nearest(text, words) {
        Some(meant) => format!("did you mean \"{meant}\"? it can be {listed}"),
        None => format!("it can be {listed}"),
    };
    reader.report(Draft::error(value.span(), message).hint(hint));
    None
}
