//! Texts of a special form: applications, paths, proxies, environment variables.

use std::net::IpAddr;

use toml::Spanned;
use toml::de::DeValue;

use super::{Reader, described, example, wrong_type};
use crate::diagnostic::Draft;
use crate::plan::Hook;
use crate::table::Setting;
use crate::value::Value;

type Spot<'a, 'i> = &'a Spanned<DeValue<'i>>;

/// Longest path: the kernel's PATH_MAX.
const LONGEST_PATH: usize = 4_096;

/// Longest name of a user (useradd(8)).
const LONGEST_USER: usize = 256;

/// A text that is not empty.
pub(super) fn plain<'a>(setting: &Setting, value: Spot<'a, '_>, reader: &mut Reader<'_>) -> Option<&'a str> {
    match value.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => {
            reader.report(
                Draft::error(value.span(), format!("`{}` is empty", setting.name)).hint(example(setting)),
            );
            None
        }
        DeValue::String(text) => Some(text),
        _ => wrong_type(setting, value, "a text", reader),
    }
}

/// The name or number of a user, as useradd(8) and the kernel have them: the number of "nobody in particular" (2^32 - 1) is none.
pub(super) fn user(setting: &Setting, value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    let text = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().to_owned(),
        _ => plain(setting, value, reader)?.to_owned(),
    };
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    let right = if number {
        text.parse::<u32>().is_ok_and(|uid| uid != u32::MAX)
    } else {
        text.len() <= LONGEST_USER
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$'))
    };
    if right {
        return Some(Value::Text(text));
    }
    let message = format!("`{}` is neither the name nor the number of a user", text.escape_debug());
    reader.report(Draft::error(value.span(), message).hint(example(setting)));
    None
}

/// `module:attribute`, `module`, `module:attribute.inner` or `module:factory()`.
pub(super) fn callable(setting: &Setting, value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    let text = plain(setting, value, reader)?;
    let (module, attribute) = text.split_once(':').unwrap_or((text, "application"));
    let attribute = attribute
        .split_once('(')
        .map_or(attribute, |(name, rest)| if rest.ends_with(')') { name } else { "" });
    let dotted = |text: &str| text.split('.').all(identifier);
    if dotted(module) && dotted(attribute) {
        return Some(Value::Text(text.to_owned()));
    }
    let hint =
        if module.contains('/') || std::path::Path::new(module).extension().is_some_and(|end| end == "py") {
            let module = module.trim_start_matches("./").trim_end_matches(".py").replace('/', ".");
            format!("a module, not a file: \"{module}:{attribute}\"")
        } else {
            example(setting)
        };
    reader.report(
        Draft::error(value.span(), format!("`{text}` does not look like module:attribute")).hint(hint),
    );
    None
}

/// A Python identifier, near enough: the interpreter has the last word.
fn identifier(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c == '_' || c.is_alphanumeric())
}

pub(super) fn path(setting: &Setting, value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    let text = plain(setting, value, reader)?;
    let problem = if text.contains('\0') {
        Some(("has a zero byte", "no path can have one"))
    } else if text.len() > LONGEST_PATH {
        Some(("is longer than a path can be", "at most 4096 bytes"))
    } else if text.starts_with("~/") || text.contains('$') {
        Some(("has a `~` or `$`, which is not replaced", "write the path in full"))
    } else {
        None
    };
    match problem {
        Some((what, hint)) => {
            reader.report(Draft::error(value.span(), format!("`{}` {what}", setting.name)).hint(hint));
            None
        }
        None => Some(Value::Text(text.to_owned())),
    }
}

/// A program, `http://HOST[:PORT][/PATH]`, or "none".
pub(super) fn hook(setting: &Setting, value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    let text = plain(setting, value, reader)?;
    if text == "none" {
        return Some(Value::Nothing);
    }
    let Some((scheme, _)) = text.split_once("://") else { return path(setting, value, reader) };
    let problem = match Hook::url(text) {
        Some(_) => return Some(Value::Text(text.to_owned())),
        None if scheme.eq_ignore_ascii_case("https") => {
            Draft::error(value.span(), "webhooks are posted without TLS: https:// cannot be used")
                .hint("name a program instead, for example a script that calls curl")
        }
        None => Draft::error(value.span(), format!("`{text}` is not a URL that can be posted to"))
            .hint("it must look like http://HOST:PORT/PATH, without a user name and blanks"),
    };
    reader.report(problem);
    None
}

/// Addresses, networks, or `*`.
pub(super) fn proxies(setting: &Setting, value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    let text = match value.get_ref() {
        // Nobody is believed.
        DeValue::String(text) if text.trim().is_empty() => return Some(Value::Text(String::new())),
        _ => plain(setting, value, reader)?,
    };
    match wrong_proxy(text) {
        Some(part) => {
            let message = format!("`{part}` is not an IP address, a network or \"*\"");
            reader.report(Draft::error(value.span(), message).hint(example(setting)));
            None
        }
        None => Some(Value::Text(text.to_owned())),
    }
}

/// The first part of a list of proxies that is none.
pub(crate) fn wrong_proxy(text: &str) -> Option<&str> {
    let right = |part: &&str| {
        let (address, bits) =
            part.split_once('/').map_or((*part, None), |(address, bits)| (address, Some(bits)));
        let Ok(address) = address.parse::<IpAddr>() else { return *part == "*" };
        let most = if address.is_ipv4() { 32 } else { 128 };
        bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).find(|part| !right(part))
}

/// A table of strings.
pub(super) fn environment(value: Spot<'_, '_>, reader: &mut Reader<'_>) -> Option<Value> {
    let DeValue::Table(table) = value.get_ref() else {
        let message = format!("`env` must be a table of texts, not {}", described(value.get_ref()));
        reader.report(Draft::error(value.span(), message).hint("for example: env = { DEBUG = \"1\" }"));
        return None;
    };
    let mut pairs = Vec::new();
    let mut complete = true;
    for (key, item) in table {
        let name = key.get_ref();
        let problem = if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("`{}` cannot be the name of an environment variable", name.escape_debug());
            Some(Draft::error(key.span(), message).hint("it must not be empty, and have no \"=\""))
        } else {
            match item.get_ref() {
                DeValue::String(text) if text.contains('\0') => {
                    Some(Draft::error(item.span(), format!("the value of {name} has a zero byte")))
                }
                DeValue::String(text) => {
                    pairs.push((name.to_string(), text.to_string()));
                    None
                }
                other => {
                    let written = reader.source.text.get(item.span()).unwrap_or("...");
                    let draft =
                        Draft::error(item.span(), format!("{name} must be a text, not {}", described(other)));
                    let scalar = !matches!(other, DeValue::Array(_) | DeValue::Table(_));
                    Some(if scalar { draft.hint(format!("write {name} = \"{written}\"")) } else { draft })
                }
            }
        };
        complete &= problem.is_none();
        if let Some(draft) = problem {
            reader.report(draft);
        }
    }
    complete.then_some(Value::Environment(pairs))
}
