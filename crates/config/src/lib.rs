//! `serpentry.toml`: from bytes, through diagnostics, to a resolved plan.
//!
//! ```text
//! bytes -> parse (toml, spans) -> document (every key and value by itself) -> resolve (layers) -> conflict -> Plan + Origins
//!             \________________________\______________________________________\___________________/
//!                                        Diagnostics: all at once
//! ```
//!
//! Pure: no files, no environment, no clock, no threads. What the file means can depend on the environment; the caller says
//! what that is ([`Environment`]). What only the operating system knows (does the directory exist?) is checked by the caller,
//! who makes diagnostics for it with [`Origins::diagnostic`].
//!
//! Every key is described once, in [`table`]; the reader, the JSON Schema and the reference page come from there.

mod conflict;
mod diagnostic;
mod document;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod names;
mod origin;
mod parse;
pub mod plan;
mod print;
mod read;
pub mod reference;
mod render;
mod resolve;
pub mod schema;
mod section;
mod show;
mod source;
mod suggest;
pub mod table;
mod units;
mod value;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

pub use diagnostic::{Diagnostic, Diagnostics, Location, Related, SHOWN, Severity};
pub use names::Named;
pub use origin::{Origin, Origins, Place};
pub use parse::LARGEST_FILE;
pub use plan::{
    AccessLogFormat, App, Concurrency, Egress, Enforcement, EventLoop, Hook, Host, HostPattern, Interface,
    Lifespan, Limits, LogLevel, Plan, Rate, Route, RouteOverride, Tenancy, Workers,
};
pub use print::print;

/// What the file's meaning depends on besides its text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The directory of the file, absolute: relative paths begin there.
    pub directory: PathBuf,
    /// `STATE_DIRECTORY`, as a service manager sets it.
    pub state_directory: Option<String>,
    /// `PORT`.
    pub port: Option<String>,
    /// `FORWARDED_ALLOW_IPS`.
    pub forwarded_allow_ips: Option<String>,
    /// Applications that were moved since the host started, by name.
    pub moved: BTreeMap<String, Move>,
}

/// An application was given another tenancy than the file says. Holds until the file says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// What the file said.
    pub from: Tenancy,
    pub to: Tenancy,
}

/// A file that can be used.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub plan: Plan,
    pub origins: Origins,
    /// No errors, but what its author should know.
    pub warnings: Diagnostics,
}

/// Read a configuration file. `path` is only shown.
///
/// # Errors
/// All that is wrong with it, in the order of the file, errors and warnings.
pub fn load(bytes: &[u8], path: &str, environment: &Environment) -> Result<Resolved, Diagnostics> {
    let (plan, origins, all) = resolve(bytes, path, environment)?;
    if all.has_errors() { Err(all) } else { Ok(Resolved { plan, origins, warnings: all }) }
}

/// The state directory that a file asks for, also when it has mistakes elsewhere. `None` when it cannot be read at all.
pub fn state_directory(bytes: &[u8], environment: &Environment) -> Option<PathBuf> {
    resolve(bytes, "", environment).ok().map(|(plan, _, _)| plan.host.state)
}

/// What the file comes to as far as it can be told, and all that is wrong with it.
fn resolve(
    bytes: &[u8],
    path: &str,
    environment: &Environment,
) -> Result<(Plan, Origins, Diagnostics), Diagnostics> {
    let source = parse::text(bytes, path)?;
    let mut all = Diagnostics::new(Arc::clone(&source));
    let tree = parse::parse(&source, &mut all);
    let broken: HashSet<usize> = tree.broken;
    let mut reader = read::Reader::new(&source, &mut all, &broken);
    let document = document::read(&tree.root, &mut reader);
    let (plan, origins) = resolve::resolve(&document, environment, &source, &mut reader);
    conflict::check(&plan, &origins, &document, &mut reader);
    all.sort();
    Ok((plan, origins, all))
}
