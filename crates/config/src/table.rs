//! The table of settings: every key of the file, once.
//!
//! Names, kinds, bounds, defaults, documentation and examples. The reader of the file, "did you mean", the JSON Schema, the
//! reference page, `serpentry check --print` and the tests all walk this table; no key is known anywhere else. Defaults and
//! examples are written as they would be in the file and go through the same reader as the file's own values.
//!
//! Not here: how a value is read (`read.rs`), and what values mean together (`resolve.rs`, `conflict.rs`).

mod app;
mod host;
mod limits;
mod overrides;

pub use app::APP;
pub use host::HOST;
pub use limits::LIMITS;
pub use overrides::OVERRIDES;

use crate::plan::Tenancy;

/// One table of the file.
#[derive(Debug)]
pub struct Section {
    /// As it is named in messages: `[host]`, `[apps.NAME]`.
    pub title: &'static str,
    pub about: &'static str,
    pub settings: &'static [Setting],
}

impl Section {
    /// The setting of that name.
    pub fn setting(&self, name: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

/// One key.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Fallback,
    /// One paragraph for the reference and for editors.
    pub about: &'static str,
    /// A value as in the file.
    pub example: &'static str,
}

/// What a setting has when the file does not say.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// It must be in the file.
    Required,
    /// This value, as it would be in the file.
    Is(&'static str),
    /// Depends on the application's tenancy.
    ByTenancy { shared: &'static str, isolated: &'static str },
    /// Depends on something else: a sentence that says on what.
    Found(&'static str),
}

impl Fallback {
    /// The value as in the file, if it is a constant for that tenancy.
    pub fn text(self, tenancy: Tenancy) -> Option<&'static str> {
        match (self, tenancy) {
            (Self::Is(text), _)
            | (Self::ByTenancy { shared: text, .. }, Tenancy::Shared)
            | (Self::ByTenancy { isolated: text, .. }, Tenancy::Isolated) => Some(text),
            (Self::Required | Self::Found(_), _) => None,
        }
    }
}

/// What can be the value of a setting. Bounds are inclusive, times in milliseconds, sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `module:attribute`.
    Callable,
    Flag,
    Integer {
        min: u64,
        max: u64,
        none: Unlimited,
    },
    Number {
        min: f64,
        max: f64,
        none: Unlimited,
    },
    Duration {
        min: u64,
        max: u64,
        none: Unlimited,
    },
    Size {
        min: u64,
        max: u64,
        none: Unlimited,
    },
    /// Bytes or operations per second, or "none".
    Rate,
    /// Bytes per second, or "none".
    Bandwidth,
    /// One of these words, each with what it means.
    Choice(&'static [(&'static str, &'static str)]),
    /// A directory, relative to that of the file.
    Directory,
    /// A file, relative to the directory of the configuration, "-" or "none".
    Log,
    /// A program, relative to the directory of the configuration, a URL, or "none".
    Hook,
    /// A path, or the name of a command.
    Interpreter,
    /// The name or number of a user of the system.
    User,
    /// Addresses to listen on.
    Addresses,
    /// Addresses and networks separated by commas, or "*".
    Proxies,
    /// The name of an application of the file.
    Application,
    Routes,
    Workers,
    /// A table of strings.
    Environment,
    /// "/PATH".
    Prefix,
    /// The table of limits inside an application's.
    Limits,
    /// The list of overrides inside an application's table.
    Overrides,
}

/// Whether "no limit" can be said, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlimited {
    /// There is always a limit.
    Never,
    /// `"none"`.
    Word,
    /// `"none"`, or zero of the ordinary kind.
    WordOrZero,
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Longest time of a setting: a week. Longer ones are mistakes of unit.
const WEEK: u64 = 7 * 24 * HOUR;

/// A time that is always limited.
const fn time() -> Kind {
    Kind::Duration { min: 1, max: WEEK, none: Unlimited::Never }
}

/// A time that may be unlimited.
const fn optional_time() -> Kind {
    Kind::Duration { min: 1, max: WEEK, none: Unlimited::WordOrZero }
}

/// A number that is always limited.
const fn count(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max, none: Unlimited::Never }
}
