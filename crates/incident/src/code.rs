//! Codes, and the shape of what the catalogue says about each.

use std::fmt;

use crate::catalogue::FAMILIES;

macro_rules! codes {
    ($($code:ident)*) => {
        /// One cause of failure: a letter for its family and two digits. 99 is always our own fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($code),* }

        impl Code {
            /// In the order of the catalogue.
            pub const ALL: &[Code] = &[$(Code::$code),*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$code => stringify!($code)),* }
            }
        }
    };
}

codes! {
    A10 A11 A20 A21 A22 A30 A31
    C10 C11 C20 C21 C22
    M10 M11 M20 M30 M31
    D10 D11 D20 D30
    N10 N11 N12 N20 N21 N22 N23 N30
    P10 P11
    H10 H99
}

impl Code {
    /// Small letters are read too.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(name))
    }

    /// What the catalogue says about it.
    #[must_use]
    pub fn entry(self) -> &'static Entry {
        let found = FAMILIES.iter().flat_map(|family| family.entries).find(|entry| entry.code == self);
        // A test sees to it that every code has one.
        found.unwrap_or(&FAMILIES[0].entries[0])
    }

    #[must_use]
    pub fn family(self) -> &'static Family {
        let letter = self.as_str().as_bytes()[0];
        FAMILIES.iter().find(|family| family.letter as u8 == letter).unwrap_or(&FAMILIES[0])
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Codes that concern the same thing.
#[derive(Debug)]
pub struct Family {
    pub letter: char,
    pub title: &'static str,
    pub entries: &'static [Entry],
}

/// What is known about a code before anything happens.
#[derive(Debug)]
pub struct Entry {
    pub code: Code,
    /// A few words.
    pub title: &'static str,
    /// What visitors are answered, if they notice.
    pub status: Option<u16>,
    pub severity: Severity,
    /// What ran short, if it was that: its figures are the evidence `limit` and `used`.
    pub resource: Option<&'static str>,
    pub evidence: &'static [Evidence],
    /// At least one. Each is told from the others by what is known, never by guessing.
    pub causes: &'static [Cause],
}

/// One figure or text that proves a cause.
#[derive(Debug)]
pub struct Evidence {
    /// In JSON, with the unit in the name unless it has none.
    pub key: &'static str,
    pub unit: Unit,
    pub merge: Merge,
    pub about: &'static str,
}

/// A variant of a code.
#[derive(Debug)]
pub struct Cause {
    /// In JSON and metrics; it does not change.
    pub name: &'static str,
    /// See [`crate::sentence`].
    pub sentence: &'static str,
    /// What to do: a command, or a line of the configuration, and what it is good for.
    pub remedy: &'static str,
}

/// What kind of value it is, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of things.
    Count,
    Bytes,
    BytesPerSecond,
    /// Of things.
    PerSecond,
    Seconds,
    Milliseconds,
    Percent,
    Cores,
    /// A number of Linux, such as 11.
    Signal,
    /// One line.
    Text,
    /// Several lines, such as a traceback; not for sentences.
    Block,
}

/// What becomes of a value when the same is detected again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    Last,
    Sum,
    Most,
}

/// How bad it is. It is a field and not part of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A client's own doing, or worth knowing: nothing to do for the host's operator.
    Notice,
    /// It works, but not as it should, or not for long.
    Warning,
    /// Visitors are answered errors, or soon will be.
    Error,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl Entry {
    /// The cause of that name; the first one if there is none.
    #[must_use]
    pub fn cause(&self, name: &str) -> &'static Cause {
        self.causes.iter().find(|cause| cause.name == name).unwrap_or(&self.causes[0])
    }

    #[must_use]
    pub fn evidence(&self, key: &str) -> Option<&'static Evidence> {
        self.evidence.iter().find(|evidence| evidence.key == key)
    }
}

impl Unit {
    /// A key of JSON says the unit of its value, unless it is a plain number or text.
    #[cfg(test)]
    pub(crate) fn is_told_by(self, key: &str) -> bool {
        let suffix = match self {
            Unit::Count | Unit::Signal | Unit::Text | Unit::Block => return true,
            Unit::Bytes => "_bytes",
            Unit::BytesPerSecond => "_bytes_per_second",
            Unit::PerSecond => "_per_second",
            Unit::Seconds => "_seconds",
            Unit::Milliseconds => "_ms",
            Unit::Percent => "_percent",
            Unit::Cores => "_cores",
        };
        key.ends_with(suffix)
    }

    /// For the documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::Bytes => "bytes",
            Unit::BytesPerSecond => "bytes per second",
            Unit::PerSecond => "per second",
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
            Unit::Percent => "percent",
            Unit::Cores => "cores",
            Unit::Signal => "signal number",
            Unit::Text => "text",
            Unit::Block => "lines of text",
        }
    }
}
