//! The JSON Schema of the file, for editors. Made from the table of settings.
//!
//! Draft 7, which the editors' TOML extensions know. It is a little laxer than the reader: bounds of quantities with units and
//! whatever concerns two values at once is left to `serpentry check`.

use serde_json::{Map, Value, json};
use toml::de::DeValue;

use crate::plan::Tenancy;
use crate::table::{APP, Fallback, HOST, Kind, LIMITS, OVERRIDES, Section, Setting, Unlimited};

/// Numbers with these units; spaces between are allowed.
const DURATION: &str = r"[0-9]+(\.[0-9]+)? *(ms|s|m|h)|0+(\.0+)?";
const SIZE: &str = r"[0-9]+(\.[0-9]+)? *([KMGT]iB|[kMGT]?B)|0+(\.0+)?";
const RATE: &str = r"[0-9]+(\.[0-9]+)? *([KMGT]iB|[kMGT]?B)/s|[0-9]+ *ops/s";
const BANDWIDTH: &str = r"[0-9]+(\.[0-9]+)? *([KMGT]iB|[kMGT]?B|[kMG]bit)/s";

/// The names of applications.
const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// The schema as text, with a line end.
pub fn text() -> String {
    let defaults = {
        let mut table = section(&APP);
        if let Some(properties) = table["properties"].as_object_mut() {
            properties.remove("routes");
        }
        if let Some(table) = table.as_object_mut() {
            table.remove("required");
        }
        table
    };
    // What [defaults] says need not be said again, so nothing is required of an application here.
    let mut app = section(&APP);
    if let Some(app) = app.as_object_mut() {
        app.remove("required");
    }
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "serpentry.toml",
        "description": "Python web applications hosted by Serpentry.",
        "type": "object",
        "additionalProperties": false,
        "required": ["apps"],
        "properties": {
            "host": section(&HOST),
            "defaults": defaults,
            "apps": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": false,
                "patternProperties": { NAME: app },
            },
        },
    });
    format!("{schema:#}\n")
}

fn section(section: &Section) -> Value {
    let settings = section.settings.iter();
    let properties: Map<String, Value> =
        settings.clone().map(|setting| (setting.name.to_owned(), property(setting))).collect();
    let required: Vec<&str> = settings
        .filter(|setting| matches!(setting.default, Fallback::Required))
        .map(|setting| setting.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": section.about,
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(setting: &Setting) -> Value {
    let mut schema = kind(setting.kind);
    let shared = setting.default.text(Tenancy::Shared);
    let about = match setting.default {
        Fallback::Found(how) => format!("{} Default: {how}.", setting.about),
        Fallback::ByTenancy { shared, isolated } => {
            format!("{} Default: {shared} (shared), {isolated} (isolated).", setting.about)
        }
        Fallback::Is(_) | Fallback::Required => setting.about.to_owned(),
    };
    schema["description"] = json!(about);
    if let (Fallback::Is(_), Some(value)) = (setting.default, shared.and_then(to_json)) {
        schema["default"] = value;
    }
    if let (Some(example), None) = (to_json(setting.example), schema.get("properties")) {
        schema["examples"] = json!([example]);
    }
    schema
}

fn kind(kind: Kind) -> Value {
    let text = || json!({ "type": "string", "minLength": 1 });
    let texts = || json!({ "type": "array", "items": { "type": "string", "minLength": 1 } });
    match kind {
        Kind::Callable | Kind::Directory | Kind::Log | Kind::Hook | Kind::Interpreter | Kind::Application => {
            text()
        }
        Kind::Proxies => json!({ "type": "string" }),
        Kind::User => {
            json!({ "type": ["string", "integer"], "minLength": 1, "minimum": 0, "maximum": 4_294_967_294_u32 })
        }
        Kind::Prefix => json!({ "type": "string", "pattern": "^/" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer { min, max, none } => {
            let lowest = if none == Unlimited::WordOrZero { 0 } else { min };
            or_none(json!({ "type": "integer", "minimum": lowest, "maximum": max }), none)
        }
        Kind::Number { min, max, none } => {
            or_none(json!({ "type": "number", "minimum": min, "maximum": max }), none)
        }
        Kind::Duration { none, .. } => pattern(DURATION, none),
        Kind::Size { none, .. } => pattern(SIZE, none),
        Kind::Rate => pattern(RATE, Unlimited::Word),
        Kind::Bandwidth => pattern(BANDWIDTH, Unlimited::Word),
        Kind::Choice(words) => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            json!({ "type": "string", "enum": words })
        }
        Kind::Addresses => {
            let mut list = texts();
            list["minItems"] = json!(1);
            list
        }
        Kind::Routes => texts(),
        Kind::Workers => workers(),
        Kind::Environment => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Limits => section(&LIMITS),
        Kind::Overrides => json!({ "type": "array", "items": section(&OVERRIDES) }),
    }
}

fn workers() -> Value {
    let count = |min: u64| json!({ "type": "integer", "minimum": min, "maximum": crate::read::MOST_WORKERS });
    json!({ "oneOf": [
        count(1),
        {
            "type": "object",
            "additionalProperties": false,
            "required": ["max"],
            "properties": { "min": count(0), "max": count(1), "idle": pattern(DURATION, Unlimited::Never) },
        },
    ] })
}

fn pattern(pattern: &str, none: Unlimited) -> Value {
    let none = if none == Unlimited::Never { "" } else { "|none" };
    json!({ "type": "string", "pattern": format!("^({pattern}{none})$") })
}

fn or_none(schema: Value, none: Unlimited) -> Value {
    if none == Unlimited::Never { schema } else { json!({ "oneOf": [schema, { "const": "none" }] }) }
}

/// A value written in TOML as JSON.
fn to_json(text: &str) -> Option<Value> {
    DeValue::parse(text).ok().map(|value| convert(value.get_ref()))
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(number.as_str().parse::<i64>().ok()),
        DeValue::Float(number) => json!(number.as_str().parse::<f64>().ok()),
        DeValue::Boolean(flag) => json!(flag),
        DeValue::Datetime(date) => json!(date.to_string()),
        DeValue::Array(items) => items.iter().map(|item| convert(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let pairs =
                table.iter().map(|(key, value)| (key.get_ref().to_string(), convert(value.get_ref())));
            Value::Object(pairs.collect())
        }
    }
}
