//! What a detector says, before it is booked.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::code::{Code, Merge, Unit};
use crate::id::Id;
use crate::text;

/// One observation that has a name in the catalogue. Everything in it may come from a tenant or a client and is raw; the
/// book cuts what is too long.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    pub code: Code,
    /// One of the catalogue's names for this code.
    pub cause: &'static str,
    /// The application concerned; `None`: the host as a whole.
    pub app: Option<String>,
    pub worker: Option<WorkerRef>,
    /// What visitors were told already, if they were.
    pub id: Option<Id>,
    /// How often it happened.
    pub count: u64,
    pub facts: Facts,
    /// Requests that were affected: a few, not necessarily all.
    pub requests: Vec<Request>,
}

/// A worker: its number at the host, and its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerRef {
    pub id: u64,
    pub pid: Option<u32>,
}

/// A request that was affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As in the access log and in `X-Request-Id`.
    pub id: String,
    pub method: String,
    /// Raw, without the query.
    pub path: String,
    /// How long ago it had arrived.
    pub age: Duration,
    /// "answered 502", "run again", ...
    pub outcome: &'static str,
}

/// The value of a piece of evidence.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Text(String),
}

/// Evidence by the catalogue's keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(BTreeMap<&'static str, Value>);

/// Evidence that arrives later than its detection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detail {
    pub facts: Facts,
    pub requests: Vec<Request>,
}

impl Detection {
    #[must_use]
    pub fn new(code: Code, cause: &'static str, app: Option<&str>) -> Self {
        Detection {
            code,
            cause,
            app: app.map(str::to_owned),
            worker: None,
            id: None,
            count: 1,
            facts: Facts::default(),
            requests: Vec::new(),
        }
    }

    /// Add a figure; one that is not known is left out.
    #[must_use]
    pub fn number(mut self, key: &'static str, value: impl Into<Option<f64>>) -> Self {
        self.facts.number(key, value);
        self
    }

    /// Add a text; an empty one is left out.
    #[must_use]
    pub fn text(mut self, key: &'static str, value: impl AsRef<str>) -> Self {
        self.facts.text(key, value);
        self
    }
}

impl Facts {
    pub fn number(&mut self, key: &'static str, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into().filter(|value| value.is_finite()) {
            self.0.insert(key, Value::Number(value));
        }
    }

    pub fn text(&mut self, key: &'static str, value: impl AsRef<str>) {
        if !value.as_ref().is_empty() {
            self.0.insert(key, Value::Text(value.as_ref().to_owned()));
        }
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// Without what is too long for a stream.
    pub(crate) fn drop_blocks(&mut self, code: Code) {
        let is_block = |key: &str| code.entry().evidence(key).is_some_and(|it| it.unit == Unit::Block);
        self.0.retain(|key, _| !is_block(key));
    }

    /// Take over what the catalogue knows of, cut to size, joined with what is there.
    pub(crate) fn absorb(&mut self, code: Code, more: Facts) {
        for (key, value) in more.0 {
            let Some(evidence) = code.entry().evidence(key) else { continue };
            let value = match value {
                Value::Text(text) if evidence.unit == Unit::Block => {
                    Value::Text(text::cut_front(&text, text::BLOCK))
                }
                Value::Text(text) => Value::Text(text::cut(&text, text::LINE)),
                number => number,
            };
            let joined = match (self.0.get(key), value, evidence.merge) {
                (Some(Value::Number(old)), Value::Number(new), Merge::Sum) => Value::Number(old + new),
                (Some(Value::Number(old)), Value::Number(new), Merge::Most) => Value::Number(old.max(new)),
                (_, value, _) => value,
            };
            self.0.insert(key, joined);
        }
    }
}

impl Request {
    pub(crate) fn cut(self) -> Self {
        Request {
            id: text::cut(&self.id, 128),
            method: text::cut(&self.method, 32),
            path: text::cut(&self.path, text::LINE),
            ..self
        }
    }
}
