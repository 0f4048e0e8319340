//! Limits of one application that hold for it and for no other.

use std::time::Duration;

use router::{Command, Event, RouteOverride, Settings};
use wire::{ControlFromWorker, ControlToWorker};

use crate::harness::{Host, settings};

const SHORT: Duration = Duration::from_millis(150);

fn set(host: &Host, app: router::App, settings: Settings) {
    host.send(Command::SetApp { app, name: "set".to_owned(), settings: Box::new(settings) });
}

#[test]
fn heads_are_limited_by_the_application_they_are_for() {
    let mut host = Host::start(&[("/", 0), ("/small", 1)], &settings());
    set(&host, 1, Settings { header_size: 1024, ..settings() });
    let mut worker = host.worker(0, 1);
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2000));
    let mut client = host.client();
    client.send(&head("/"));
    worker.serve("");
    assert_eq!(client.response().status, 200);
    client.send(&head("/small"));
    assert_eq!(client.response().status, 431);
    client.closed();
    let snapshot = host.snapshot();
    assert_eq!((snapshot.apps[1].requests, snapshot.apps[1].in_flight), (1, 0));
}

#[test]
fn connections_count_for_their_latest_application() {
    let mut host = Host::start(&[("/", 0), ("/few", 1)], &settings());
    set(&host, 1, Settings { connections: 2, ..settings() });
    let (mut many, mut few) = (host.worker(0, 1), host.worker(1, 1));
    let mut clients: Vec<_> = (0..2).map(|_| host.client()).collect();
    for client in &mut clients {
        client.get("a", "/few");
        few.serve("");
        assert_eq!(client.response().status, 200);
    }
    let mut third = host.client();
    third.get("a", "/");
    many.serve("");
    assert_eq!(third.response().status, 200);
    let mut refused = host.get("a", "/few");
    let answer = refused.response();
    assert_eq!((answer.status, answer.field("connection")), (503, Some("close")));
    assert!(answer.body.contains("N10") && answer.field("retry-after").is_some());
    refused.closed();
    // One of the two moves on: there is room for the third.
    clients[0].get("a", "/");
    many.serve("");
    assert_eq!(clients[0].response().status, 200);
    third.get("a", "/few");
    few.serve("");
    assert_eq!(third.response().status, 200);
    let snapshot = host.snapshot();
    assert_eq!((snapshot.apps[0].connections, snapshot.apps[1].connections), (1, 2));
    drop((clients, third));
    host.snapshot_when(|snapshot| snapshot.apps.iter().all(|app| app.connections == 0));
}

#[test]
fn parts_of_an_application_have_their_own_deadline_and_size() {
    let part = |prefix: &str| RouteOverride { prefix: prefix.to_owned(), ..RouteOverride::default() };
    let overrides = vec![
        RouteOverride { request_timeout: Some(None), ..part("/stream") },
        RouteOverride { body_size: Some(3), ..part("/tiny") },
    ];
    let limited = Settings { request_timeout: Some(SHORT), overrides, ..settings() };
    let mut host = Host::start(&[("/app", 0)], &limited);
    let mut worker = host.worker(0, 2);
    let mut endless = host.get("a", "/app/stream");
    let streaming = worker.request();
    let late = host.get("a", "/app/x").response();
    assert_eq!(late.status, 504);
    assert!(late.body.contains("N20"));
    let overdue = worker.request();
    worker.order(|order| *order == ControlToWorker::Interrupt { id: overdue.id });
    worker.answer(streaming.id, 200, "at last");
    assert_eq!(endless.response().body, "at last");
    let mut upload = host.client();
    upload.send("PUT /app/tiny/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhell");
    assert_eq!(upload.response().status, 413);
}

#[test]
fn the_first_byte_has_a_deadline_of_its_own() {
    let limited = Settings { first_byte_timeout: Some(SHORT), interrupt_grace: SHORT, ..settings() };
    let mut host = Host::start(&[("/", 0)], &limited);
    let mut worker = host.worker(0, 2);
    // An answer that has begun may take as long as it likes.
    let mut slow = host.get("a", "/slow");
    let begun = worker.request();
    let mut out = Vec::new();
    let length = [(&b"content-length"[..], &b"4"[..])];
    wire::FromWorker::encode_response(&mut out, begun.id, 200, b"", length.into_iter(), b"sl", 0);
    worker.raw(&out);
    let silent = host.get("a", "/silent").response();
    assert_eq!(silent.status, 504);
    assert!(silent.body.contains("did not begin"), "{}", silent.body);
    let id = worker.request().id;
    worker.order(|order| *order == ControlToWorker::Interrupt { id });
    host.wait_for(|event| matches!(event, Event::Hung { .. }).then_some(()));
    worker.say(&wire::FromWorker::Body { id: begun.id, data: b"ow", end: true, done: true });
    assert_eq!(slow.response().body, "slow");
}

#[test]
fn a_stack_is_reported_once_even_if_it_comes_after_the_end_of_its_request() {
    let limited = Settings { request_timeout: Some(SHORT), ..settings() };
    let mut host = Host::start(&[("/", 0)], &limited);
    let mut worker = host.worker(0, 1);
    assert_eq!(host.get("a", "/stuck").response().status, 504);
    let id = worker.request().id;
    worker.order(|order| *order == ControlToWorker::Interrupt { id });
    worker.answer(id, 500, "");
    // The end is known when the next request is handed over.
    let mut next = host.get("a", "/next");
    worker.serve("");
    assert_eq!(next.response().status, 200);
    for text in ["first", "second"] {
        worker.tell(&ControlFromWorker::Stack { id, text });
    }
    let mut later = host.get("a", "/later");
    worker.serve("");
    assert_eq!(later.response().status, 200);
    worker.die();
    let mut notices = Vec::new();
    host.wait_for(|event| match event {
        Event::Stuck { request, stack, .. } => {
            notices.push((request.clone(), stack.clone()));
            None
        }
        Event::Closed { .. } => Some(()),
        _ => None,
    });
    let [(request, stack)] = &notices[..] else { panic!("{notices:?}") };
    assert!(request.ends_with(" GET /stuck") && stack == "first", "{notices:?}");
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let mut host = Host::start(&[("/", 0)], &Settings { queue: 3, ..settings() });
    let mut worker = host.worker(0, 1);
    let mut clients: Vec<_> = (0..2).map(|_| host.get("a", "/")).collect();
    let mut held = worker.request();
    clients.extend((0..2).map(|_| host.get("a", "/")));
    host.snapshot_when(|snapshot| snapshot.apps[0].queue == 3);
    let answer = host.get("a", "/").response();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("N11") && answer.field("retry-after").is_some(), "{answer:?}");
    // After seconds without any progress, nobody should come back soon.
    for _ in 0..4 {
        host.wait_for(|event| matches!(event, Event::Load { .. }).then_some(()));
    }
    let seconds: u8 = host.get("a", "/").response().field("retry-after").unwrap().parse().unwrap();
    assert_eq!(seconds, 30);
    for client in &mut clients {
        worker.answer(held.id, 200, "");
        assert_eq!(client.response().status, 200);
        held = match host.snapshot().apps[0].in_flight {
            0 => break,
            _ => worker.request(),
        };
    }
}

#[test]
fn the_host_counts_connections_before_anybody_reads_them() {
    let few = router::HostSettings { connections: 2, ..crate::harness::host_settings() };
    let mut host = Host::start_with(few, &[("/", 0)], &settings());
    let mut worker = host.worker(0, 1);
    let mut clients: Vec<_> = (0..2).map(|_| host.get("a", "/")).collect();
    for client in &mut clients {
        worker.serve("");
        assert_eq!(client.response().status, 200);
    }
    let mut third = host.client();
    assert_eq!(third.response().status, 503);
    host.send(Command::SetHost(Box::new(crate::harness::host_settings())));
    host.snapshot();
    let mut fourth = host.get("a", "/");
    worker.serve("");
    assert_eq!(fourth.response().status, 200);
}
