//! Applications come, wake up, stop, and go, and no other notices.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use router::{App, Command, Event, Settings};
use wire::{BootFailure, ControlFromWorker, ControlToWorker, FromWorker, Interface, Spent, ToWorker, flag};

use crate::harness::{Host, Worker, routes, settings};

fn demand(app: App) -> impl FnMut(&Event) -> Option<()> {
    move |event| matches!(event, Event::Demand { app: wants } if *wants == app).then_some(())
}

fn gone(app: App) -> impl FnMut(&Event) -> Option<()> {
    move |event| matches!(event, Event::AppGone { app: gone } if *gone == app).then_some(())
}

#[test]
fn the_first_request_of_a_sleeping_application_waits_for_its_worker() {
    let brief = Settings { queue_timeout: Duration::from_millis(1), ..settings() };
    let mut host = Host::start(&[("/", 0)], &brief);
    let mut first = host.get("a", "/1");
    host.wait_for(demand(0));
    let mut second = host.get("a", "/2");
    host.snapshot_when(|snapshot| snapshot.apps[0].queue == 2);
    // As long as it waits, it is asked for, and its place in the queue is not what is short.
    for _ in 0..3 {
        host.wait_for(demand(0));
    }
    let mut worker = host.worker(0, 1);
    let seen = worker.request();
    assert_eq!(seen.path, "/1");
    // Now that a worker serves, a busy one is no excuse.
    for late in [second.response(), host.get("a", "/3").response()] {
        assert!(late.status == 503 && late.body.contains("N12"), "{late:?}");
    }
    worker.answer(seen.id, 200, "late");
    assert_eq!(first.response().body, "late");
}

#[test]
fn patience_with_a_start_ends() {
    let patience = Settings { start_patience: Duration::from_millis(200), ..settings() };
    let mut host = Host::start(&[("/", 0)], &patience);
    let _booting = host.booting_worker(0, 1, Interface::Wsgi);
    let answer = host.get("a", "/").response();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("A11") && answer.field("retry-after").is_some(), "{answer:?}");
}

#[test]
fn what_a_worker_says_of_its_failed_start_is_heard_before_its_end() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let (data, theirs) = UnixStream::pair().unwrap();
    let (mut control, theirs_control) = UnixStream::pair().unwrap();
    let worker = 77;
    host.send(Command::Attach { app: 0, worker, data: theirs, control: theirs_control, quota: None });
    drop(data);
    // Its process is gone, and of what it left in the links only one was read.
    thread::sleep(Duration::from_millis(50));
    let mut said = Vec::new();
    ControlFromWorker::BootFailed(BootFailure { message: "no such module", traceback: "" }).encode(&mut said);
    control.write_all(&said).unwrap();
    drop(control);
    let mut heard = Vec::new();
    host.wait_for(|event| match event {
        Event::BootFailed { message, .. } => {
            heard.push(message.clone());
            None
        }
        Event::Closed { worker: 77, .. } => Some(()),
        _ => None,
    });
    assert_eq!(heard, ["no such module"]);
}

#[test]
fn demand_comes_when_all_slots_are_taken() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &settings());
    let mut worker = host.worker(0, 2);
    let mut clients: Vec<_> = (0..2).map(|_| host.get("a", "/")).collect();
    let held: Vec<_> = (0..2).map(|_| worker.request().id).collect();
    clients.push(host.get("a", "/"));
    host.wait_for(|event| {
        assert!(!matches!(event, Event::Demand { app: 1 }), "nothing waits there");
        demand(0)(event)
    });
    for id in held {
        worker.answer(id, 200, "");
    }
    worker.serve("");
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
}

#[test]
fn load_is_reported_while_there_is_any_and_once_more() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &settings());
    let mut worker = host.worker(0, 3);
    let mut clients: Vec<_> = (0..2).map(|_| host.get("a", "/")).collect();
    let held: Vec<_> = (0..2).map(|_| worker.request().id).collect();
    let mut load = || {
        host.wait_for(|event| match *event {
            Event::Load { app, busy_peak, slots, waiting } => {
                assert_eq!((app, slots, waiting), (0, 3, 0));
                Some(busy_peak)
            }
            _ => None,
        })
    };
    // A report may fall between the two.
    while load() != 2 {}
    assert_eq!(load(), 2, "they still run");
    held.iter().for_each(|id| worker.answer(*id, 200, ""));
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    while load() != 0 {}
    let mut again = host.get("a", "/");
    worker.serve("");
    assert_eq!(again.response().status, 200);
    let next = host.wait_for(|event| match *event {
        Event::Load { busy_peak, .. } => Some(busy_peak),
        _ => None,
    });
    assert_eq!(next, 1, "nothing is reported about what sleeps");
}

#[test]
fn requests_handed_over_ahead_are_no_load() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker(0, 1);
    let mut client = host.client();
    // Long enough for the router to find out that it is fast.
    for _ in 0..200 {
        client.get("a", "/");
        worker.serve("");
        assert_eq!(client.response().status, 200);
    }
    let mut clients: Vec<_> = (0..5).map(|_| host.get("a", "/")).collect();
    host.snapshot_when(|snapshot| snapshot.apps[0].in_flight == 5);
    let busy = host.snapshot().apps[0].workers[0].busy;
    assert_eq!(busy, 1);
    // Two reports: the first may be about the time before.
    for _ in 0..2 {
        let peak = host.wait_for(|event| match *event {
            Event::Load { busy_peak, .. } => Some(busy_peak),
            _ => None,
        });
        assert_eq!(peak, 1, "it has one slot");
    }
    for client in &mut clients {
        worker.serve("");
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn a_removed_application_finishes_what_it_has() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &settings());
    let mut worker = host.worker(1, 1);
    let mut other = host.worker(0, 1);
    let (mut running, mut waiting, mut upload) =
        (host.get("a", "/b/1"), host.get("a", "/b/2"), host.client());
    let held = worker.request();
    upload.send("PUT /b/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    host.snapshot_when(|snapshot| snapshot.apps[1].in_flight == 3);
    host.send(Command::SetRoutes(routes(&[("/", 0)])));
    host.send(Command::RemoveApp { app: 1 });
    assert!(host.snapshot().apps[1].removed);
    // From now on its paths are somebody else's.
    let mut next = host.get("a", "/b/4");
    assert_eq!(other.serve("other").path, "/b/4");
    assert_eq!(next.response().body, "other");
    worker.answer(held.id, 200, "1");
    assert_eq!(running.response().body, "1");
    assert_eq!(worker.serve("2").path, "/2");
    assert_eq!(waiting.response().body, "2");
    upload.send("lo");
    assert_eq!(worker.serve("3").path, "/3");
    assert_eq!(upload.response().body, "3");
    host.wait_for(gone(1));
    assert_eq!(host.snapshot().apps.len(), 1);
    // Its worker can still be stopped in order.
    host.send(Command::Drain { worker: worker.number });
    worker.order(|order| matches!(order, ControlToWorker::Finish));
    host.wait_for(|event| matches!(event, Event::Drained { .. }).then_some(()));
    // Removing what is gone is answered too, and a worker for it is refused.
    host.send(Command::RemoveApp { app: 1 });
    host.wait_for(gone(1));
}

#[test]
fn removal_closes_websockets() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker_of(0, 10, Interface::Asgi);
    let mut client = host.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let id = worker.request().id;
    let mut out = Vec::new();
    FromWorker::encode_response(&mut out, id, 101, b"", [].into_iter(), b"", 0);
    worker.raw(&out);
    assert_eq!(client.response().status, 101);
    host.send(Command::RemoveApp { app: 0 });
    let code = worker.read(|message| match message {
        ToWorker::Close { code, .. } => Some(code),
        _ => None,
    });
    assert_eq!(code, 1012);
    let frame = client.raw();
    assert_eq!((frame[0], &frame[2..4]), (0x88, &1012_u16.to_be_bytes()[..]), "a close frame");
    // An application that closes at the same time does nothing wrong.
    worker.say(&FromWorker::Close { id, code: 1000, reason: "" });
    worker.say(&FromWorker::Done { id });
    drop(client);
    host.wait_for(|event| {
        assert!(!matches!(event, Event::Misbehaved { .. }), "{event:?}");
        gone(0)(event)
    });
}

#[test]
fn a_stopped_application_finishes_its_queue_and_takes_no_more() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &settings());
    let (mut worker, mut other) = (host.worker(0, 1), host.worker(1, 1));
    let (mut running, mut waiting) = (host.get("a", "/1"), host.client());
    let held = worker.request();
    waiting.get("a", "/2");
    host.snapshot_when(|snapshot| snapshot.apps[0].queue == 1);
    host.send(Command::SetOpen { app: 0, open: false });
    host.snapshot();
    let mut client = host.get("a", "/3");
    let answer = client.response();
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("30")));
    assert!(answer.body.contains("code: stopped"), "{}", answer.body);
    // A body is not asked for, and the answer ends the connection.
    let mut upload = host.client();
    upload.send("POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(upload.response().status, 503);
    upload.closed();
    let mut elsewhere = host.get("a", "/b");
    other.serve("");
    assert_eq!(elsewhere.response().status, 200);
    worker.answer(held.id, 200, "1");
    assert_eq!(running.response().body, "1");
    worker.serve("2");
    assert_eq!(waiting.response().body, "2");
    host.send(Command::SetOpen { app: 0, open: true });
    host.snapshot();
    client.get("a", "/5");
    worker.serve("5");
    assert_eq!(client.response().body, "5");
}

#[test]
fn settings_change_for_later_requests() {
    let mut host = Host::start(&[("/", 0)], &Settings { body_size: 4, ..settings() });
    let mut worker = host.worker(0, 1);
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let mut client = host.client();
    client.send(put);
    assert_eq!(client.response().status, 413);
    host.send(Command::SetApp { app: 0, name: "renamed".to_owned(), settings: Box::new(settings()) });
    assert_eq!(host.snapshot().apps[0].name, "renamed");
    let mut client = host.client();
    client.send(put);
    worker.serve("");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_worker_of_one_application_cannot_touch_another() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &settings());
    let (mut honest, mut liar) = (host.worker(0, 1), host.worker(1, 1));
    let mut client = host.get("a", "/");
    let held = honest.request();
    liar.answer(held.id, 200, "stolen");
    host.wait_for(|event| match event {
        Event::Misbehaved { worker, .. } => {
            assert_eq!(*worker, liar.number);
            Some(())
        }
        _ => None,
    });
    honest.answer(held.id, 200, "mine");
    assert_eq!(client.response().body, "mine");
    // What the dead worker's application is asked waits for the next, and is run by no other.
    let mut waiting = host.get("a", "/b");
    host.wait_for(demand(1));
    host.worker(1, 1).serve("next");
    assert_eq!(waiting.response().body, "next");
}

/// The worker dies: how many of its requests run again, and how many are answered 502.
fn end(host: &mut Host, worker: &Worker) -> (usize, usize) {
    worker.die();
    host.wait_for(|event| match *event {
        Event::Closed { replayed, failed, .. } => Some((replayed, failed)),
        _ => None,
    })
}

#[test]
fn retries_have_a_budget() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut clients: Vec<_> = (0..25).map(|_| host.get("a", "/")).collect();
    host.snapshot_when(|snapshot| snapshot.apps[0].queue == 25);
    let mut worker = host.worker(0, 25);
    for _ in 0..25 {
        worker.request();
    }
    assert_eq!(end(&mut host, &worker), (10, 15), "the floor of the budget");
    let mut next = host.worker(0, 25);
    for _ in 0..10 {
        next.serve("again");
    }
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.response().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10);
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 15);
    let snapshot = host.snapshot_when(|snapshot| snapshot.apps[0].requests == 25);
    assert_eq!((snapshot.apps[0].replayed, snapshot.apps[0].failed), (10, 15));
}

#[test]
fn what_had_not_started_costs_no_budget() {
    let mut host = Host::start(&[("/", 0)], &Settings { retry_budget: 0.0, ..settings() });
    let mut clients: Vec<_> = (0..25).map(|_| host.client()).collect();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    clients.iter_mut().for_each(|client| client.send(post));
    host.snapshot_when(|snapshot| snapshot.apps[0].queue == 25);
    let mut worker = host.worker(0, 25);
    let ids: Vec<_> = (0..25).map(|_| worker.request().id).collect();
    worker.say(&FromWorker::Started { id: ids[0] });
    assert_eq!(end(&mut host, &worker), (24, 1));
    let mut next = host.worker(0, 25);
    for _ in 0..24 {
        next.serve("");
    }
    let answered = clients.iter_mut().map(|client| client.response().status);
    assert_eq!(answered.filter(|status| *status == 200).count(), 24);
}

/// One request that ends every worker it meets, and others that are handed over ahead behind it.
#[test]
fn what_waits_behind_a_request_that_ends_its_worker_outlives_it() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker(0, 1);
    let mut first = host.get("a", "/");
    let learnt = worker.request();
    let mut answer = Vec::new();
    let flags = flag::END | flag::DONE;
    FromWorker::encode_response(&mut answer, learnt.id, 200, b"", [].into_iter(), b"", flags);
    let tiny = Spent { wall: 1, cpu: 1, run_queue: None, gil: None };
    tiny.attach(&mut answer, 0);
    worker.raw(&answer);
    assert_eq!(first.response().status, 200);
    assert_eq!(end(&mut host, &worker), (0, 0));

    let mut clients: Vec<_> = (0..20).map(|_| host.get("a", "/")).collect();
    host.snapshot_when(|snapshot| snapshot.apps[0].queue == 20);
    let mut worker = host.worker(0, 1);
    (0..20).for_each(|_| drop(worker.request()));
    assert_eq!(end(&mut host, &worker), (20, 0), "the budget is ten, but only one can have ended it");
    let mut worker = host.worker(0, 1);
    worker.request();
    assert_eq!(end(&mut host, &worker), (0, 1), "none is with it, to end with it for the second time");
    let mut worker = host.worker(0, 1);
    for _ in 0..19 {
        worker.serve("again");
    }
    let statuses = clients.iter_mut().map(|client| client.response().status);
    assert_eq!(statuses.filter(|status| *status == 200).count(), 19);
}
