//! The whole file: its top-level tables, the applications in their order, and each of them as a layer of checked values.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Draft;
use crate::read::Reader;
use crate::section::{self, Layer};
use crate::source::Span;
use crate::suggest;
use crate::table::{APP, HOST, LIMITS};

/// Most applications of one host.
pub(crate) const MOST_APPS: usize = 10_000;

/// Longest name of an application: it is part of file names, host names and control groups.
const LONGEST_NAME: usize = 63;

const TABLES: [&str; 3] = ["host", "defaults", "apps"];

/// The file after every value was looked at by itself.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) host: Layer,
    pub(crate) defaults: Layer,
    /// In the order of the file.
    pub(crate) apps: Vec<RawApp>,
    /// The applications' names, also of those that could not be read: nobody shall be told that they do not exist.
    pub(crate) names: BTreeMap<String, Span>,
}

#[derive(Debug)]
pub(crate) struct RawApp {
    pub(crate) name: String,
    /// Its name in the file.
    pub(crate) span: Span,
    pub(crate) layer: Layer,
}

pub(crate) fn read(root: &DeTable<'_>, reader: &mut Reader<'_>) -> Document {
    let mut document = Document::default();
    let mut lost_apps = false;
    for (key, value) in root {
        let name = key.get_ref().as_ref();
        match (name, value.get_ref()) {
            ("host", DeValue::Table(table)) => document.host = section::read(&HOST, table, reader),
            ("defaults", DeValue::Table(table)) => document.defaults = read_defaults(table, reader),
            ("apps", DeValue::Table(table)) => {
                lost_apps |= !table.is_empty();
                read_apps(table, &mut document, reader);
            }
            ("apps", _) => {
                lost_apps = true;
                let draft = Draft::error(key.span(), "`apps` must be tables, one for each application");
                reader.report(draft.hint("write [apps.NAME] above the settings of an application"));
            }
            ("host" | "defaults", _) => {
                reader.report(Draft::error(key.span(), format!("`{name}` must be a table: [{name}]")));
            }
            _ => {
                lost_apps |= unknown_table(key, value, reader);
            }
        }
    }
    if document.apps.is_empty() && !lost_apps {
        let draft = Draft::general("there are no applications in the file");
        reader.report_missing(
            draft.hint("each has a table [apps.NAME] with at least: app = \"module:attribute\""),
        );
    }
    document.apps.sort_by_key(|app| app.span.start);
    document
}

/// Report a top-level key that there is not; true if it may hold applications.
fn unknown_table(
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader<'_>,
) -> bool {
    let name = key.get_ref().as_ref();
    let nearest = suggest::nearest(name, TABLES);
    let tables = matches!(value.get_ref(), DeValue::Table(inner) if inner.values().any(|value| value.get_ref().is_table()));
    let (message, hint) = if let Some(meant) = nearest {
        (
            format!("unknown table `{name}`"),
            format!("did you mean [{}]?", if meant == "apps" { "apps.NAME" } else { meant }),
        )
    } else if APP.setting(name).is_some() || name == "limits" {
        (format!("`{name}` stands outside of any application"), "write [apps.NAME] above it".to_owned())
    } else if LIMITS.setting(name).is_some() {
        (
            format!("`{name}` stands outside of any application"),
            "write [apps.NAME.limits] above it".to_owned(),
        )
    } else if HOST.setting(name).is_some() {
        (format!("`{name}` stands outside of any table"), "write [host] above it".to_owned())
    } else if value.get_ref().is_table() {
        let hint = format!(
            "an application is a table [apps.{}]; other tables are [host] and [defaults]",
            proper(name)
        );
        (format!("unknown table `{}`", name.escape_debug()), hint)
    } else {
        (
            format!("unknown key `{}`", name.escape_debug()),
            "the tables are [host], [defaults] and [apps.NAME]".to_owned(),
        )
    };
    reader.report(Draft::error(key.span(), message).hint(hint));
    tables || nearest == Some("apps") || value.get_ref().is_table() || APP.setting(name).is_some()
}

/// `[defaults]`: the keys of an application but its routes, which no two applications can have in common.
fn read_defaults(table: &DeTable<'_>, reader: &mut Reader<'_>) -> Layer {
    reader.table = "defaults".to_owned();
    let mut layer = section::read(&APP, table, reader);
    reader.table = "apps.NAME".to_owned();
    if layer.entries.remove("routes").is_some() {
        let span = table.iter().find(|(key, _)| key.get_ref() == "routes").map(|(key, _)| key.span());
        let draft = Draft::error(span.unwrap_or(0..0), "`routes` cannot be a default");
        reader.report(draft.hint("two applications cannot have the same route; give each its own"));
    }
    layer
}

fn read_apps(table: &DeTable<'_>, document: &mut Document, reader: &mut Reader<'_>) {
    if table.len() > MOST_APPS {
        let message = format!("{} applications are too many for one host: at most {MOST_APPS}", table.len());
        reader.report(Draft::general(message).hint("divide them among several files and hosts"));
        return;
    }
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        document.names.insert(name.to_owned(), key.span());
        let DeValue::Table(inner) = value.get_ref() else {
            let draft = if APP.setting(name).is_some() {
                Draft::error(
                    key.span(),
                    format!("`{name}` stands in [apps], not in the table of an application"),
                )
                .hint("write [apps.NAME] above it")
            } else {
                Draft::error(key.span(), format!("`apps.{}` must be a table", name.escape_debug()))
                    .hint("write [apps.NAME] above the settings of an application")
            };
            reader.report(draft);
            continue;
        };
        if !right_name(name) {
            let message = format!("`{}` cannot be the name of an application", name.escape_debug());
            let rule =
                "lower-case letters, digits, `_` and `-`, at most 63, beginning with a letter or digit";
            let hint = match proper(name) {
                proper if right_name(&proper) => format!("{rule}; for example [apps.{proper}]"),
                _ => rule.to_owned(),
            };
            reader.report(Draft::error(key.span(), message).hint(hint));
        }
        reader.table = format!("apps.{}", name.escape_debug());
        let layer = section::read(&APP, inner, reader);
        reader.table = "apps.NAME".to_owned();
        document.apps.push(RawApp { name: name.to_owned(), span: key.span(), layer });
    }
}

/// `[a-z0-9][a-z0-9_-]{0,62}`.
fn right_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || matches!(byte, b'_' | b'-'))
}

/// A right name that is like this one.
fn proper(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().take(LONGEST_NAME).map(letter).collect();
    name.trim_matches(['-', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_applications() {
        for right in ["a", "0", "shop-2", "my_app", &"x".repeat(63)] {
            assert!(right_name(right), "{right}");
        }
        for wrong in ["", "Shop", "-a", "_a", "a.b", "a/b", "../x", "\u{e4}", &"x".repeat(64)] {
            assert!(!right_name(wrong), "{wrong}");
        }
        assert_eq!(proper("My Shop!"), "my-shop");
    }
}
