//! A running program: its output as it comes, its processes, its end.
//!
//! Every wait is for an event (output, end of output, exit) and has a deadline. Dropping it kills what is left of it, by
//! process id, and reaps it.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// For everything that must happen sooner or later.
const DEADLINE: Duration = Duration::from_secs(20);

/// Most bytes of an output that are kept.
const KEPT: usize = 1024 * 1024;

pub(crate) struct Program {
    pid: u32,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is known of the program by now.
#[derive(Debug, Default)]
struct State {
    stdout: Output,
    stderr: Output,
    status: Option<ExitStatus>,
}

#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// Nobody holds the other end any more: neither the program nor a worker.
    ended: bool,
}

impl Output {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        collect(&shared, stdout, |state| &mut state.stdout);
        collect(&shared, stderr, |state| &mut state.stderr);
        let pid = child.id();
        reap(&shared, child);
        Program { pid, shared }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.state().stderr.text()
    }

    /// The first line on standard error that contains `part`.
    pub(crate) fn line(&self, part: &str) -> String {
        self.nth_line(part, 1)
    }

    /// The same for one of several such lines, counted from 1.
    pub(crate) fn nth_line(&self, part: &str, number: usize) -> String {
        self.wait(part, |state| {
            let text = state.stderr.text();
            let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            complete.lines().filter(|line| line.contains(part)).nth(number - 1).map(str::to_owned)
        })
    }

    /// Wait until standard output has so many lines.
    pub(crate) fn stdout_lines(&self, number: usize) {
        self.wait("lines on standard output", |state| {
            (state.stdout.text().matches('\n').count() >= number).then_some(())
        });
    }

    /// `127.0.0.1:PORT`, once it listens.
    pub(crate) fn address(&self) -> String {
        let line = self.line("listening on http://");
        line.rsplit('/').next().unwrap().to_owned()
    }

    /// The workers' process ids, once they are ready.
    pub(crate) fn ready(&self) -> Vec<u32> {
        let line = self.line("serpentry: ready: ");
        let (_, pids) = line.trim_end_matches(')').rsplit_once("(pid").unwrap();
        pids.trim_start_matches('s').split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Standard error until the workers are ready, or until the end if that comes first.
    pub(crate) fn ready_or_ended(&self) -> String {
        self.wait("ready or the end", |state| {
            let text = state.stderr.text();
            (text.contains("serpentry: ready: ") || state.stderr.ended).then_some(text)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let state = self.state();
        // Not yet reaped, so the number is still its own.
        if state.status.is_none() {
            kill_process(to_pid(self.pid), signal).unwrap();
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state().status.is_none()
    }

    /// Its exit status.
    pub(crate) fn exit(&self) -> ExitStatus {
        self.wait("exit", |state| state.status)
    }

    /// Wait until no process holds its standard error: then it and all its workers are gone.
    pub(crate) fn all_gone(&self) {
        self.wait("the end of standard error", |state| state.stderr.ended.then_some(()));
    }

    /// Run to the end: `exit N`, standard output, standard error.
    pub(crate) fn transcript(&self) -> String {
        self.wait("the end", |state| {
            let ended = state.stdout.ended && state.stderr.ended;
            let status = state.status.filter(|_| ended)?;
            let code = status.code().map_or("by signal".to_owned(), |code| code.to_string());
            let (stdout, stderr) = (state.stdout.text(), state.stderr.text());
            Some(format!("exit {code}\n{stdout}{stderr}"))
        })
    }

    /// TERM, then the exit code.
    pub(crate) fn stop(&self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.exit().code()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state();
        loop {
            if let Some(found) = look(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A program that is gone says nothing more; only the end itself may still be on its way.
            let over = state.status.is_some() && state.stdout.ended && state.stderr.ended;
            if left.is_zero() || over {
                let said = state.stderr.text();
                let said = &said[said.ceil_char_boundary(said.len().saturating_sub(4000))..];
                let status = state.status;
                drop(state);
                panic!("waited in vain for {what:?}; status {status:?}, standard error:\n{said}");
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let workers = children(self.pid);
        // After a failed assertion the lock may be poisoned; the processes must go all the same.
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.status.is_none() {
            let _ = kill_process(to_pid(self.pid), Signal::KILL);
            for worker in workers {
                let _ = kill_process(to_pid(worker), Signal::KILL);
            }
            let gone = |state: &mut State| state.status.is_none();
            let _ = self.shared.changed.wait_timeout_while(state, DEADLINE, gone);
        }
    }
}

/// Collect one of the program's outputs on a thread of its own.
fn collect(
    shared: &Arc<Shared>,
    mut from: impl Read + Send + 'static,
    output: fn(&mut State) -> &mut Output,
) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        loop {
            let count = from.read(&mut piece).unwrap_or(0);
            let Ok(mut state) = shared.state.lock() else { return };
            // What floods its output is read, so that it is not blocked, but not kept.
            if output(&mut state).bytes.len() < KEPT {
                output(&mut state).bytes.extend_from_slice(&piece[..count]);
            }
            output(&mut state).ended = count == 0;
            shared.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
}

/// Reap the program on a thread of its own, under the lock, so that nobody signals a number that is somebody else's by then.
fn reap(shared: &Arc<Shared>, mut child: Child) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let pid = to_pid(child.id());
        // An interrupted wait is tried again.
        while waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).is_err() {}
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.status = child.wait().ok();
        shared.changed.notify_all();
    });
}

pub(crate) fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

/// Direct children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// What a process has open: number and target, such as `socket:[4711]`.
pub(crate) fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target: PathBuf = fs::read_link(entry.path()).ok()?;
            Some((number, target.display().to_string()))
        })
        .collect();
    found.sort();
    found
}
