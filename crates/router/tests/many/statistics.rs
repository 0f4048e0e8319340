//! The figures that the router gives about itself.

use std::time::Duration;

use router::{Reason, Settings, WorkerPhase};

use crate::harness::{Host, settings};

#[test]
fn figures_add_up() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &Settings { body_size: 10, ..settings() });
    let mut worker = host.worker(0, 2);
    let mut client = host.client();
    let mut sent = 0;
    for status in [200, 200, 204, 304, 404, 500] {
        let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(ask);
        sent += ask.len() as u64;
        let seen = worker.request();
        worker.answer(seen.id, status, "");
        assert_eq!(client.response().status, status);
    }
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    client.send(put);
    sent += put.len() as u64;
    worker.serve("x");
    client.response();
    let mut refused = host.client();
    let large = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n";
    refused.send(large);
    sent += large.len() as u64;
    assert_eq!(refused.response().status, 413);
    let left = host.get("a", "/");
    sent += "GET / HTTP/1.1\r\nHost: a\r\n\r\n".len() as u64;
    let held = worker.request();
    left.leave();
    let mut running = host.get("a", "/");
    sent += "GET / HTTP/1.1\r\nHost: a\r\n\r\n".len() as u64;
    let last = worker.request();
    worker.answer(held.id, 200, "");

    let snapshot =
        host.snapshot_when(|snapshot| snapshot.apps[0].requests == 9 && snapshot.apps[0].in_flight == 1);
    let app = &snapshot.apps[0];
    assert_eq!((app.app, &*app.name, app.open, app.removed), (0, "app0", true, false));
    assert_eq!(app.statuses[..4], [(200, 4), (204, 1), (304, 1), (404, 1)]);
    assert_eq!(app.statuses[4..], [(413, 1), (500, 1)]);
    assert_eq!(app.classes, [0, 5, 1, 2, 1]);
    assert_eq!(app.failed, 0, "the application's own 500 is not the host's");
    assert_eq!(app.refused, [(Reason::BodyTooLarge, 1)]);
    assert_eq!(app.bytes_in, sent);
    assert!(app.bytes_out > 8 * 100, "{}", app.bytes_out);
    // Without the one that was refused before it was submitted.
    assert_eq!((app.total.count(), app.queued.count(), app.service.count()), (8, 8, 8));
    assert_eq!(app.recent.count(), 8);
    assert!(app.total.quantile(1.0).unwrap() < Duration::from_secs(60));
    assert!(app.total.sum() >= app.service.sum());
    let workers: Vec<_> =
        app.workers.iter().map(|w| (w.worker, w.phase, w.slots, w.busy, w.requests)).collect();
    assert_eq!(workers, [(worker.number, WorkerPhase::Serving, 2, 1, 9)]);
    assert_eq!((app.queue, app.queue_limit), (0, 100));
    let idle = &snapshot.apps[1];
    assert_eq!((idle.requests, idle.total.is_empty(), idle.workers.len()), (0, true, 0));
    worker.answer(last.id, 200, "");
    assert_eq!(running.response().status, 200);
}

#[test]
fn phases_are_measured() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let pause = Duration::from_millis(40);
    let mut client = host.get("a", "/");
    host.snapshot_when(|snapshot| snapshot.apps[0].queue == 1);
    std::thread::sleep(pause);
    let mut worker = host.worker(0, 1);
    let seen = worker.request();
    std::thread::sleep(2 * pause);
    worker.answer(seen.id, 200, "");
    client.response();
    let snapshot = host.snapshot_when(|snapshot| snapshot.apps[0].requests == 1);
    let app = &snapshot.apps[0];
    let longest = |histogram: &router::Histogram| histogram.quantile(1.0).unwrap();
    let slack = |at_least: Duration| at_least.mul_f64(0.97);
    assert!(longest(&app.queued) >= slack(pause), "{:?}", longest(&app.queued));
    assert!(longest(&app.service) >= slack(2 * pause), "{:?}", longest(&app.service));
    assert!(longest(&app.total) >= slack(3 * pause), "{:?}", longest(&app.total));
}
