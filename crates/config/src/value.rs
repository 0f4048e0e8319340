//! A value of the file after it was checked against the kind of its setting, and how the resolver takes it out again.

use std::time::Duration;

use crate::names::Named;
use crate::plan::{Rate, Route, RouteOverride, Workers};
use crate::section::Layer;
use crate::source::Span;

/// Checked, but not yet put together with anything else.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// "No limit".
    Nothing,
    Text(String),
    Flag(bool),
    Count(u64),
    Number(f64),
    Duration(Duration),
    Bytes(u64),
    Rate(Rate),
    Word(&'static str),
    Texts(Vec<(String, Span)>),
    Routes(Vec<(Route, Span)>),
    Workers(Workers),
    /// Name, value, and where the pair stands.
    Environment(Vec<(String, String)>),
    Layer(Layer),
    Overrides(Vec<(RouteOverride, Span)>),
}

/// What a setting's value is turned into; `None` if the setting is of another kind, which the table's tests rule out.
pub(crate) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $result:expr,)+) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $pattern => $result,
                    _ => None,
                }
            }
        }
    )+};
}

from_value! {
    String: Value::Text(text) => Some(text.clone()),
    bool: Value::Flag(flag) => Some(*flag),
    u32: Value::Count(count) => u32::try_from(*count).ok(),
    usize: Value::Count(count) => usize::try_from(*count).ok(),
    u64: Value::Count(number) | Value::Bytes(number) => Some(*number),
    f64: Value::Number(number) => Some(*number),
    Duration: Value::Duration(duration) => Some(*duration),
    Rate: Value::Rate(rate) => Some(*rate),
    Workers: Value::Workers(workers) => Some(*workers),
    Vec<(String, Span)>: Value::Texts(texts) => Some(texts.clone()),
    Vec<(Route, Span)>: Value::Routes(routes) => Some(routes.clone()),
    Vec<(String, String)>: Value::Environment(pairs) => Some(pairs.clone()),
    Vec<RouteOverride>: Value::Overrides(list) => Some(list.iter().map(|(one, _)| one.clone()).collect()),
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Nothing => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// A word of a [`Named`] enumeration. Not an implementation of [`FromValue`], which would overlap with the others.
pub(crate) fn word<T: Named>(value: &Value) -> Option<T> {
    match value {
        Value::Word(word) => T::from_name(word),
        _ => None,
    }
}
