//! The application's interpreter: which one, and whether we can serve it.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;

/// A CPython that can run our extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// What is run. Where one of pyenv's shims was given, the Python that it found.
    pub(crate) path: PathBuf,
    /// A shim was given.
    shim: bool,
    /// The y of 3.y.
    pub(crate) minor: u32,
    /// Where its standard library is: `sys.base_prefix`.
    pub(crate) base: PathBuf,
}

/// How long an interpreter may take to say what it is.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Between two looks whether it is still there.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes that a shim has at most.
const SHIM_SIZE: u64 = 4096;

/// Bytes of its answer that are read.
const ANSWER_SIZE: u64 = 4096;

const PROBE: &str = "import json, sys, sysconfig; print(json.dumps([sys.implementation.name, \
                     list(sys.version_info[:2]), bool(sysconfig.get_config_var('Py_GIL_DISABLED')), sys.base_prefix, sys.executable]))";

/// The interpreter to use for the application in `directory`: `chosen`, else that of a virtual environment there, else
/// `python3` of the search path.
///
/// # Errors
/// When there is none, or it is not a CPython that we can serve; the text says which and what to do.
pub(crate) fn find(chosen: Option<&Path>, directory: &Path) -> anyhow::Result<Interpreter> {
    let none = "no Python found: there is no .venv in the application's directory and no python3 in PATH; use --python";
    let path = locate(chosen, directory)?.context(none)?;
    ask(path)
}

/// Where the interpreter of [`find`] is, without running it; `None` if nothing was chosen and there is none.
///
/// # Errors
/// When there is nothing at the path that was chosen.
pub(crate) fn locate(chosen: Option<&Path>, directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    match chosen {
        Some(path) => directory_or_search(path, directory).map(Some),
        None => {
            let virtual_environments = [".venv/bin/python", "venv/bin/python"];
            let found =
                virtual_environments.iter().map(|venv| directory.join(venv)).find(|path| path.exists());
            Ok(found.or_else(|| search("python3")))
        }
    }
}

/// Run the interpreter to see what it is.
///
/// # Errors
/// When it is not a CPython that we can serve.
pub(crate) fn ask(path: PathBuf) -> anyhow::Result<Interpreter> {
    let Answer { major, minor, base, executable } = probe(&path)?;
    if (major, minor) < (3, 10) {
        bail!("{} is Python {major}.{minor}; 3.10 or newer is needed", path.display());
    }
    let shim = is_shim(&path) && executable.is_absolute();
    let path = if shim { executable } else { path };
    Ok(Interpreter { path, shim, minor, base })
}

/// A path with a slash is relative to where we are; a bare name is looked up like a command.
fn directory_or_search(path: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let has_slash = path.components().count() > 1;
    let found = if has_slash {
        [path.to_owned(), directory.join(path)].into_iter().find(|path| path.exists())
    } else {
        path.to_str().and_then(search)
    };
    let found = found.with_context(|| format!("there is no interpreter at {}", path.display()))?;
    // Not canonical: a virtual environment's python is a link, and is found by the link's own path.
    std::path::absolute(&found).with_context(|| format!("{}", found.display()))
}

fn search(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What the interpreter prints, within `time`. Whatever it is, it cannot hold us: not by running on, not by printing
/// without end, and not by leaving somebody behind who holds its output.
fn answer_of(path: &Path, time: Duration) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new(path)
        .args(["-I", "-S", "-c", PROBE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, so that it ends with everything it started.
        .process_group(0)
        .spawn()?;
    let (sender, receiver) = sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        // The answer of a Python is far shorter; more than that is not one.
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(ANSWER_SIZE).read_to_end(&mut answer);
            // Nobody listens any more after the deadline.
            let _ = sender.send(read.map(|_| answer));
        });
    }
    let until = Instant::now() + time;
    let answer = loop {
        match receiver.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) if Instant::now() < until && !has_ended(&child) => {}
            // It is gone, but somebody still holds its output: without them, what it said is all.
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => {
                kill(&child);
                break receiver.recv_timeout(time);
            }
            answer => break answer,
        }
    };
    kill(&child);
    child.wait()?;
    match answer {
        Ok(answer) => Ok(answer?),
        Err(_) => bail!("it did not answer within {} s", time.as_secs()),
    }
}

/// Whether a process has ended. It is not reaped, so that its number stays its own.
fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), options), Ok(None)))
}

/// End a process that was not reaped and everything in its group. What is gone already needs no ending.
fn kill(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

impl Interpreter {
    /// The same by another path: a virtual environment's is a link.
    pub(crate) fn at(&self, path: &Path) -> Interpreter {
        let path = if self.shim { self.path.clone() } else { path.to_owned() };
        Interpreter { path, ..self.clone() }
    }
}

/// Whether a program is one of pyenv's shims: a script that looks for the Python that is meant, at every start and with the
/// help of files that an isolated application does not see. Other scripts may do more, and are left in place.
fn is_shim(path: &Path) -> bool {
    let mut start = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(SHIM_SIZE).read_to_string(&mut start));
    read.is_ok() && start.starts_with("#!") && start.contains("export PYENV_ROOT=")
}

/// What an interpreter says of itself.
struct Answer {
    major: u32,
    minor: u32,
    base: PathBuf,
    executable: PathBuf,
}

fn probe(path: &Path) -> anyhow::Result<Answer> {
    let shown = path.display();
    let answer =
        answer_of(path, PROBE_TIME).with_context(|| format!("cannot run the interpreter {shown}"))?;
    let not_python =
        || format!("{shown} is not a Python interpreter: it did not answer what every Python answers");
    let answer: Value = serde_json::from_slice(&answer).with_context(not_python)?;
    let number = |index: usize| answer[1][index].as_u64().and_then(|number| u32::try_from(number).ok());
    let (Some(name), Some(major), Some(minor)) = (answer[0].as_str(), number(0), number(1)) else {
        bail!(not_python());
    };
    if name != "cpython" {
        bail!("{shown} is {name}; only CPython can be served");
    }
    if answer[2].as_bool() == Some(true) {
        bail!("{shown} is a free-threaded build of Python {major}.{minor}; use an ordinary build");
    }
    let path = |index: usize| answer[index].as_str().map(PathBuf::from).unwrap_or_default();
    Ok(Answer { major, minor, base: path(3), executable: path(4) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn answer_to(script: &str, time: Duration) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("python");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let answer = answer_of(&path, time).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Far longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn nothing_that_is_no_interpreter_can_hold_us() {
        assert_eq!(answer_to("echo yes", LONG), Ok("yes\n".to_owned()));
        let hangs = answer_to("exec sleep 1000", Duration::from_millis(200));
        assert_eq!(hangs, Err("it did not answer within 0 s".to_owned()));
        // Somebody else holds the output, and would for a long time.
        let begun = Instant::now();
        assert_eq!(answer_to("sleep 1000 &\necho left", LONG), Ok("left\n".to_owned()));
        let endless = answer_to("while :; do echo more; done", LONG).map(|text| text.len() as u64);
        assert_eq!(endless, Ok(ANSWER_SIZE));
        assert!(begun.elapsed() < LONG, "waited for what does not end");
    }
}
