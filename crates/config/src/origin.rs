//! Where every value of a plan came from, for `check --print` and for complaints about what only the operating system knows.
//!
//! Kept beside the plan, not in it: two files that say the same in different lines are the same plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, Related, Severity, locate};
use crate::plan::Tenancy;
use crate::source::{Source, Span};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This line of the table itself.
    File { line: usize },
    /// This line of `[defaults]`.
    Defaults { line: usize },
    /// This variable of the environment.
    Environment(&'static str),
    /// Built in, and the same for all.
    BuiltIn,
    /// Built in, and different for the other tenancy.
    Tenancy(Tenancy),
    /// Found out: a sentence.
    Derived(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { line } => write!(to, "from line {line}"),
            Self::Defaults { line } => write!(to, "[defaults] line {line}"),
            Self::Environment(name) => write!(to, "from ${name}"),
            Self::BuiltIn => to.write_str("default"),
            Self::Tenancy(tenancy) => write!(to, "default ({tenancy})"),
            Self::Derived(how) => to.write_str(how),
        }
    }
}

/// Which table of the plan is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    Host,
    /// By name.
    App(&'a str),
}

/// The places of all values of one plan. Keys are those of the file; inside limits as in `limits.memory`.
#[derive(Debug, Clone)]
pub struct Origins {
    pub(crate) source: Arc<Source>,
    pub(crate) host: Places,
    pub(crate) apps: HashMap<String, Places>,
}

/// The places of one table's values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// The name of the application.
    pub(crate) header: Option<Span>,
    pub(crate) values: BTreeMap<String, (Origin, Option<Span>)>,
    /// In the order of the plan: routes of the application, addresses of the host.
    pub(crate) items: Vec<Span>,
}

impl Origins {
    /// Where a value came from. What is not known here is built in.
    pub fn origin(&self, place: Place<'_>, key: &str) -> Origin {
        let found = self.places(place).and_then(|places| places.values.get(key));
        found.map_or(Origin::BuiltIn, |(origin, _)| origin.clone())
    }

    /// Where in the file each value of an application is that the file says: by key, as `PATH:LINE`.
    pub fn lines(&self, app: &str) -> BTreeMap<String, String> {
        let Some(places) = self.apps.get(app) else { return BTreeMap::new() };
        let said = places.values.iter().filter_map(|(key, (origin, _))| match origin {
            Origin::File { line } | Origin::Defaults { line } => Some((key.clone(), self.at(*line))),
            _ => None,
        });
        said.collect()
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.source.path)
    }

    /// The line where an application begins.
    pub fn line(&self, app: &str) -> Option<usize> {
        let header = self.apps.get(app)?.header.as_ref()?;
        Some(self.source.line(header.start))
    }

    /// Something that only the operating system knows is wrong with a value: a directory does not exist, a port is taken.
    ///
    /// It points at the value; at the application if the value is not in the file; at nothing if that is not there either.
    pub fn diagnostic(
        &self,
        place: Place<'_>,
        key: &str,
        severity: Severity,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        let places = self.places(place);
        let found = places.and_then(|places| places.values.get(key));
        let shared = matches!(found, Some((Origin::Defaults { .. }, _)));
        let header = places.and_then(|places| places.header.clone());
        let value = found.and_then(|(_, span)| span.clone());
        self.build(value, header, shared, severity, message.into(), hint.into())
    }

    /// The same for one of the host's addresses or one of an application's routes, by its index in the plan.
    pub fn item_diagnostic(
        &self,
        place: Place<'_>,
        index: usize,
        severity: Severity,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        let places = self.places(place);
        let value = places.and_then(|places| places.items.get(index)).cloned();
        let header = places.and_then(|places| places.header.clone());
        self.build(value, header, false, severity, message.into(), hint.into())
    }

    /// An empty list for the diagnostics of this file.
    pub fn diagnostics(&self) -> Diagnostics {
        Diagnostics::new(Arc::clone(&self.source))
    }

    /// `shared`: the value is a default, so which application it hurts must be said.
    fn build(
        &self,
        value: Option<Span>,
        header: Option<Span>,
        shared: bool,
        severity: Severity,
        message: String,
        hint: String,
    ) -> Diagnostic {
        let mut related = Vec::new();
        if let (true, Some(header)) = (shared, &header) {
            let location = locate(&self.source, header.clone());
            related.push(Related { message: "for this application".to_owned(), location });
        }
        let location = value.or(header).map(|span| locate(&self.source, span));
        Diagnostic { severity, message, location, hint: Some(hint), related }
    }

    fn places(&self, place: Place<'_>) -> Option<&Places> {
        match place {
            Place::Host => Some(&self.host),
            Place::App(name) => self.apps.get(name),
        }
    }
}
