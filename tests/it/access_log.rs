//! The access log as a file: its forms, and its rotation without losing a line.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::context::TestContext;
use crate::http;

/// Quotes, backslashes, control characters, bytes that are not UTF-8, and what a terminal would obey.
const HOSTILE: &[&[u8]] = &[
    b"plain",
    b"\"quoted\" and \\back\\slashed\\",
    b"tab\tinside",
    b"latin-1 \xe9\xff",
    b"utf-8 \xc3\xa9 \xe2\x82\xac",
    b"broken utf-8 \xe2\x82",
    b"{\"json\": [1, 2]}",
];

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = String::from_utf8(text).expect("the log is UTF-8 whatever clients send");
    assert!(text.is_empty() || text.ends_with('\n'), "a line is cut: {text:?}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn json_is_one_object_per_line_whatever_the_client_sends() {
    let ctx = TestContext::new();
    let program = ctx.serve(&["hello:app", "--access-log", "access.log", "--log-format", "json"]);
    let address = program.address();
    for (number, agent) in HOSTILE.iter().enumerate() {
        let mut request =
            format!("GET /{number}?q=%22%0a\\\" HTTP/1.1\r\nHost: it\r\nUser-Agent: ").into_bytes();
        request.extend_from_slice(agent);
        request.extend_from_slice(b"\r\nReferer: ");
        request.extend_from_slice(agent);
        request.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
        let status = http::send_raw(&address, &request).answer().status;
        assert!([200, 400].contains(&status), "{status} for {agent:?}");
    }
    assert_eq!(http::get(&address, "/last").status, 200);
    assert_eq!(program.stop(), Some(0));

    let objects: Vec<Value> = lines(&ctx.path("access.log"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let last = objects.last().unwrap();
    let keys: Vec<&str> = last.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "app",
        "bytes",
        "client",
        "method",
        "queue_ms",
        "referer",
        "request_id",
        "status",
        "target",
        "time",
        "total_ms",
        "user_agent",
        "version",
        "worker",
    ];
    assert_eq!(keys, expected);
    assert_eq!(
        [&last["client"], &last["method"], &last["target"], &last["user_agent"], &last["version"]],
        ["127.0.0.1", "GET", "/last", "it \"quoted\"", "1.1"]
    );
    assert_eq!((last["status"].as_u64(), last["worker"].as_u64()), (Some(200), Some(1)));
    assert!(last["total_ms"].as_f64() >= last["queue_ms"].as_f64(), "{last}");
    assert!(objects.len() > 3, "hostile requests are logged as well: {objects:#?}");
    let plain = objects.iter().find(|object| object["user_agent"] == "plain").unwrap();
    assert_eq!(plain["target"], "/0?q=%22%0a\\\"");
}

#[test]
fn common_and_combined_lines_have_their_form() {
    for (format, rest) in [("common", ""), ("combined", " \"-\" \"it \\x22quoted\\x22\"")] {
        let ctx = TestContext::new();
        let program = ctx.serve(&["hello:app", "--access-log", "access.log", "--log-format", format]);
        let body = http::get(&program.address(), "/page?x=1").body;
        assert_eq!(program.stop(), Some(0));
        let line = lines(&ctx.path("access.log")).concat();
        let (before, after) = line.split_once('[').unwrap();
        let (stamp, after) = after.split_once(']').unwrap();
        assert_eq!(before, "127.0.0.1 - - ", "{line}");
        assert_eq!(stamp.len(), "23/Nov/2026:08:00:00 +0000".len(), "{line}");
        let expected = format!(" \"GET /page?x=1 HTTP/1.1\" 200 {}{rest}", body.len());
        assert_eq!(after, expected, "{format}");
    }
}

/// Wait until the log has that many lines.
fn wait_for_lines(path: &Path, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let written = fs::read(path).unwrap().iter().filter(|byte| **byte == b'\n').count();
        if written >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{written} of {count} lines in {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn rotation_loses_and_repeats_no_line() {
    let ctx = TestContext::new();
    let log = ctx.path("access.log");
    let program = ctx.serve(&["hello:app", "--access-log", "access.log", "--log-format", "json"]);
    let address = program.address();
    let mut number = 0;
    let mut request = || {
        assert_eq!(http::get(&address, &format!("/{number}")).status, 200);
        number += 1;
    };
    let mut files = Vec::new();
    for rotation in 1..=3 {
        (0..20).for_each(|_| request());
        let old = ctx.path(&format!("access.log.{rotation}"));
        fs::rename(&log, &old).unwrap();
        files.push(old);
        // Written to the old file, under its new name, until the signal is obeyed.
        (0..5).for_each(|_| request());
        // A line is written some time after its answer: wait, or the last ones may go to the next file.
        wait_for_lines(files.last().unwrap(), 25);
        program.signal(Signal::USR1);
        // Nothing says when it was obeyed but the new file itself; requests go on in the meantime, a few hundred at most.
        let mut left = 500;
        while !log.exists() {
            request();
            left -= 1;
            assert!(left > 0, "no new file after 500 requests");
        }
    }
    request();
    assert_eq!(program.stop(), Some(0));

    files.push(log);
    let counts: Vec<usize> = files.iter().map(|file| lines(file).len()).collect();
    assert!(counts[..3].iter().all(|count| *count >= 25), "each file has its share: {counts:?}");
    let targets: Vec<String> = files
        .iter()
        .flat_map(|file| lines(file))
        .map(|line| serde_json::from_str::<Value>(&line).unwrap()["target"].to_string())
        .collect();
    let expected: Vec<String> = (0..number).map(|number| format!("\"/{number}\"")).collect();
    assert_eq!(targets, expected);
}

#[test]
fn a_log_that_cannot_be_reopened_keeps_the_old_file() {
    let ctx = TestContext::new();
    let old = ctx.write("logs/old", "");
    let program = ctx.serve(&["hello:app", "--access-log", "logs/access.log", "--log-format", "json"]);
    let address = program.address();
    assert_eq!(http::get(&address, "/before").status, 200);
    fs::rename(ctx.path("logs/access.log"), &old).unwrap();
    // In the way of the new file.
    fs::create_dir(ctx.path("logs/access.log")).unwrap();
    program.signal(Signal::USR1);
    program.line("logs/access.log");
    assert_eq!(http::get(&address, "/after").status, 200);
    assert_eq!(program.stop(), Some(0));
    assert_eq!(lines(&old).len(), 2);
}
