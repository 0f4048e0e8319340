//! What a test needs before it can start the program: a folder of its own, an interpreter, the command.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tempfile::TempDir;

use crate::program::Program;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_serpentry");

/// Read by the program, so that the variables of whoever runs the tests must not get in.
const VARIABLES: [&str; 10] = [
    "FORWARDED_ALLOW_IPS",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NO_COLOR",
    "PORT",
    "SERPENTRY_STATE",
    "STATE_DIRECTORY",
    "VIRTUAL_ENV",
    "WEB_CONCURRENCY",
];

/// One test at a time: two of them on few cores would disturb each other's deadlines, and a process that one test is just
/// forking would for a moment hold the files that another has open for writing, which then cannot be executed.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A test's own folder, which is also the application's directory. Gone with everything in it when dropped.
pub(crate) struct TestContext {
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl TestContext {
    /// A folder that holds `hello.py`.
    pub(crate) fn new() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let target = Path::new(PROGRAM).parent().and_then(Path::parent).unwrap();
        assert!(
            target.join("ext/boot.py").is_file(),
            "this development build has no Python side: run `cargo xtask worker` first"
        );
        let ctx = TestContext {
            folder: tempfile::Builder::new().prefix("serpentry-it-").tempdir().unwrap(),
            _turn: turn,
        };
        ctx.write("hello.py", include_str!("apps/hello.py"));
        ctx
    }

    /// The application's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Write a file, its folders included.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Write a shell script that can be executed. `PYTHON` in it stands for the interpreter.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let text = text.replace("PYTHON", &python().display().to_string());
        let path = self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// `serpentry ARGUMENTS`, run in the test's folder, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(PROGRAM), arguments)
    }

    /// The same with another copy of the program.
    pub(crate) fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.directory())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
    }

    /// Start `serpentry serve ARGUMENTS` on a free port with the interpreter of these tests.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Program {
        Program::start(self.serve_command(arguments))
    }

    /// The same, not started yet.
    pub(crate) fn serve_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["serve", "--bind", "127.0.0.1:0"]);
        command.arg("--python").arg(python()).args(arguments);
        command
    }

    /// Run to the end and return the transcript: `exit N`, standard output, standard error; this test's folder is `DIR`.
    pub(crate) fn run(&self, command: Command) -> String {
        self.masked(&Program::start(command).transcript())
    }

    /// `text` without what differs between runs.
    pub(crate) fn masked(&self, text: &str) -> String {
        text.replace(&self.directory().display().to_string(), "DIR")
    }
}

/// The interpreter of these tests: `python3` of the search path if it is new enough, else the newest that pyenv has.
pub(crate) fn python() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        std::iter::once(PathBuf::from("python3"))
            .chain(pyenv_pythons().into_iter().rev())
            .find_map(|python| executable_if(&python, "sys.version_info >= (3, 10)"))
            .expect("no CPython 3.10 or newer, neither as python3 in PATH nor in pyenv")
    })
}

/// An interpreter that is too old to be served, if this machine has one.
pub(crate) fn old_python() -> Option<PathBuf> {
    pyenv_pythons()
        .into_iter()
        .rev()
        .find_map(|python| executable_if(&python, "(3, 0) <= sys.version_info < (3, 10)"))
}

/// Every interpreter that pyenv has, oldest name first.
fn pyenv_pythons() -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let mut found: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/python3"))
        .filter(|python| python.is_file())
        .collect();
    found.sort();
    found
}

/// The executable behind `python` (which may be a wrapper such as pyenv's, that costs a shell per start) if `condition`
/// holds there.
fn executable_if(python: &Path, condition: &str) -> Option<PathBuf> {
    let code = format!("import sys; print(sys.executable if {condition} else '')");
    let output = Command::new(python).args(["-c", &code]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
}

/// Why a test, or a part of one, was not run. Said on standard error, where the test runners show it.
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether these tests run as the superuser, whom file modes do not stop.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
