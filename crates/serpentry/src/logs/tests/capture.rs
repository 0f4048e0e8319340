//! The whole way, from real processes through real pipes to real files.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::files::Failed;
use super::history::Cursor;
use super::line::{LONGEST, Record};
use super::*;

/// For everything that must happen sooner or later.
const DEADLINE: Duration = Duration::from_secs(60);

const LARGE: Rotation = Rotation { size: 1 << 30, files: 1 };

/// Wait for what cannot be waited for otherwise.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A folder with logs; standard error is a file.
struct Fixture {
    folder: tempfile::TempDir,
    stderr: File,
}

impl Fixture {
    fn new() -> Self {
        Fixture { folder: tempfile::tempdir().unwrap(), stderr: tempfile::tempfile().unwrap() }
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    fn settings(&self, rotation: Rotation) -> Settings {
        Settings { directory: self.directory(), rotation, echo: true }
    }

    fn start(&self, rotation: Rotation) -> Logs {
        self.start_with(rotation, Files::new(self.directory()))
    }

    fn start_with(&self, rotation: Rotation, store: impl Store + 'static) -> Logs {
        Logs::start_with(&self.settings(rotation), store, self.stderr.try_clone().unwrap()).unwrap()
    }

    /// Stream, process and text of every record.
    fn records(&self, app: &str) -> Vec<(&'static str, u32, String)> {
        all_lines(&self.directory(), app)
            .iter()
            .map(|line| {
                let record = Record::parse(line).unwrap_or_else(|| panic!("not a record: {line:?}"));
                assert!(record.text.len() <= LONGEST);
                (record.stream.as_str(), record.pid, record.text.to_owned())
            })
            .collect()
    }

    fn echoed(&self) -> String {
        // Without moving the place where others write.
        let mut text = vec![0; self.stderr.metadata().unwrap().len().try_into().unwrap()];
        self.stderr.read_exact_at(&mut text, 0).unwrap();
        String::from_utf8(text).unwrap()
    }
}

fn all_lines(directory: &Path, app: &str) -> Vec<String> {
    if !files::path(directory, app, 0).exists() {
        return Vec::new();
    }
    let (mut cursor, _) = Cursor::open(directory, app, None).unwrap();
    std::iter::from_fn(|| cursor.next_line().unwrap()).collect()
}

/// Start a process as an application's worker.
fn spawn(logs: &Logs, app: &str, program: &str, arguments: &[&str]) -> (Child, Captured) {
    let capture = logs.app(app).capture().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(capture.stdout).stderr(capture.stderr);
    let child = command.spawn().unwrap();
    let captured = capture.source.begin(child.id());
    (child, captured)
}

/// Wait for its end, like the one who watches workers.
fn reap(mut child: Child, captured: Captured) {
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process did not end: its output is not read");
        }
        thread::sleep(Duration::from_millis(5));
    }
    drop(captured);
}

/// Run to the end.
fn run(logs: &Logs, app: &str, program: &str, arguments: &[&str]) -> u32 {
    let (child, captured) = spawn(logs, app, program, arguments);
    let pid = child.id();
    reap(child, captured);
    pid
}

/// The sum of all "N lines dropped".
fn said_dropped(records: &[(&str, u32, String)]) -> u64 {
    records
        .iter()
        .filter(|(stream, _, _)| *stream == "host")
        .filter_map(|(_, _, text)| text.strip_prefix("serpentry: ")?.split_once(" line"))
        .map(|(count, _)| count.replace(',', "").parse::<u64>().unwrap())
        .sum()
}

/// A disk that takes nothing until the gate is opened.
struct Stalled {
    files: Files,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Store for Stalled {
    fn append(&mut self, app: &Arc<str>, text: &[u8], rotation: Rotation) -> Result<(), Failed> {
        let (open, changed) = &*self.gate;
        drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        self.files.append(app, text, rotation)
    }

    fn close(&mut self, app: &str) {
        self.files.close(app);
    }
}

#[test]
fn an_application_is_never_held_up_by_a_disk_that_stalls_and_every_line_is_accounted_for() {
    const LINES: usize = 200_000;
    let fixture = Fixture::new();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let store = Stalled { files: Files::new(fixture.directory()), gate: Arc::clone(&gate) };
    let logs = fixture.start_with(LARGE, store);
    let program = "
import sys, time
sys.stdout.reconfigure(line_buffering=True)
longest = 0
for number in range(int(sys.argv[1])):
    before = time.monotonic()
    print('line', number, 'of an application that says a lot')
    longest = max(longest, time.monotonic() - before)
print(longest, file=open(sys.argv[2], 'w'))
";
    let longest = fixture.folder.path().join("longest");
    let arguments = ["-c", program, &LINES.to_string(), longest.to_str().unwrap()];
    // It ends although nothing whatever is written.
    run(&logs, "shop", "python3", &arguments);
    assert_eq!(fixture.records("shop"), []);
    let longest: f64 = std::fs::read_to_string(longest).unwrap().trim().parse().unwrap();
    assert!(longest < 10.0, "one line took {longest} s");

    until("the process is read to its end", || logs.shared.book.pipes("shop") == 0);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    // Everything came before the gate was opened, so no more are dropped.
    let dropped = logs.dropped("shop");
    until("all are written or said to be dropped", || {
        let records = fixture.records("shop");
        records.iter().filter(|record| record.0 == "out").count() as u64 + said_dropped(&records)
            == LINES as u64
    });
    drop(logs);
    let records = fixture.records("shop");
    let numbers: Vec<usize> = records
        .iter()
        .filter(|(stream, _, _)| *stream == "out")
        .map(|(_, _, text)| text.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(dropped > 0 && !numbers.is_empty());
    assert_eq!(numbers.len() as u64 + dropped, LINES as u64);
    assert_eq!(said_dropped(&records), dropped);
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order, none twice");
}

#[test]
fn rotation_under_load_loses_and_repeats_nothing() {
    const LINES: usize = 2_500;
    let fixture = Fixture::new();
    let logs = fixture.start(Rotation { size: 10_000, files: 500 });
    // Less than fits into the buffer, so nothing may be dropped however slow the disk is.
    let program = "import sys\nfor n in range(int(sys.argv[1])): print(n, 'x' * 50, flush=True)";
    let started: Vec<_> =
        (0..4).map(|_| spawn(&logs, "shop", "python3", &["-c", program, &LINES.to_string()])).collect();
    for (child, captured) in started {
        reap(child, captured);
    }
    until("all are written", || fixture.records("shop").len() == 4 * LINES);
    assert_eq!(logs.dropped("shop"), 0);
    drop(logs);
    let mut numbers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (_, pid, text) in fixture.records("shop") {
        numbers.entry(pid).or_default().push(text.split(' ').next().unwrap().parse().unwrap());
    }
    assert_eq!(numbers.len(), 4);
    for numbers in numbers.values() {
        let wrong = numbers.iter().copied().zip(0..).find(|(found, expected)| found != expected);
        assert_eq!((wrong, numbers.len()), (None, LINES));
    }
    let files = std::fs::read_dir(fixture.directory()).unwrap();
    let sizes: Vec<u64> = files.map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() > 80 && sizes.iter().all(|size| *size <= 10_000), "{sizes:?}");
}

#[test]
fn hostile_output_stays_one_harmless_line_each() {
    let fixture = Fixture::new();
    let logs = fixture.start(LARGE);
    let program =
        r#"printf 'a\033[31mb\000\377\r\n2026-11-24T03:14:15.123Z host 1 | forged\n' >&2; printf 'no end'"#;
    let pid = run(&logs, "shop", "sh", &["-c", program]);
    drop(logs);
    let mut records = fixture.records("shop");
    records.sort();
    let expect = [
        ("err", pid, "2026-11-24T03:14:15.123Z host 1 | forged".to_owned()),
        ("err", pid, "a\\x1b[31mb\\x00\\xff".to_owned()),
        ("out", pid, "no end".to_owned()),
    ];
    assert_eq!(records, expect);
    let mut echoed: Vec<_> = fixture.echoed().lines().map(str::to_owned).collect();
    echoed.sort();
    let prefixed: Vec<_> = expect.iter().map(|(_, _, text)| format!("shop | {text}")).collect();
    assert_eq!(echoed, prefixed);
}

#[test]
fn notes_of_the_host_go_to_the_log_and_to_standard_error() {
    let fixture = Fixture::new();
    let logs = fixture.start(LARGE);
    logs.note("shop", "did not boot:\n\tZeroDivisionError\x1b[2J");
    logs.note("feed", "reloaded");
    drop(logs);
    let pid = std::process::id();
    let texts = ["did not boot:", "\tZeroDivisionError\\x1b[2J"];
    assert_eq!(fixture.records("shop"), texts.map(|text| ("host", pid, text.to_owned())));
    assert_eq!(fixture.records("feed"), [("host", pid, "reloaded".to_owned())]);
    let expect = "serpentry: shop: did not boot:\nserpentry: shop: \tZeroDivisionError\\x1b[2J\nserpentry: feed: reloaded\n";
    assert_eq!(fixture.echoed(), expect);
}

#[test]
fn who_holds_the_pipe_after_the_worker_is_heard_for_a_moment_only() {
    let fixture = Fixture::new();
    let logs = fixture.start(LARGE);
    let marker = fixture.folder.path().join("marker");
    // The grandchild says something after the worker's exit, then holds the pipe.
    let program = "(while [ ! -e \"$0\" ]; do sleep 0.01; done; echo late; exec sleep 600) & echo $!";
    let (child, captured) = spawn(&logs, "shop", "sh", &["-c", program, marker.to_str().unwrap()]);
    let own = child.id();
    let mut child = child;
    child.wait().unwrap();
    std::fs::write(&marker, "").unwrap();
    until("the grandchild is heard", || fixture.records("shop").len() == 2);
    drop(captured);
    logs.forget("shop");
    // Forgotten only when no pipe of it is read any more.
    until("the pipes are given up", || logs.shared.book.known() == 0);
    drop(logs);
    let records = fixture.records("shop");
    let grandchild: i32 = records[0].2.parse().unwrap();
    let pid = rustix::process::Pid::from_raw(grandchild).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(records.iter().all(|(stream, pid, _)| (*stream, *pid) == ("out", own)));
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[1].2, "late");
}

#[test]
fn a_standard_error_that_blocks_holds_up_nothing_else() {
    let fixture = Fixture::new();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let logs = Logs::start_with(&fixture.settings(LARGE), Files::new(fixture.directory()), File::from(write))
        .unwrap();
    let program = "import sys\nfor n in range(5000): print(n, 'x' * 100)";
    let pid = run(&logs, "shop", "python3", &["-c", program]);
    until("the process is read to its end", || logs.shared.book.pipes("shop") == 0);
    logs.note("shop", "the last");
    until("everything is written", || {
        fixture.records("shop").last().is_some_and(|record| record.2 == "the last")
    });
    let shared = Arc::clone(&logs.shared);
    drop(logs);
    let records = fixture.records("shop");
    let own = records.iter().filter(|record| record.1 == pid).count() as u64;
    assert_eq!(own + shared.book.dropped("shop"), 5000);
    assert_eq!(records.last().unwrap().2, "the last");
    // Its thread still waits for this: let it go.
    drop(read);
}

#[test]
fn a_pipe_blocks_its_writer_and_not_its_reader() {
    let (read, write) = pipe(true).unwrap();
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Err(rustix::io::Errno::AGAIN));
    let flags = rustix::fs::fcntl_getfl(&write).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn a_process_that_could_not_be_started_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let logs = fixture.start(LARGE);
    let Capture { stdout, stderr, source } = logs.app("shop").capture().unwrap();
    assert_eq!(logs.shared.captured.load(Ordering::Relaxed), 1);
    drop(source);
    assert_eq!(logs.shared.captured.load(Ordering::Relaxed), 0);
    for end in [stdout, stderr] {
        assert_eq!(rustix::io::write(end, b"x"), Err(rustix::io::Errno::PIPE));
    }
}

/// The same test again in a process of its own, with a limit on the size of its files.
fn in_a_process_of_its_own(name: &str) -> bool {
    const MARK: &str = "SERPENTRY_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    // The signal about the limit would kill it; ignored, the write fails, as on a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[test]
fn logs_that_cannot_be_written_are_warned_of_once() {
    let fixture = Fixture::new();
    // In the way of the folder.
    std::fs::write(fixture.directory(), "").unwrap();
    let logs = fixture.start(LARGE);
    for (round, app) in [(1, "shop"), (1, "feed"), (2, "shop")] {
        logs.note(app, "text");
        until("it is dropped", || logs.dropped(app) == round);
    }
    drop(logs);
    let echoed = fixture.echoed();
    let warnings: Vec<&str> =
        echoed.lines().filter(|line| line.starts_with("serpentry: warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{echoed}");
    let path = files::path(&fixture.directory(), "shop", 0);
    assert!(warnings[0].contains(path.to_str().unwrap()), "{echoed}");
}

#[test]
fn a_full_disk_costs_counted_lines_and_nothing_else() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    const FULL: u64 = 100_000;
    let name = "logs::tests::a_full_disk_costs_counted_lines_and_nothing_else";
    if !in_a_process_of_its_own(name) {
        return;
    }
    let fixture = Fixture::new();
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(FULL), maximum }).unwrap();
    // Only warnings there: it is a file under the same limit.
    let settings = Settings { echo: false, ..fixture.settings(LARGE) };
    let stderr = fixture.stderr.try_clone().unwrap();
    let logs = Logs::start_with(&settings, Files::new(fixture.directory()), stderr).unwrap();
    let program = "import sys\nfor n in range(3000): print(n, 'x' * 50)";
    let first = run(&logs, "shop", "python3", &["-c", program]);
    until("lines are dropped", || logs.dropped("shop") > 0);
    let size = std::fs::metadata(files::path(&fixture.directory(), "shop", 0)).unwrap().len();
    assert!(size <= FULL && size > FULL - 200, "{size}");

    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
    // Said without a further line as soon as there is room.
    until("the notice is written", || said_dropped(&fixture.records("shop")) == logs.dropped("shop"));
    let second = run(&logs, "shop", "echo", &["room again"]);
    let shared = Arc::clone(&logs.shared);
    drop(logs);
    let records = fixture.records("shop");
    let kept = records.iter().filter(|record| record.1 == first).count() as u64;
    assert_eq!(kept + shared.book.dropped("shop"), 3000);
    assert_eq!(said_dropped(&records), shared.book.dropped("shop"));
    assert_eq!(records.last().unwrap(), &("out", second, "room again".to_owned()));
    let warnings = fixture.echoed().lines().filter(|line| line.contains("warning: cannot write")).count();
    assert_eq!(warnings, 1, "{}", fixture.echoed());
}

#[test]
fn a_new_size_counts_for_the_next_line() {
    let fixture = Fixture::new();
    let logs = Logs::start(&Settings { echo: false, ..fixture.settings(LARGE) }).unwrap();
    run(&logs, "shop", "echo", &["first"]);
    until("it is written", || fixture.records("shop").len() == 1);
    logs.reconfigure(Rotation { size: 1, files: 1 });
    run(&logs, "shop", "echo", &["second"]);
    drop(logs);
    let texts = |age| std::fs::read_to_string(files::path(&fixture.directory(), "shop", age)).unwrap();
    assert!(texts(1).ends_with(" | first\n") && texts(0).ends_with(" | second\n"));
}
