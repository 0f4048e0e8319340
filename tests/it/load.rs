//! `serpentry load` against applications that the program itself serves.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::context::TestContext;
use crate::program::Program;

/// Run with `--json`: the exit status and the figures.
fn figures(ctx: &TestContext, arguments: &[&str]) -> (String, Value) {
    let transcript = ctx.run(ctx.command(&[&["load", "--json"], arguments].concat()));
    let (status, rest) = transcript.split_once('\n').unwrap();
    let (start, end) = (rest.find('{').unwrap_or(0), rest.rfind('}').map_or(0, |end| end + 1));
    let figures =
        serde_json::from_str(&rest[start..end]).unwrap_or_else(|error| panic!("{error}: {transcript}"));
    (status.to_owned(), figures)
}

/// Whether the generator was on time is the machine's business; everything else must be right on any machine.
fn is_fine(status: &str, figures: &Value) -> bool {
    let late = figures["validity"] == "generator_limited";
    status == if late { "exit 1" } else { "exit 0" } && late != figures["because"].is_null()
}

#[test]
fn every_request_of_the_plan_is_accounted_for() {
    let ctx = TestContext::new();
    let program = ctx.serve(&["hello:app", "--threads", "4", "--access-log", "access.log"]);
    let url = format!("http://{}/", program.address());
    let plan = ["--rate", "200", "--schedule", "constant", "--duration", "1s"];
    let (status, figures) = figures(&ctx, &[&[url.as_str()], &plan[..]].concat());
    assert!(is_fine(&status, &figures), "{status} {figures}");
    assert_eq!((&figures["planned"], &figures["answered"]), (&200.into(), &200.into()), "{figures}");
    assert_eq!(figures["statuses"]["200"], 200);
    assert!(figures["latency_ms"]["p90"].as_f64() >= figures["latency_ms"]["p50"].as_f64(), "{figures}");
    // Too few beyond it.
    assert!(figures["latency_ms"]["p99"].is_null(), "{figures}");
    assert_eq!(program.stop(), Some(0));
    let log = fs::read_to_string(ctx.path("access.log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("\"GET / HTTP/1.1\" 200")).count(), 200);
}

#[test]
fn what_our_own_access_log_has_can_be_repeated() {
    for format in ["json", "combined"] {
        let ctx = TestContext::new();
        let log = ["--access-log", "access.log", "--log-format", format];
        let program = ctx.serve(&[&["hello:app", "--threads", "4"], &log[..]].concat());
        let url = format!("http://{}", program.address());
        let paths = ["/a", "/b?c=%22", "/d\"e"].map(|path| format!("{url}{path}"));
        let urls = paths.each_ref().map(String::as_str);
        figures(&ctx, &[&urls[..], &["--rate", "100", "--duration", "500ms"]].concat());
        figures(&ctx, &[&url, "--body", "order", "-n", "5", "--connections", "1"]);
        assert_eq!(program.stop(), Some(0));

        fs::rename(ctx.path("access.log"), ctx.path("old.log")).unwrap();
        let old = requests(&fs::read_to_string(ctx.path("old.log")).unwrap());
        let program = ctx.serve(&[&["hello:app", "--threads", "4"], &log[..]].concat());
        let url = format!("http://{}", program.address());
        let (status, figures) = figures(&ctx, &[&url, "--from-log", "old.log"]);
        assert!(is_fine(&status, &figures), "{status} {figures}");
        assert_eq!(figures["schedule"], "replay");
        assert_eq!(program.stop(), Some(0));
        let mut repeated = requests(&fs::read_to_string(ctx.path("access.log")).unwrap());
        let mut safe: Vec<String> = old.into_iter().filter(|request| request.starts_with("GET ")).collect();
        assert!(safe.len() >= 30, "{safe:?}");
        safe.sort_unstable();
        repeated.sort_unstable();
        assert_eq!(repeated, safe, "{format}");
    }
}

/// Methods and targets of a log of either form.
fn requests(log: &str) -> Vec<String> {
    let request = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(object) => {
            format!("{} {}", object["method"].as_str().unwrap(), object["target"].as_str().unwrap())
        }
        Err(_) => line.split('"').nth(1).unwrap().trim_end_matches(" HTTP/1.1").to_owned(),
    };
    log.lines().map(request).collect()
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let ctx = TestContext::new();
    for (arguments, said) in [
        (&["http://192.0.2.1:8000/"][..], "is 192.0.2.1:8000, which is not this machine's loopback"),
        (&["https://localhost/"], "TLS is not spoken"),
        (&["localhost:8000"], "is not http://HOST[:PORT]/PATH or unix:SOCKET[:/PATH]"),
        (&["http://localhost:1", "http://localhost:2"], "are two servers"),
        (&["http://localhost:1", "--schedule", "replay"], "needs --from-log"),
        (&["http://localhost:1", "--rate", "0"], "must be above 0"),
        (&["http://localhost:1", "-H", "Content-Length: 5"], "is set by the generator itself"),
        (&["http://localhost:1", "-X", "GE T"], "is not a method"),
        (&["http://localhost:1", "--warm-up", "10s"], "nothing would be counted"),
        (&["http://localhost:1", "--rate", "5", "--connections", "5"], "cannot be used with"),
    ] {
        let transcript = ctx.run(ctx.command(&[&["load"], arguments].concat()));
        assert!(
            transcript.starts_with("exit 2\n") && transcript.contains(said),
            "{arguments:?}: {transcript}"
        );
    }
    ctx.write("empty.log", "nothing\n");
    let transcript = ctx.run(ctx.command(&["load", "http://localhost:1", "--from-log", "empty.log"]));
    assert!(transcript.contains("empty.log has no request that could be repeated"), "{transcript}");
    let transcript = ctx.run(ctx.command(&["load", "http://localhost:1", "--connections", "5000"]));
    assert!(
        transcript.starts_with("exit 2\n") && transcript.contains("there must be 1 to 4096"),
        "{transcript}"
    );
}

#[test]
fn a_server_that_is_not_there_is_a_failure_with_a_reason() {
    let ctx = TestContext::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, figures) = figures(&ctx, &[&format!("http://{free}/"), "-n", "30", "--rate", "1000"]);
    assert_eq!(status, "exit 1");
    assert_eq!(figures["failed"]["connect failed"], 30, "{figures}");
    assert_eq!(figures["latency_ms"]["p50"], "failed", "{figures}");
    assert!(figures["because"].is_string(), "{figures}");
    assert_eq!(figures["generator"]["connect_error"], "Connection refused (os error 111)");
}

#[test]
fn ctrl_c_keeps_what_is_there() {
    let ctx = TestContext::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let program = Program::start(ctx.command(&["load", &url, "--rate", "50", "--duration", "1h"]));
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    program.signal(Signal::INT);
    let transcript = program.transcript();
    assert!(transcript.starts_with("exit 1\n") && transcript.contains("planned "), "{transcript}");
    assert!(transcript.contains("stopped after "), "{transcript}");
}
