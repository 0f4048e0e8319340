//! Own ground: a host of test applications with limits that make every fault happen soon, on loopback, in a folder that is
//! removed at the end.
//!
//! The host is this program again, and ends with whoever started it, however that ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, getpid, kill_process};
use serpentry::control::{Client, ClientError, HostState, Status, Tenancy};
use tempfile::TempDir;

use super::SOURCE;
use super::faults::Home;
use crate::{cli, hosting, say};

/// How long a host may take until all its applications have booted.
const START: Duration = Duration::from_secs(60);

/// How long it may take to end before it is killed, and how long gracefully.
const END: Duration = Duration::from_secs(15);
const AT_ONCE: Duration = Duration::from_millis(300);

impl Home {
    /// The name of the application.
    pub(super) fn app(self) -> &'static str {
        match self {
            Home::Shop => "shop",
            Home::Feed => "feed",
            Home::Batch => "batch",
        }
    }
}

pub(super) struct Ground {
    folder: TempDir,
    child: Child,
}

impl Ground {
    /// With one application and its neighbour, or with all.
    pub(super) fn start(tenancy: Tenancy, home: Option<Home>, python: &Path) -> anyhow::Result<Ground> {
        let folder = furnish(tenancy, home, python)?;
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        let output =
            fs::File::create(folder.path().join("host.txt")).context("cannot write to the folder")?;
        let child = Command::new(program)
            .arg("host")
            .arg(folder.path().join("serpentry.toml"))
            .args(["--no-echo", "--with-parent"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .context("cannot start a host")?;
        let mut ground = Ground { folder, child };
        ground.wait()?;
        Ok(ground)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.state())
    }

    pub(super) fn status(&self) -> Result<Status, ClientError> {
        self.client().status()
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            match self.status() {
                Ok(status) if status.host.state == HostState::Serving => return Ok(()),
                _ if Instant::now() > deadline => bail!("the host was not ready in time: {}", self.said()),
                _ => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                bail!("the host ended ({status}): {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn said(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("host.txt")).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Stop it and wait until nothing of it is left.
    pub(super) fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let began = Instant::now();
        let mut told = 0;
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < END {
            // Gracefully, then at once: what does not end by itself is part of a drill, and nobody waits for it.
            if told < 2 && began.elapsed() >= AT_ONCE * told {
                // It is our child and not reaped: it is that process or a zombie.
                let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
                told += 1;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Both fail only if it has ended meanwhile.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `serpentry drill --serve`.
pub(super) fn serve(tenancy: Tenancy, python: &Path, duration: Duration) -> anyhow::Result<ExitCode> {
    let folder = furnish(tenancy, None, python)?;
    let state = folder.path().join("state");
    say::info(format_args!(
        "test applications shop, feed, batch and neighbour; for {:.0} s or until Ctrl-C. In another shell:\n\
         \n    serpentry drill shop oom --state {}\n",
        duration.as_secs_f64(),
        state.display()
    ));
    std::thread::spawn(move || {
        std::thread::sleep(duration);
        stop_myself();
    });
    hosting::run(&cli::HostArguments {
        file: folder.path().join("serpentry.toml"),
        watch: false,
        no_echo: true,
        with_parent: false,
    })
}

fn stop_myself() {
    // A signal to ourselves does not fail.
    let _ = kill_process(getpid(), Signal::TERM);
}

/// A folder with the test application and a configuration.
fn furnish(tenancy: Tenancy, home: Option<Home>, python: &Path) -> anyhow::Result<TempDir> {
    let folder =
        tempfile::Builder::new().prefix("serpentry-drill-").tempdir().context("cannot make a folder")?;
    let app = folder.path().join("app");
    fs::create_dir(&app).context("cannot make a folder")?;
    fs::write(app.join("serpentry_drill.py"), SOURCE).context("cannot write the test application")?;
    // Applications may run as users of their own, who must be able to read it.
    for open in [folder.path(), &app] {
        fs::set_permissions(open, Permissions::from_mode(0o755)).context("cannot open the folder")?;
    }
    let python = which(python)?;
    let file = folder.path().join("serpentry.toml");
    fs::write(&file, configuration(tenancy, home, &app, &python))
        .context("cannot write the configuration")?;
    Ok(folder)
}

/// A path is relative to where we are, not to where the application is; a bare name is looked up by the host.
fn which(python: &Path) -> anyhow::Result<PathBuf> {
    if python.components().count() == 1 {
        return Ok(python.to_owned());
    }
    std::path::absolute(python).context("the interpreter")
}

fn configuration(tenancy: Tenancy, home: Option<Home>, app: &Path, python: &Path) -> String {
    let tenancy = match tenancy {
        Tenancy::Shared => "shared",
        Tenancy::Isolated => "isolated",
    };
    let (app, python) = (toml(app), toml(python));
    let mut text = format!(
        r#"[host]
listen = ["127.0.0.1:0"]
state = "state"
graceful_timeout = "1s"
# More than the limits below together: only who has none of its own can fill it.
pool_memory = "640MiB"

[defaults]
directory = {app}
python = {python}
graceful_timeout = "2s"

[defaults.limits]
connections = 40
queue = 16
queue_timeout = "1s"
request_timeout = "3s"
header_timeout = "1s"
body_timeout = "1s"
header_size = "8KiB"
body_size = "64KiB"

# What makes the others wait: half of it would be enough.
[apps.neighbour]
app = "serpentry_drill:wsgi"
routes = ["/neighbour"]
workers = 4

[apps.neighbour.limits]
cpu_weight = 1000
queue_timeout = "30s"
request_timeout = "1m"
"#
    );
    let homes = match home {
        Some(home) => vec![home],
        None => vec![Home::Shop, Home::Feed, Home::Batch],
    };
    // Three isolated applications do not find three cores on every machine.
    let few = std::thread::available_parallelism().map_or(1, usize::from) <= homes.len();
    let core = if tenancy == "isolated" && few && homes.len() > 1 { "cpu = 0.3\n" } else { "" };
    for home in homes {
        let name = home.app();
        text += &match home {
            Home::Shop => format!(
                r#"
[apps.shop]
app = "serpentry_drill:wsgi"
routes = ["/shop"]
tenancy = "{tenancy}"
workers = 2
threads = 4

[apps.shop.limits]
{core}memory = "192MiB"
processes = 48
open_files = 128
disk_space = "16MiB"
"#
            ),
            Home::Feed => format!(
                r#"
[apps.feed]
app = "serpentry_drill:asgi"
routes = ["/feed"]
tenancy = "{tenancy}"

[apps.feed.limits]
{core}memory = "128MiB"
processes = 48
open_files = 128
disk_space = "16MiB"
"#
            ),
            Home::Batch => format!(
                r#"
[apps.batch]
app = "serpentry_drill:wsgi"
routes = ["/batch"]
tenancy = "{tenancy}"
threads = 6

[apps.batch.limits]
cpu = 0.2
memory = "128MiB"
bandwidth_out = "2MiB/s"
disk_write = "1MiB/s"
disk_space = "16MiB"
"#
            ),
        };
        text += &format!("\n[apps.{name}.env]\nPYTHONDONTWRITEBYTECODE = \"1\"\n");
    }
    text
}

/// A text of TOML; what JSON escapes, TOML reads.
fn toml(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy().as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted() {
        assert_eq!(toml(Path::new("/tmp/a \"b\"")), r#""/tmp/a \"b\"""#);
    }

    #[test]
    fn bare_names_are_left_to_the_host() {
        assert_eq!(which(Path::new("python3")).unwrap(), Path::new("python3"));
        assert!(which(Path::new("./python3")).unwrap().is_absolute());
    }
}
