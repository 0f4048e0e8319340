//! Numbers, times, sizes and rates.

use toml::Spanned;
use toml::de::DeValue;

use super::{Reader, example, wrong_type};
use crate::diagnostic::Draft;
use crate::table::{Setting, Unlimited};
use crate::units::{self, Problem};
use crate::value::Value;

type Spot<'a, 'i> = &'a Spanned<DeValue<'i>>;

pub(super) fn integer(
    setting: &Setting,
    value: Spot<'_, '_>,
    (min, max): (u64, u64),
    none: Unlimited,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    match value.get_ref() {
        DeValue::String(text) if none != Unlimited::Never && text == "none" => Some(Value::Nothing),
        DeValue::Integer(integer) => {
            // Underscores are removed by the parser; a number that does not fit is out of bounds as well.
            match u64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(0) if none == Unlimited::WordOrZero => Some(Value::Nothing),
                Ok(number) if (min..=max).contains(&number) => Some(Value::Count(number)),
                _ => out_of_bounds(setting, value, &min.to_string(), &max.to_string(), none, reader),
            }
        }
        DeValue::String(text) if text.parse::<u64>().is_ok() => {
            let message = format!("`{}` must be a number, not a text", setting.name);
            let hint = format!("without the quotes: {} = {text}", setting.name);
            reader.report(Draft::error(value.span(), message).hint(hint));
            None
        }
        _ => wrong_type(setting, value, &or_none("a whole number", none), reader),
    }
}

pub(super) fn number(
    setting: &Setting,
    value: Spot<'_, '_>,
    (min, max): (f64, f64),
    none: Unlimited,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let number: Option<f64> = match value.get_ref() {
        DeValue::String(text) if none != Unlimited::Never && text == "none" => return Some(Value::Nothing),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => return wrong_type(setting, value, &or_none("a number", none), reader),
    };
    match number {
        Some(number) if (min..=max).contains(&number) => Some(Value::Number(number)),
        _ => out_of_bounds(setting, value, &min.to_string(), &max.to_string(), none, reader),
    }
}

pub(super) fn duration(
    setting: &Setting,
    value: Spot<'_, '_>,
    (min, max): (u64, u64),
    none: Unlimited,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let text = quantity_text(setting, value, "a time", "s", none, reader)?;
    if none != Unlimited::Never && text == "none" {
        return Some(Value::Nothing);
    }
    match units::duration(text) {
        Ok(time) if none == Unlimited::WordOrZero && time.is_zero() => Some(Value::Nothing),
        Ok(time) if (u128::from(min)..=u128::from(max)).contains(&time.as_millis()) => {
            Some(Value::Duration(time))
        }
        Ok(_) => {
            let shown =
                |millis| format!("\"{}\"", units::show_duration(std::time::Duration::from_millis(millis)));
            out_of_bounds(setting, value, &shown(min), &shown(max), none, reader)
        }
        Err(problem) => no_quantity(setting, value, text, ("time", units::DURATION), problem, reader),
    }
}

pub(super) fn size(
    setting: &Setting,
    value: Spot<'_, '_>,
    (min, max): (u64, u64),
    none: Unlimited,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let text = quantity_text(setting, value, "a size", "MiB", none, reader)?;
    if none != Unlimited::Never && text == "none" {
        return Some(Value::Nothing);
    }
    match units::size(text) {
        Ok(bytes) if (min..=max).contains(&bytes) => Some(Value::Bytes(bytes)),
        Ok(_) => {
            let shown = |bytes| format!("\"{}\"", units::show_size(bytes));
            out_of_bounds(setting, value, &shown(min), &shown(max), none, reader)
        }
        Err(problem) => no_quantity(setting, value, text, ("size", units::BYTES), problem, reader),
    }
}

pub(super) fn rate(setting: &Setting, value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    per_second(setting, value, units::RATE, reader, |text| match units::rate(text)? {
        crate::plan::Rate::Bytes(0) | crate::plan::Rate::Operations(0) => Ok(None),
        rate => Ok(Some(Value::Rate(rate))),
    })
}

pub(super) fn bandwidth(setting: &Setting, value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    per_second(setting, value, units::BANDWIDTH, reader, |text| {
        Ok(Some(units::bandwidth(text)?).filter(|bytes| *bytes > 0).map(Value::Bytes))
    })
}

/// `read` gives `None` for a rate of zero, which would stop everything.
fn per_second(
    setting: &Setting,
    value: Spot<'_, '_>,
    wanted: &'static str,
    reader: &mut Reader<'_>,
    read: impl Fn(&str) -> Result<Option<Value>, Problem>,
) -> Option<Value> {
    let text = quantity_text(setting, value, "a rate", "MiB/s", Unlimited::Word, reader)?;
    if text == "none" {
        return Some(Value::Nothing);
    }
    match read(text) {
        Ok(Some(rate)) => Some(rate),
        Ok(None) => {
            let message = format!("`{}` must be above zero", setting.name);
            reader.report(Draft::error(value.span(), message).hint("for no limit write \"none\""));
            None
        }
        Err(problem) => no_quantity(setting, value, text, ("rate", wanted), problem, reader),
    }
}

/// The text of a quantity. Numbers without a unit are the commonest mistake: they get a hint of their own.
fn quantity_text<'a>(
    setting: &Setting,
    value: Spot<'a, '_>,
    wanted: &str,
    unit: &str,
    none: Unlimited,
    reader: &mut Reader<'_>,
) -> Option<&'a str> {
    let number = match value.get_ref() {
        DeValue::String(text) => return Some(text.trim()),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        DeValue::Float(float) => float.as_str(),
        _ => return wrong_type(setting, value, &or_none(&format!("{wanted} with a unit"), none), reader),
    };
    let message = format!("`{}` must be {wanted} with a unit, in quotes", setting.name);
    let hint = if none == Unlimited::WordOrZero && number == "0" {
        "for no limit write \"none\"".to_owned()
    } else {
        format!("write \"{number}{unit}\" if that is meant")
    };
    reader.report(Draft::error(value.span(), message).hint(hint));
    None
}

fn no_quantity(
    setting: &Setting,
    value: Spot<'_, '_>,
    text: &str,
    (what, wanted): (&str, &str),
    problem: Problem,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let name = setting.name;
    let (message, hint) = match problem {
        Problem::Unit { found, meant: Some(meant) } => {
            let number = text.strip_suffix(found.as_str()).unwrap_or(text).trim_end();
            (format!("`{name}`: unknown unit `{found}`"), format!("did you mean \"{number}{meant}\"?"))
        }
        Problem::Unit { found, meant: None } => {
            (format!("`{name}`: unknown unit `{found}`"), format!("use {wanted}; {}", example(setting)))
        }
        Problem::NoUnit => (format!("`{name}` has no unit"), format!("use {wanted}; {}", example(setting))),
        Problem::NoNumber => {
            (format!("`{name}`: \"{text}\" is not a {what}"), format!("use {wanted}; {}", example(setting)))
        }
        Problem::Inexact => (
            format!("`{name}`: \"{text}\" is too large or too fine"),
            format!("use {wanted}; {}", example(setting)),
        ),
    };
    reader.report(Draft::error(value.span(), message).hint(hint));
    None
}

fn out_of_bounds(
    setting: &Setting,
    value: Spot<'_, '_>,
    min: &str,
    max: &str,
    none: Unlimited,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let message = format!("`{}` must be between {min} and {max}", setting.name);
    let draft = Draft::error(value.span(), message);
    reader.report(if none == Unlimited::Never { draft } else { draft.hint("for no limit write \"none\"") });
    None
}

fn or_none(wanted: &str, none: Unlimited) -> String {
    match none {
        Unlimited::Never => wanted.to_owned(),
        Unlimited::Word | Unlimited::WordOrZero => format!("{wanted} or \"none\""),
    }
}
