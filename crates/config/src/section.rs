//! One table of the file against its section of the table of settings: known keys with checked values, and every unknown key
//! with the one that was probably meant.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::diagnostic::Draft;
use crate::plan::RouteOverride;
use crate::read::{self, Reader};
use crate::source::Span;
use crate::suggest;
use crate::table::{APP, HOST, LIMITS, Section};
use crate::value::{FromValue, Value};

/// What a table of the file says. Keys are names of settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    pub(crate) entries: BTreeMap<&'static str, Entry>,
    /// Settings that are missing only because their name is misspelt.
    pub(crate) misspelt: Vec<&'static str>,
}

/// One key of a table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// `None` if it is wrong, which was reported.
    pub(crate) value: Option<Value>,
    pub(crate) span: Span,
}

/// Most overrides of one application: a request is compared with each.
const MOST_OVERRIDES: usize = 100;

/// Names that other programs have for a setting of ours, or that it had in our command line.
const HABITS: &[(&str, &str)] = &[
    ("application", "app"),
    ("module", "app"),
    ("callable", "app"),
    ("target", "app"),
    ("bind", "listen"),
    ("host", "routes"),
    ("hosts", "routes"),
    ("domain", "routes"),
    ("domains", "routes"),
    ("chdir", "directory"),
    ("dir", "directory"),
    ("path", "directory"),
    ("cwd", "directory"),
    ("working_directory", "directory"),
    ("home", "python"),
    ("venv", "python"),
    ("virtualenv", "python"),
    ("interpreter", "python"),
    ("environment", "env"),
    ("environ", "env"),
    ("processes", "workers"),
    ("worker_class", "concurrency"),
    ("mode", "concurrency"),
    ("event_loop", "loop"),
    ("preload_app", "preload"),
    ("timeout", "request_timeout"),
    ("keepalive", "keepalive_timeout"),
    ("keep_alive", "keepalive_timeout"),
    ("backlog", "queue"),
    ("max_body", "body_size"),
    ("max_header", "header_size"),
    ("client_max_body_size", "body_size"),
    ("nofile", "open_files"),
    ("ram", "memory"),
    ("mem", "memory"),
    ("cpus", "cpu"),
    ("cores", "cpu"),
    ("limit", "limits"),
    ("port", "listen"),
    ("address", "listen"),
    ("state_directory", "state"),
    ("log_format", "access_log_format"),
];

/// Read a table of settings.
pub(crate) fn read(section: &'static Section, table: &DeTable<'_>, reader: &mut Reader<'_>) -> Layer {
    let mut layer = Layer::default();
    for (key, value) in table {
        let Some(setting) = section.setting(key.get_ref()) else {
            unknown(section, key, value, &mut layer, reader);
            continue;
        };
        let checked = read::value(setting, value, reader);
        layer.entries.insert(setting.name, Entry { value: checked, span: value.span() });
    }
    layer
}

/// Report a key that is not in the section.
fn unknown(
    section: &'static Section,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    layer: &mut Layer,
    reader: &mut Reader<'_>,
) {
    let name = key.get_ref().as_ref();
    let draft = Draft::error(
        key.span(),
        format!("unknown key `{}` in {}", name.escape_debug(), reader.named(section.title)),
    );
    if reader.comparisons == 0 {
        reader.report(draft);
        return;
    }
    reader.comparisons -= 1;
    let here = |wanted: &str| section.setting(wanted).map(|setting| setting.name);
    let elsewhere = |wanted: &str| {
        [&LIMITS, &APP, &HOST]
            .into_iter()
            .find_map(|other| other.setting(wanted).map(|setting| (other, setting.name)))
    };
    let habit = HABITS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
    let all_names =
        || [&LIMITS, &APP, &HOST].into_iter().flat_map(|other| other.settings).map(|setting| setting.name);
    let near = suggest::nearest(name, section.settings.iter().map(|setting| setting.name)).and_then(here);

    let hint = if let Some((other, _)) = elsewhere(name) {
        format!("`{name}` belongs in {}", reader.named(other.title))
    } else if let Some(meant) = habit.and_then(here).or(near) {
        layer.misspelt.push(meant);
        format!("did you mean `{meant}`?")
    } else if let Some((other, meant)) =
        habit.or_else(|| suggest::nearest(name, all_names())).and_then(elsewhere)
    {
        format!("did you mean `{meant}` in {}?", reader.named(other.title))
    } else {
        // A misspelling beyond recognition, but only one setting has values like this.
        let callable =
            matches!(value.get_ref(), DeValue::String(text) if text.contains(':') && !text.contains('/'));
        layer.misspelt.extend(here("app").filter(|_| callable));
        known(section)
    };
    reader.report(draft.hint(hint));
}

fn known(section: &Section) -> String {
    if section.settings.len() <= 12 {
        let names: Vec<&str> = section.settings.iter().map(|setting| setting.name).collect();
        format!("it can have {}", names.join(", "))
    } else {
        "all keys are listed in docs/configuration.md, and by `serpentry check --schema`".to_owned()
    }
}

/// Read a list of overrides. Longest prefix first.
pub(crate) fn overrides(
    section: &'static Section,
    list: &DeArray<'_>,
    reader: &mut Reader<'_>,
) -> Vec<(RouteOverride, Span)> {
    let mut found: Vec<(RouteOverride, Span)> = Vec::new();
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    if let Some(first) = list.get(MOST_OVERRIDES) {
        let message =
            format!("an application has at most {MOST_OVERRIDES} overrides; here are {}", list.len());
        reader.report(Draft::error(first.span(), message).hint("join some under a shorter prefix"));
        return found;
    }
    for item in list.iter() {
        let DeValue::Table(table) = item.get_ref() else {
            let draft = Draft::error(item.span(), "an override is a table");
            reader.report(draft.hint("for example: { prefix = \"/export\", request_timeout = \"5m\" }"));
            continue;
        };
        let layer = read(section, table, reader);
        let Some(prefix) = layer.entries.get("prefix") else {
            if !layer.misspelt.contains(&"prefix") {
                let draft = Draft::error(item.span(), "this override has no `prefix`");
                reader.report_missing(draft.hint("for example: prefix = \"/export\""));
            }
            continue;
        };
        let Some(text) = prefix.value.as_ref().and_then(String::from_value) else { continue };
        if let Some(first) = seen.insert(text.clone(), prefix.span.clone()) {
            let draft = Draft::error(prefix.span.clone(), format!("two overrides for {text}"));
            reader.report(draft.related(first, "here is the other").hint("put them into one"));
        }
        if layer.entries.len() == 1 && layer.misspelt.is_empty() {
            let draft =
                Draft::warning(prefix.span.clone(), format!("the override for {text} changes nothing"));
            reader.report_missing(draft.hint("give it request_timeout, first_byte_timeout or body_size"));
        }
        found.push((
            RouteOverride {
                prefix: text,
                request_timeout: layer.said("request_timeout"),
                first_byte_timeout: layer.said("first_byte_timeout"),
                body_size: layer.said("body_size"),
            },
            item.span(),
        ));
    }
    found.sort_by(|(left, _), (right, _)| {
        right.prefix.len().cmp(&left.prefix.len()).then_with(|| left.prefix.cmp(&right.prefix))
    });
    found
}

impl Layer {
    /// What the table says about a setting, if it says anything right.
    pub(crate) fn said<T: FromValue>(&self, name: &'static str) -> Option<T> {
        T::from_value(self.entries.get(name)?.value.as_ref()?)
    }

    /// The table inside this one, empty if there is none.
    pub(crate) fn inner(&self, name: &'static str) -> Option<&Layer> {
        match self.entries.get(name)?.value.as_ref()? {
            Value::Layer(layer) => Some(layer),
            _ => None,
        }
    }
}
