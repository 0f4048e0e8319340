//! What goes wrong is explained: under the same name in the visitor's answer, in the log and on the command line.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::context::{TestContext, python};
use crate::http;
use crate::program::{Program, to_pid};

/// For everything that must happen sooner or later.
const DEADLINE: Duration = Duration::from_secs(20);

/// The promise of the design for what is recorded after a fault.
const RECORDED: Duration = Duration::from_secs(1);

struct Host {
    program: Program,
    address: String,
}

impl Host {
    /// `shop`: `trouble.py` with these limits and two workers.
    fn start(ctx: &TestContext, limits: &str) -> Self {
        Host::start_with(ctx, "", limits)
    }

    /// The same with more in `[host]`.
    fn start_with(ctx: &TestContext, more: &str, limits: &str) -> Self {
        ctx.write("trouble.py", include_str!("apps/trouble.py"));
        let python = python().display();
        let file = format!(
            "[host]\nlisten = [\"127.0.0.1:0\"]\nstate = \"state\"\ngraceful_timeout = \"1s\"\n{more}\n\
             [apps.shop]\napp = \"trouble:app\"\npython = \"{python}\"\nworkers = 2\n\n[apps.shop.limits]\n{limits}\n"
        );
        ctx.write("serpentry.toml", &file);
        Host::again(ctx)
    }

    /// With the file that is there.
    fn again(ctx: &TestContext) -> Self {
        let program = Program::start(ctx.command(&["host"]));
        let address = program.address();
        Host { program, address }
    }

    /// Wait until both workers serve.
    fn pids(&self, ctx: &TestContext) -> Vec<u32> {
        wait_for("two workers", || {
            let status = json(ctx, &["status", "--json"]);
            let workers = status["apps"][0]["workers"].as_array()?.clone();
            let serving = workers.iter().filter(|worker| worker["state"] == "serving");
            let pids: Vec<u32> = serving.filter_map(|it| u32::try_from(it["pid"].as_u64()?).ok()).collect();
            (pids.len() == 2).then_some(pids)
        })
    }
}

fn command(ctx: &TestContext, arguments: &[&str]) -> Command {
    let mut command = ctx.command(arguments);
    command.args(["--state", "state"]);
    command
}

/// What a command prints.
fn said(ctx: &TestContext, arguments: &[&str]) -> String {
    let out = command(ctx, arguments).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn json(ctx: &TestContext, arguments: &[&str]) -> Value {
    let text = said(ctx, arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first incident of this code.
fn incident(ctx: &TestContext, code: &str) -> Option<Value> {
    let all = json(ctx, &["why", "--json"]);
    all.as_array().unwrap().iter().find(|incident| incident["code"] == code).cloned()
}

/// The name that a visitor reads.
fn name(answer: &str) -> &str {
    let field = answer.lines().find_map(|line| line.strip_prefix("serpentry-incident: "));
    field.unwrap_or_else(|| panic!("no incident in {answer}")).trim_end()
}

/// All that comes until the other side closes.
fn text_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_worker_killed_under_load_is_explained_within_a_second() {
    let ctx = TestContext::new();
    let host = Host::start(&ctx, "");
    let pids = host.pids(&ctx);
    // Each of these is inside of a worker, and the rest waits. One of them is inside of the worker that is killed.
    let posts = ["/wait/4", "/wait/4.1"].map(|path| http::send(&host.address, "POST", path));
    let gets: Vec<_> = (0..8).map(|_| http::send(&host.address, "GET", "/wait/0.05")).collect();
    wait_for("two requests inside", || {
        let status = json(&ctx, &["status", "--json"]);
        (status["apps"][0]["queue"]["depth"].as_u64()? >= 1).then_some(())
    });
    let killed = Instant::now();
    kill_process(to_pid(pids[0]), Signal::KILL).unwrap();
    let found = wait_for("the incident", || incident(&ctx, "A20"));
    let took = killed.elapsed();
    assert!(
        took < RECORDED + Duration::from_secs(2),
        "recorded after {took:?} on a machine that may be busy"
    );
    assert_eq!((&found["cause"], &found["app"]), (&"sigkill".into(), &"shop".into()));
    assert_eq!(found["worker_pid"], pids[0]);
    assert_eq!(found["evidence"]["signal"], 9);
    assert_eq!((&found["evidence"]["in_flight"], &found["evidence"]["failed"]), (&1.into(), &1.into()));
    let request = &found["requests"][0];
    assert_eq!((&request["method"], &request["outcome"]), (&"POST".into(), &"answered 502".into()));
    assert!(request["path"].as_str().unwrap().starts_with("/wait/4"), "{found}");
    let sentence = found["sentence"].as_str().unwrap();
    assert!(sentence.contains("cause unknown") && sentence.contains("SIGKILL"), "never guess: {sentence}");
    let answers = posts.map(http::Pending::text);
    let failed: Vec<_> = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 502")).collect();
    assert_eq!(failed.len(), 1, "{answers:?}");
    assert_eq!(found["id"], name(failed[0]));
    assert!(gets.into_iter().all(|get| get.answer().status == 200), "what can be repeated is");
    // The log, the status, the metrics and the stream say the same.
    let id = found["id"].as_str().unwrap();
    assert!(host.program.line(&format!("incident {id}: ")).contains("to do: "));
    let status = json(&ctx, &["status", "shop", "--json"]);
    assert_eq!(status["incidents"][0]["id"], id);
    assert!(said(&ctx, &["status", "shop"]).contains(id));
    let first: Value =
        serde_json::from_str(said(&ctx, &["events", "--json"]).lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["incident"]["id"]), (&"opened".into(), &id.into()));
    assert_eq!(json(&ctx, &["why", id, "--json"])[0]["id"], id);
    assert_eq!(host.program.stop(), Some(0));
    // And so does the next host.
    let host = Host::again(&ctx);
    let past = json(&ctx, &["why", id, "--json"])[0].clone();
    assert_eq!((&past["state"], &past["sentence"]), (&"closed".into(), &found["sentence"]));
    assert_eq!(json(&ctx, &["why", "shop", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(json(&ctx, &["status", "shop", "--json"])["incidents"], serde_json::json!([]));
    assert_eq!(host.program.stop(), Some(0));
}

#[test]
fn crashes_and_exits_are_told_apart() {
    let ctx = TestContext::new();
    let host = Host::start(&ctx, "");
    for (path, code, cause, key, value) in [
        ("/signal/11", "A20", "signal", "signal", 11),
        ("/exit/3", "A21", "exit", "exit_status", 3),
        ("/exit/0", "A21", "exit", "exit_status", 0),
    ] {
        host.pids(&ctx);
        let answer = http::send(&host.address, "POST", path).text();
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(name(&answer).starts_with(code), "{path}: {answer}");
        let found = &json(&ctx, &["why", name(&answer), "--json"])[0];
        assert_eq!((&found["cause"], &found["evidence"][key]), (&cause.into(), &value.into()), "{found}");
        let listed = found["requests"].as_array().unwrap();
        assert!(listed.iter().any(|request| request["path"] == path), "{found}");
    }
    assert_eq!(incident(&ctx, "A21").unwrap()["count"], 2, "the same kind of thing is one incident");
    assert_eq!(incident(&ctx, "A20").unwrap()["evidence"].get("route"), None, "once proves nothing");
    host.pids(&ctx);
    http::send(&host.address, "POST", "/signal/11").text();
    let again = incident(&ctx, "A20").unwrap();
    assert_eq!(again["evidence"]["route"], "POST /signal/{}", "{again}");
    assert!(
        again["sentence"].as_str().unwrap().ends_with("was inside of each of the last 2 that crashed"),
        "{again}"
    );
    // The last moment is kept too.
    host.pids(&ctx);
    let answer = http::send(&host.address, "POST", "/exit/4").text();
    assert_eq!(host.program.stop(), Some(0));
    let _host = Host::again(&ctx);
    assert_eq!(json(&ctx, &["why", name(&answer), "--json"])[0]["evidence"]["exit_status"], 4);
}

#[test]
fn a_lack_of_memory_is_proved_and_a_kill_is_not_taken_for_one() {
    let ctx = TestContext::new();
    let host = Host::start(&ctx, "memory = \"96MiB\"");
    let pids = host.pids(&ctx);
    let unenforced = json(&ctx, &["status", "--json"])["apps"][0]["unenforced"].clone();
    if let Some(missing) = unenforced.as_array().unwrap().iter().find(|it| it["constraint"] == "memory") {
        return eprintln!("skipped: no limit of memory here: {}", missing["why"]);
    }
    // Memory is there: somebody else sends the same signal.
    kill_process(to_pid(pids[0]), Signal::KILL).unwrap();
    let killed = wait_for("the kill", || incident(&ctx, "A20"));
    assert!(incident(&ctx, "M10").is_none(), "{killed}");
    host.pids(&ctx);
    // A POST is not run again: its visitor reads why.
    let answer = http::send(&host.address, "POST", "/eat/300").text();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(name(&answer).starts_with("M10-"), "{answer}");
    let proved = wait_for("the incident", || incident(&ctx, "M10"));
    assert_eq!(proved["evidence"]["limit_bytes"].as_f64(), Some(f64::from(96 << 20)), "{proved}");
    assert!(name(&answer).ends_with(proved["id"].as_str().unwrap()), "{proved}");
    host.pids(&ctx);
    assert_eq!(host.program.stop(), Some(0));
}

#[test]
fn a_failed_boot_has_its_traceback_and_a_loop_is_named() {
    let ctx = TestContext::new();
    let host = Host::start(&ctx, "");
    host.pids(&ctx);
    ctx.write("trouble.py", "text = '\\x1b]0;owned\\x07<b>'\nraise RuntimeError(text)\n");
    let failed = command(&ctx, &["restart", "shop"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let found = wait_for("the incident", || incident(&ctx, "A10"));
    assert_eq!((&found["cause"], &found["evidence"]["generation"]), (&"application".into(), &2.into()));
    let traceback = found["evidence"]["traceback"].as_str().unwrap();
    assert!(traceback.contains("trouble.py\", line 2") && traceback.contains("RuntimeError"), "{traceback}");
    let why = said(&ctx, &["why", "shop"]);
    assert!(why.contains("RuntimeError") && why.contains("serpentry restart shop"), "{why}");
    assert!(!why.contains(['\x1b', '\x07']), "{why:?}");
    // The old generation serves on. Without it there is a loop.
    assert_eq!(http::get(&host.address, "/pid").status, 200);
    for pid in host.pids(&ctx) {
        kill_process(to_pid(pid), Signal::KILL).unwrap();
    }
    let found = wait_for("the loop", || incident(&ctx, "A22"));
    assert!(found["sentence"].as_str().unwrap().contains("pauses in a row"), "{found}");
}

#[test]
fn limits_of_the_router_have_the_name_that_visitors_read() {
    let ctx = TestContext::new();
    let limits = "queue = 1\nrequest_timeout = \"300ms\"\nbody_size = \"1KiB\"";
    let host = Host::start(&ctx, limits);
    host.pids(&ctx);
    let late = http::send(&host.address, "GET", "/wait/20\x7f").text();
    drop(late);
    let answer = http::send(&host.address, "GET", "/wait/2").text();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let found = wait_for("the stack", || {
        let found = json(&ctx, &["why", name(&answer), "--json"])[0].clone();
        found["evidence"]["stack"].is_string().then_some(found)
    });
    assert_eq!((&found["resource"], &found["limit"]), (&"time".into(), &0.3.into()));
    assert!(found["evidence"]["stack"].as_str().unwrap().contains("trouble.py"), "{found}");

    host.pids(&ctx);
    let crowd: Vec<_> = (0..8).map(|_| http::send(&host.address, "GET", "/wait/0.25")).collect();
    let answers: Vec<_> = crowd.into_iter().map(http::Pending::text).collect();
    let names: Vec<_> =
        answers.iter().filter(|it| it.starts_with("HTTP/1.1 503")).map(|it| name(it)).collect();
    assert!(names.len() >= 3 && names.iter().all(|it| *it == names[0]), "{answers:?}");
    let found = wait_for("all of them counted", || {
        let found = json(&ctx, &["why", names[0], "--json"])[0].clone();
        (found["count"] == names.len()).then_some(found)
    });
    assert_eq!((&found["code"], &found["limit"], &found["used"]), (&"N11".into(), &1.into(), &1.into()));
}

#[test]
fn clients_that_are_slow_too_many_or_gone_are_told_apart() {
    let ctx = TestContext::new();
    let limits = "queue_timeout = \"200ms\"\nbody_timeout = \"200ms\"\nconnections = 20";
    let host = Host::start(&ctx, limits);
    host.pids(&ctx);
    let connect = |text: &str| {
        let mut stream = TcpStream::connect(&host.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: it\r\n\r\n");
    // Two run, one waits for too long.
    let busy: Vec<_> = (0..2).map(|_| connect(&request("/wait/1"))).collect();
    let answer = http::send(&host.address, "GET", "/pid").text();
    assert!(answer.starts_with("HTTP/1.1 503") && name(&answer).starts_with("N12"), "{answer}");
    let found = &json(&ctx, &["why", name(&answer), "--json"])[0];
    assert_eq!((&found["limit"], &found["evidence"]["slots"]), (&0.2.into(), &2.into()));
    drop(busy);
    // A body that does not come.
    let slow = "POST /pid HTTP/1.1\r\nHost: it\r\nContent-Length: 5\r\n\r\nab";
    let answer = text_of(connect(slow));
    assert!(answer.starts_with("HTTP/1.1 408") && name(&answer).starts_with("N21"), "{answer}");
    // All places are taken: each by one who is served and stays.
    host.pids(&ctx);
    let mut idle: Vec<_> = (0..20).map(|_| connect(&request("/pid"))).collect();
    for stream in &mut idle {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
    }
    let answer = text_of(connect(&request("/pid")));
    assert!(answer.starts_with("HTTP/1.1 503") && name(&answer).starts_with("N10"), "{answer}");
    let found = &json(&ctx, &["why", name(&answer), "--json"])[0];
    assert_eq!((&found["limit"], &found["used"], &found["cause"]), (&20.into(), &20.into(), &"app".into()));
    // Notices are not in the status.
    let open = json(&ctx, &["status", "shop", "--json"])["incidents"].clone();
    assert!(open.as_array().unwrap().iter().any(|it| it["code"] == "N21" && it["severity"] == "notice"));
    assert!(!said(&ctx, &["status"]).contains("N21-"), "nothing to do about it");
}

#[test]
fn many_clients_that_leave_are_an_incident_and_few_are_not() {
    let ctx = TestContext::new();
    let host = Host::start(&ctx, "");
    host.pids(&ctx);
    let leave = |count: usize| {
        let busy: Vec<_> = (0..2).map(|_| http::send(&host.address, "GET", "/wait/1.5")).collect();
        let many: Vec<_> = (0..count).map(|_| http::send(&host.address, "GET", "/pid")).collect();
        wait_for("them in the queue", || {
            let status = json(&ctx, &["status", "shop", "--json"]);
            (status["queue"]["depth"].as_u64()? >= count as u64).then_some(())
        });
        drop(many);
        busy.into_iter().for_each(|it| drop(it.answer()));
    };
    leave(5);
    leave(30);
    let found = wait_for("the incident", || incident(&ctx, "N23"));
    assert_eq!(found["requests"][0]["outcome"], "left");
    assert!(found["count"].as_u64().unwrap() >= 10, "{found}");
    assert!(found["evidence"]["finished"].as_u64() >= found["count"].as_u64(), "{found}");
    assert!(found["count"].as_u64().unwrap() <= 30, "those few are not counted: {found}");
}

#[test]
fn nothing_that_tenants_and_clients_send_reaches_the_terminal() {
    let ctx = TestContext::new();
    let host = Host::start(&ctx, "body_size = \"1KiB\"");
    host.pids(&ctx);
    let path = "/raise<script>alert(1)</script>'\"";
    let answer = http::send(&host.address, "GET", path).text();
    assert!(answer.starts_with("HTTP/1.1 500") && name(&answer).starts_with("A31"), "{answer}");
    assert!(!answer.contains("script"), "{answer}");
    let found = &json(&ctx, &["why", name(&answer), "--json"])[0];
    assert_eq!(found["requests"][0]["path"], path);
    for arguments in
        [&["why"][..], &["why", "--json"], &["events"], &["events", "--json"], &["status", "shop"]]
    {
        let text = said(&ctx, arguments);
        let harmless = |c: char| c == '\n' || !c.is_control();
        assert!(text.chars().all(harmless), "{arguments:?}: {text:?}");
    }
    let streamed = said(&ctx, &["events", "--json"]);
    assert!(streamed.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{streamed}");
}

#[test]
fn a_history_that_cannot_be_used_hurts_nobody() {
    let ctx = TestContext::new();
    ctx.write("state/incidents.db", "this is somebody's novel");
    let host = Host::start(&ctx, "");
    host.pids(&ctx);
    let found = wait_for("the sentence", || incident(&ctx, "H10"));
    assert_eq!((&found["cause"], &found["app"]), (&"set_aside".into(), &Value::Null));
    let moved = found["evidence"]["moved_to"].as_str().unwrap();
    assert_eq!(fs::read_to_string(moved).unwrap(), "this is somebody's novel");
    assert_eq!(host.program.stop(), Some(0));

    // One that cannot be opened at all.
    fs::remove_file(ctx.path("state/incidents.db")).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(ctx.path(&format!("state/incidents.db{suffix}")));
    }
    fs::create_dir(ctx.path("state/incidents.db")).unwrap();
    let host = Host::again(&ctx);
    let found = wait_for("the sentence", || incident(&ctx, "H10"));
    assert_eq!(found["cause"], "write");
    host.pids(&ctx);
    http::send(&host.address, "POST", "/exit/1").text();
    assert!(incident(&ctx, "A21").is_some(), "it is in memory");
    assert_eq!(http::get(&host.address, "/pid").status, 200);
    // It works again: what happened meanwhile is written.
    fs::remove_dir(ctx.path("state/incidents.db")).unwrap();
    wait_for("the file", || ctx.path("state/incidents.db").is_file().then_some(()));
    assert_eq!(host.program.stop(), Some(0));
    let _host = Host::again(&ctx);
    assert!(incident(&ctx, "A21").is_some(), "it is in the history");
}

#[test]
fn who_wants_to_know_is_told() {
    let ctx = TestContext::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/page?me", listener.local_addr().unwrap());
    let host = Host::start_with(&ctx, &format!("on_incident = \"{url}\""), "body_size = \"1KiB\"");
    host.pids(&ctx);
    // A notice tells nobody.
    let mut large = TcpStream::connect(&host.address).unwrap();
    large.write_all(b"POST /pid HTTP/1.1\r\nHost: it\r\nContent-Length: 2000\r\n\r\n").unwrap();
    wait_for("the notice", || incident(&ctx, "N22"));
    let answer = http::send(&host.address, "POST", "/exit/1").text();
    let (mut call, _) = listener.accept().unwrap();
    call.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut lines = BufReader::new(call.try_clone().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().unwrap(), "POST /page?me HTTP/1.1");
    let told: Value = serde_json::from_str(&lines.find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert_eq!((&told["event"], &told["suppressed"]), (&"opened".into(), &0.into()));
    assert_eq!(told["incident"]["id"], name(&answer));
    call.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();

    // Another one from now on, and one that hangs: nobody waits for it.
    let script = ctx.script("page-me", "cat > told.tmp && mv told.tmp told && exec sleep 60");
    let file = fs::read_to_string(ctx.path("serpentry.toml")).unwrap().replace(&url, "page-me");
    ctx.write("serpentry.toml", &file);
    said(&ctx, &["reload", "--json"]);
    host.pids(&ctx);
    let answer = http::send(&host.address, "POST", "/signal/6").text();
    let text = wait_for("the program", || fs::read_to_string(script.with_file_name("told")).ok());
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["incident"]["id"], name(&answer));
    assert_eq!(http::get(&host.address, "/pid").status, 200);
    host.program.line("did not end within 10 s and was killed");
    assert_eq!(host.program.stop(), Some(0));
}

#[test]
fn codes_are_explained_without_a_host() {
    let ctx = TestContext::new();
    let list = ctx.run(ctx.command(&["explain"]));
    assert!(list.starts_with("exit 0\nA: application\n  A10  503  error    did not boot\n"), "{list}");
    let page = ctx.run(ctx.command(&["explain", "n11"]));
    assert!(page.starts_with("exit 0\nN11: queue full (error, visitors get 503)\n"), "{page}");
    assert!(page.contains("serpentry scale <app> N") && page.contains("Retry-After"), "{page}");
    assert_eq!(ctx.run(ctx.command(&["explain", "N11-36NPJZM01"])), page);
    let all = ctx.run(ctx.command(&["explain", "--json"]));
    let all: Value = serde_json::from_str(all.strip_prefix("exit 0\n").unwrap()).unwrap();
    assert!(all.as_array().unwrap().iter().all(|it| it["page"].as_str().unwrap().len() > 100));
    let unknown = ctx.run(ctx.command(&["explain", "Z1\x1b[2J"]));
    assert_eq!(
        unknown,
        "exit 2\nserpentry: error: there is no code \"Z1\\\\u{1b}[2J\": serpentry explain lists them\n"
    );
}
