//! What this machine says to a plan: do the directories exist, are the interpreters CPythons that can be served?

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use config::{App, Diagnostics, Origins, Place, Plan, Severity};

use crate::interpreter::{self, Interpreter};

/// So many interpreters are asked at once. Each may take its whole time to answer.
const AT_ONCE: usize = 8;

/// Add what is wrong to `all`; the interpreters of the applications for which nothing is.
pub(super) fn check(plan: &Plan, origins: &Origins, all: &mut Diagnostics) -> BTreeMap<String, Interpreter> {
    access_log(plan, origins, all);
    let mut paths = BTreeMap::new();
    for app in &plan.apps {
        match directory(&app.directory).and_then(|()| locate(app)) {
            Ok(path) => {
                paths.insert(app.name.as_str(), path);
            }
            Err(problem) => add(app, origins, all, &problem),
        }
    }
    let answers = ask_all(paths.values());
    let mut found = BTreeMap::new();
    for app in &plan.apps {
        let Some(path) = paths.get(app.name.as_str()) else { continue };
        match answers.get(&identity(path)) {
            Some(Ok(interpreter)) => {
                found.insert(app.name.clone(), interpreter.at(path));
            }
            Some(Err(message)) => {
                let hint =
                    "set `python` to a CPython 3.10 or newer: a path such as .venv/bin/python, or a command";
                add(app, origins, all, &Problem { key: "python", message: message.clone(), hint });
            }
            None => {}
        }
    }
    found
}

/// What is wrong with a value of an application.
struct Problem {
    key: &'static str,
    message: String,
    hint: &'static str,
}

fn add(app: &App, origins: &Origins, all: &mut Diagnostics, problem: &Problem) {
    let place = Place::App(&app.name);
    all.push(origins.diagnostic(place, problem.key, Severity::Error, problem.message.as_str(), problem.hint));
}

fn directory(path: &Path) -> Result<(), Problem> {
    let (message, hint) = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => {
            (format!("{} is not a directory", path.display()), "set `directory` to that of the application")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (format!("the directory {} does not exist", path.display()), "create it, or correct `directory`")
        }
        Err(error) => {
            (format!("the directory {} cannot be looked at: {error}", path.display()), "who may read it?")
        }
    };
    Err(Problem { key: "directory", message, hint })
}

fn locate(app: &App) -> Result<PathBuf, Problem> {
    let problem = |message, hint| Problem { key: "python", message, hint };
    match interpreter::locate(app.python.as_deref(), &app.directory) {
        Ok(Some(path)) => Ok(path),
        Ok(None) => Err(problem(
            format!("no Python found for `{}`: no .venv in its directory, and no python3 in PATH", app.name),
            "set `python`, or create a virtual environment: python3 -m venv .venv",
        )),
        Err(error) => Err(problem(
            format!("{error:#}"),
            "a path is relative to the application's directory; a name is a command",
        )),
    }
}

/// Which program it is: thousands of virtual environments are links to a few interpreters, and each is asked once.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

type Answer = Result<Interpreter, String>;

/// Ask each interpreter once. A few at a time, so that one that does not answer does not hold up all the others.
fn ask_all<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> HashMap<PathBuf, Answer> {
    let wanted: HashMap<PathBuf, &PathBuf> = paths.map(|path| (identity(path), path)).collect();
    let threads = wanted.len().min(AT_ONCE);
    let waiting = Mutex::new(wanted.into_iter());
    let answers = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((identity, path)) = take(&waiting) {
                    // By the path that the user knows: it is in the messages.
                    let answer = interpreter::ask(path.clone()).map_err(|error| format!("{error:#}"));
                    if let Ok(mut answers) = answers.lock() {
                        answers.insert(identity, answer);
                    }
                }
            });
        }
    });
    answers.into_inner().unwrap_or_default()
}

/// The next one; not in the loop's own line, where the lock would be held while the interpreter answers.
fn take<T>(waiting: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    waiting.lock().ok()?.next()
}

/// The access log is opened when the host starts, and again and again later: its directory must be there.
fn access_log(plan: &Plan, origins: &Origins, all: &mut Diagnostics) {
    let Some(path) = plan.host.access_log.as_deref().filter(|path| *path != Path::new("-")) else { return };
    if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
        let message = format!("the directory of the access log, {}, does not exist", parent.display());
        all.push(origins.diagnostic(Place::Host, "access_log", Severity::Error, message, "create it"));
    }
}
