//! Every refusal has a name that the visitor reads and the host is told.

use std::time::Duration;

use incident::{Code, Id, Ids, Lane, Name};
use router::{Command, Event, Reason, Settings, Trouble};
use wire::ToWorker;

use crate::harness::{Client, Host, Response, settings};

fn name(answer: &Response) -> Name {
    let text = answer.field("serpentry-incident").unwrap_or_else(|| panic!("no incident: {answer:?}"));
    assert!(answer.body.is_empty() || answer.body.contains(text), "{answer:?}");
    text.parse().unwrap_or_else(|_| panic!("{text} is no name"))
}

/// Wait for reports of this reason until they add up to `count`; all of them.
fn troubles(host: &mut Host, reason: Reason, count: u64) -> Vec<Trouble> {
    let mut found: Vec<Trouble> = Vec::new();
    host.wait_for(|event| {
        if let Event::Trouble(trouble) = event
            && trouble.reason == reason
        {
            found.push((**trouble).clone());
        }
        let sum: u64 = found.iter().map(|trouble| trouble.count).sum();
        assert!(sum <= count, "{found:?}");
        (sum == count).then_some(())
    });
    found
}

/// What the host would say of a worker's end.
fn verdict() -> Name {
    Name { code: Code::M10, id: Ids::new(Lane::Host).draw(Duration::from_secs(1_764_000_000)) }
}

fn post(host: &Host, path: &str) -> Client {
    let mut client = host.client();
    client.send(&format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"));
    client
}

#[test]
fn all_who_are_refused_for_the_same_reason_read_the_same_name() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &Settings { queue: 1, ..settings() });
    let mut workers = [host.worker(0, 1), host.worker(1, 1)];
    let mut waiting = Vec::new();
    for (worker, path) in workers.iter_mut().zip(["/", "/b"]) {
        waiting.push(host.get("a", path));
        worker.request();
        waiting.extend([host.get("a", path), host.get("a", path)]);
    }
    host.snapshot_when(|snapshot| snapshot.apps.iter().all(|app| app.in_flight >= 2));
    let refused = |path: &str| -> Vec<Name> {
        let mut names = Vec::new();
        // One waits inside of the worker, or in the queue: it is enough that the rest is refused.
        for _ in 0..8 {
            let mut client = host.client();
            client.send(&format!("GET {path}?secret=1 HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n"));
            names.push(client);
        }
        names.iter_mut().map(|client| name(&client.response())).collect()
    };
    let (first, second) = (refused("/x"), refused("/b"));
    assert!(first.iter().all(|it| *it == first[0]) && second.iter().all(|it| *it == second[0]));
    assert_eq!((first[0].code, second[0].code), (Code::N11, Code::N11));
    assert_ne!(first[0].id, second[0].id, "two applications have two incidents");
    let told = troubles(&mut host, Reason::QueueFull, 16 + 2);
    let ids = |app| told.iter().filter(move |trouble| trouble.app == Some(app)).map(|trouble| trouble.id);
    assert!(ids(0).all(|id: Id| id == first[0].id) && ids(1).all(|id| id == second[0].id), "{told:?}");
    assert_eq!((told[0].figures.limit, told[0].figures.used), (Some(1.0), Some(1.0)));
    let requests: Vec<_> = told.iter().flat_map(|trouble| &trouble.requests).collect();
    assert!(requests.iter().any(|it| it.method == "GET" && it.path == "/x" && it.outcome == "answered 503"));
    assert!(requests.iter().all(|it| !it.path.contains("secret")), "queries may hold secrets");
    assert!(told.iter().all(|trouble| trouble.requests.len() <= 4), "samples are bounded");
    drop(waiting);
}

#[test]
fn those_whose_worker_died_wait_to_be_told_how() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker(0, 1);
    let mut client = post(&host, "/pay");
    let id = worker.request().id;
    worker.say(&wire::FromWorker::Started { id });
    // The router has read that before anything else happens.
    worker.read(|message| matches!(message, ToWorker::Body { .. }).then_some(()));
    worker.die();
    let requests = host.wait_for(|event| match event {
        Event::Closed { replayed: 0, failed: 1, requests, .. } => Some(requests.clone()),
        _ => None,
    });
    assert_eq!((requests[0].method.as_str(), requests[0].outcome), ("POST", "answered 502"));
    let told = verdict();
    // Of another worker first: that is not theirs.
    let other = Name { code: Code::A21, ..told };
    host.send(Command::Explain { app: 0, worker: worker.number + 1, name: other });
    host.send(Command::Explain { app: 0, worker: worker.number, name: told });
    let answer = client.response();
    assert_eq!((answer.status, name(&answer)), (502, told));
    assert!(answer.body.contains("code: M10"), "{answer:?}");
    let reasons = host.snapshot().apps[0].refused.clone();
    assert_eq!(reasons, [(Reason::WorkerDied, 1)]);
}

#[test]
fn nobody_waits_for_long_to_be_told() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker(0, 1);
    let mut client = post(&host, "/pay");
    let id = worker.request().id;
    worker.say(&wire::FromWorker::Started { id });
    worker.read(|message| matches!(message, ToWorker::Body { .. }).then_some(()));
    worker.die();
    let answer = client.response();
    assert_eq!((answer.status, name(&answer).code), (502, Code::A20));
    let told = troubles(&mut host, Reason::WorkerDied, 1);
    assert_eq!(told[0].id, name(&answer).id);
}

#[test]
fn a_request_that_is_refused_early_is_answered_as_it_asked() {
    let limited = Settings { body_size: 10, ..settings() };
    let mut host = Host::start(&[("/", 0)], &limited);
    let too_large = |method: &str, accept: &str| {
        let mut client = host.client();
        client.send(&format!(
            "{method} /%1b%3Cscript%3E HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nContent-Length: 11\r\n\r\n"
        ));
        client
    };
    let mut names = Vec::new();
    for (accept, kind, part) in [
        ("application/json", "application/problem+json", "\"incident\":\"N22-"),
        ("text/html", "text/html; charset=utf-8", "<small>incident N22-"),
        ("*/*", "text/plain; charset=utf-8", "\nincident: N22-"),
    ] {
        let answer = too_large("POST", accept).response();
        assert_eq!((answer.status, answer.field("content-type")), (413, Some(kind)));
        assert!(answer.body.contains(part), "{answer:?}");
        assert!(!answer.body.contains("script") && !answer.head.contains("script"), "{answer:?}");
        names.push(name(&answer));
    }
    let mut head = too_large("HEAD", "*/*");
    let raw = String::from_utf8(head.raw()).expect("text");
    assert!(
        raw.contains("serpentry-incident: N22-") && raw.ends_with("\r\n\r\n"),
        "a body after HEAD: {raw}"
    );
    let told = troubles(&mut host, Reason::BodyTooLarge, 4);
    assert!(told.iter().all(|trouble| trouble.id == names[0].id), "{told:?}");
    assert_eq!(told[0].figures.limit, Some(10.0));
    assert_eq!(told[0].requests[0].path, "/%1b%3Cscript%3E");
}

#[test]
fn a_broken_response_is_told_with_its_fault() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker(0, 1);
    let mut client = host.get("a", "/broken");
    let id = worker.request().id;
    let mut out = Vec::new();
    let header = [(&b"X-Note"[..], &b"a\r\nSet-Cookie: x"[..])].into_iter();
    let flags = wire::flag::END | wire::flag::DONE;
    wire::FromWorker::encode_response(&mut out, id, 200, b"", header, b"", flags);
    worker.raw(&out);
    let answer = client.response();
    assert_eq!((answer.status, name(&answer).code), (500, Code::A30));
    assert!(!answer.head.to_lowercase().contains("set-cookie"), "{answer:?}");
    let told = host.wait_for(|event| match event {
        Event::Trouble(trouble) if !trouble.detail.is_empty() => Some((**trouble).clone()),
        _ => None,
    });
    assert_eq!((told.id, told.reason), (name(&answer).id, Reason::BrokenResponse));
    assert!(told.detail.contains("X-Note"), "{}", told.detail);
}
