//! From a configuration file to a plan that this machine can carry out: reading the file, and what only the operating system
//! knows about what stands in it.
//!
//! For `check`, `host` and reloading alike, so that what one accepts no other refuses. Nothing is started and nothing is
//! changed. Not here: what the file means (crate `config`).

mod file;
mod machine;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Diagnostics, Environment, Move, Origins, Plan};

use crate::interpreter::Interpreter;

/// A file that can be used.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    /// For complaints about what comes to light later: a port is taken, for example.
    pub(crate) origins: Origins,
    pub(crate) warnings: Diagnostics,
    /// By the name of the application.
    pub(crate) interpreters: BTreeMap<String, Interpreter>,
    pub(crate) read: Read,
}

/// A file as it was read, for whoever wants to know what it means when something else than the file changes.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    bytes: Arc<[u8]>,
    shown: String,
    environment: Environment,
}

impl Read {
    /// What the same file means with these applications moved. Not for the host's own thread: files can be large.
    ///
    /// # Errors
    /// All that is wrong with that.
    pub(crate) fn with_moves(&self, moved: &BTreeMap<String, Move>) -> Result<Plan, Report> {
        let environment = Environment { moved: moved.clone(), ..self.environment.clone() };
        config::load(&self.bytes, &self.shown, &environment).map(|resolved| resolved.plan).map_err(Report)
    }
}

/// A file that cannot be used: all that is wrong with it.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) Diagnostics);

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (errors, warnings) = self.0.counts();
        write!(to, "the configuration has {}", counted(errors, "error"))?;
        if warnings > 0 {
            write!(to, " and {}", counted(warnings, "warning"))?;
        }
        write!(to, "\n{}", self.0.render(false).trim_end())
    }
}

impl std::error::Error for Report {}

/// Load a configuration file and check it against this machine. `moved`: see [`Environment::moved`].
///
/// # Errors
/// All that is wrong, as one report.
pub(crate) fn load(path: &Path, moved: &BTreeMap<String, Move>) -> Result<Loaded, Report> {
    let shown = path.display().to_string();
    let refuse =
        |problem: file::Problem| Report(Diagnostics::of_file(&shown, &problem.message, &problem.hint));
    let bytes = file::read(path).map_err(refuse)?;
    let environment = Environment { moved: moved.clone(), ..environment(path).map_err(refuse)? };
    let resolved = config::load(&bytes, &shown, &environment).map_err(Report)?;

    let mut all = resolved.warnings;
    let interpreters = machine::check(&resolved.plan, &resolved.origins, &mut all);
    all.sort();
    if all.has_errors() {
        return Err(Report(all));
    }
    let read = Read { bytes: bytes.into(), shown, environment };
    Ok(Loaded { plan: resolved.plan, origins: resolved.origins, warnings: all, interpreters, read })
}

/// What the meaning of the file depends on.
fn environment(path: &Path) -> Result<Environment, file::Problem> {
    let absolute = std::path::absolute(path).map_err(|error| file::Problem {
        message: format!("cannot tell where the file is: {error}"),
        hint: "give its path in full".to_owned(),
    })?;
    let variable = |name: &str| std::env::var(name).ok();
    Ok(Environment {
        directory: absolute.parent().unwrap_or(Path::new("/")).components().collect(),
        state_directory: variable("STATE_DIRECTORY"),
        port: variable("PORT"),
        forwarded_allow_ips: variable("FORWARDED_ALLOW_IPS"),
        moved: BTreeMap::new(),
    })
}

/// The state directory of the file in the current directory, for whoever looks for its host. A file with mistakes still
/// tells it, if the mistakes are elsewhere: the host that runs may have been started before they were made.
pub(crate) fn state_here() -> Option<PathBuf> {
    let path = Path::new("serpentry.toml");
    let bytes = file::read(path).ok()?;
    config::state_directory(&bytes, &environment(path).ok()?)
}

/// Whether standard error is to be coloured: https://no-color.org.
pub(crate) fn colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    std::io::stderr().is_terminal() && !refused && !dumb
}

/// "1 error", "2 errors".
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
