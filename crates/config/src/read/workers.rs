//! `workers`: a number, or a table of `min`, `max` and `idle`.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Reader, value, wrong_type};
use crate::diagnostic::Draft;
use crate::plan::Workers;
use crate::source::Span;
use crate::suggest;
use crate::table::{Fallback, Kind, Setting, Unlimited};
use crate::value::{FromValue, Value};

/// Most processes of one application.
pub(crate) const MOST: u64 = 1_024;

/// How long a worker may be idle if nothing is said.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// The keys of the table form. They have no entries in the big table, since their place is inside a value.
const KEYS: [Setting; 3] = [
    Setting {
        name: "min",
        kind: Kind::Integer { min: 0, max: MOST, none: Unlimited::Never },
        default: Fallback::Is("1"),
        about: "",
        example: "1",
    },
    Setting {
        name: "max",
        kind: Kind::Integer { min: 1, max: MOST, none: Unlimited::Never },
        default: Fallback::Required,
        about: "",
        example: "4",
    },
    Setting {
        name: "idle",
        kind: Kind::Duration { min: 1, max: 7 * 24 * 3_600_000, none: Unlimited::Never },
        default: Fallback::Is("\"5m\""),
        about: "",
        example: "\"5m\"",
    },
];

pub(super) fn read(setting: &Setting, at: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Value> {
    match at.get_ref() {
        DeValue::Integer(_) => {
            let single = Setting { name: setting.name, example: setting.example, ..KEYS[1] };
            let Value::Count(count) = value(&single, at, reader)? else { return None };
            let count = u32::try_from(count).ok()?;
            Some(Value::Workers(Workers { min: count, max: count, idle: IDLE }))
        }
        DeValue::Table(table) => from_table(table, at.span(), reader),
        _ => wrong_type(setting, at, "a number or a table", reader),
    }
}

fn from_table(table: &DeTable<'_>, at: Span, reader: &mut Reader<'_>) -> Option<Value> {
    let mut complete = true;
    for key in table.keys() {
        let name = key.get_ref();
        if !KEYS.iter().any(|setting| setting.name == name) {
            let meant = suggest::nearest(name, KEYS.iter().map(|setting| setting.name));
            let hint = meant
                .map_or("it has min, max and idle".to_owned(), |meant| format!("did you mean `{meant}`?"));
            reader.report(Draft::error(key.span(), format!("unknown key `{name}` in workers")).hint(hint));
            complete = false;
        }
    }
    let mut found = [None, None, None];
    for (setting, slot) in KEYS.iter().zip(&mut found) {
        if let Some(item) = table.get(setting.name) {
            let item_value = value(setting, item, reader);
            complete &= item_value.is_some();
            *slot = item_value.map(|value| (value, item.span()));
        }
    }
    let [min, max, idle] = found;
    if !complete {
        return None;
    }
    let Some((max, max_span)) = max else {
        let draft = Draft::error(at, "`workers` as a table needs `max`");
        reader.report_missing(draft.hint("for example: workers = { min = 1, max = 4, idle = \"5m\" }"));
        return None;
    };
    let max = u32::from_value(&max)?;
    let (min, min_span) = match min {
        Some((min, span)) => (u32::from_value(&min)?, span),
        None => (1, max_span.clone()),
    };
    let idle = idle.map_or(Some(IDLE), |(idle, _)| Duration::from_value(&idle))?;
    if min > max {
        let draft = Draft::error(min_span, format!("`min` is {min}, but `max` is only {max}"));
        reader.report(draft.hint("raise `max` or lower `min`"));
        return None;
    }
    Some(Value::Workers(Workers { min, max, idle }))
}
