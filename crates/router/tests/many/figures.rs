//! What workers say their requests took: told to clients where that is wanted, and never more than the router saw.

use std::time::Duration;

use router::{Command, Event, Finding, RouteSnapshot, Settings};
use wire::{FromWorker, Spent, flag};

use crate::harness::{Host, Worker, settings};

/// A whole response, and what its request took.
fn answer(worker: &mut Worker, id: u64, spent: Spent) {
    let mut out = Vec::new();
    let flags = flag::END | flag::DONE;
    FromWorker::encode_response(&mut out, id, 200, b"", [].into_iter(), b"ok", flags);
    spent.attach(&mut out, 0);
    worker.raw(&out);
}

fn routes(host: &Host, app: u32) -> Option<Vec<RouteSnapshot>> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    host.send(Command::Routes { app, reply });
    answer.blocking_recv().expect("the router answers").map(|found| found.routes)
}

/// As soon as it has one.
fn route(host: &Host) -> RouteSnapshot {
    host.snapshot_when(|snapshot| snapshot.apps[0].requests == 1);
    let mut routes = routes(host, 0).expect("an application");
    assert_eq!(routes.len(), 1, "{routes:?}");
    routes.remove(0)
}

const LIE: Spent = Spent { wall: u32::MAX, cpu: u32::MAX - 1, run_queue: Some(u32::MAX - 1), gil: Some(7) };

#[test]
fn a_worker_that_lies_is_cut_to_what_was_seen() {
    let mut host = Host::start(&[("/", 0), ("/b", 1)], &Settings { server_timing: true, ..settings() });
    let mut worker = host.worker(0, 4);
    let mut client = host.get("a", "/users/7?x=1");
    let id = worker.request().id;
    std::thread::sleep(Duration::from_millis(30));
    answer(&mut worker, id, LIE);
    let response = client.response();
    let field = response.field("server-timing").expect("it is wanted");
    let cpu = field.split("cpu;dur=").nth(1).and_then(|rest| rest.split(',').next()).expect("a figure");
    let cpu: f64 = cpu.parse().expect("a number");
    let route = route(&host);
    let total = route.latency[2].expect("counted").as_secs_f64() * 1e3;
    assert!((30.0..=total * 1.07).contains(&cpu), "{field}; all of it took {total} ms");
    assert_eq!((route.method, &*route.route), ("GET", "/users/{}"));
    assert!(route.cpu.expect("measured").as_secs_f64() * 1e3 <= total * 1.07, "{route:?}");
    let rest = [route.wait, route.run_queue, route.gil].map(|part| part.expect("said"));
    assert_eq!(rest, [Duration::ZERO; 3], "there was no time for anything else");
    assert_eq!(routes(&host, 1).map(|routes| routes.len()), Some(0), "of another application nothing");
    assert!(routes(&host, 9).is_none());
}

#[test]
fn requests_of_one_event_loop_cannot_compute_at_the_same_time() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker_of(0, 100, wire::Interface::Asgi);
    let mut clients: Vec<_> = (0..10).map(|_| host.get("a", "/x")).collect();
    let ids: Vec<_> = clients.iter().map(|_| worker.request().id).collect();
    std::thread::sleep(Duration::from_millis(20));
    for id in ids {
        answer(&mut worker, id, LIE);
    }
    for client in &mut clients {
        assert_eq!(client.response().field("server-timing"), None, "nobody wants it");
    }
    host.snapshot_when(|snapshot| snapshot.apps[0].requests == 10);
    let found = &routes(&host, 0).expect("an application")[0];
    let busy = host.snapshot().apps[0].workers[0].busy_time;
    assert!(found.cpu_total >= Duration::from_millis(20) && found.cpu_total <= busy, "{found:?} in {busy:?}");
}

#[test]
fn figures_may_come_after_the_answer() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker(0, 1);
    let mut client = host.get("a", "/x");
    let id = worker.request().id;
    let mut out = Vec::new();
    FromWorker::encode_response(&mut out, id, 200, b"", [].into_iter(), b"ok", flag::END);
    worker.raw(&out);
    assert_eq!(client.response().body, "ok");
    let before = route(&host);
    assert_eq!((before.requests, before.cpu), (1, None), "nothing was said yet");
    std::thread::sleep(Duration::from_millis(10));
    let mut out = Vec::new();
    FromWorker::Done { id }.encode(&mut out);
    Spent { wall: 9000, cpu: 8000, run_queue: None, gil: None }.attach(&mut out, 0);
    worker.raw(&out);
    // The next request is handed over only when this one is done with.
    let _next = host.get("a", "/x");
    worker.request();
    let found = &routes(&host, 0).expect("an application")[0];
    assert_eq!((found.requests, found.cpu), (1, Some(Duration::from_micros(8000))));
}

#[test]
fn the_figures_of_several_requests_are_findings() {
    let mut host = Host::start(&[("/", 0)], &settings());
    let mut worker = host.worker(0, 2);
    for _ in 0..6 {
        let mut client = host.get("a", "/report/1");
        let id = worker.request().id;
        std::thread::sleep(Duration::from_millis(250));
        answer(&mut worker, id, Spent { wall: 250_000, cpu: 240_000, run_queue: None, gil: Some(0) });
        client.response();
    }
    let found = host.wait_for(|event| match event {
        Event::Found(found) => Some(found.clone()),
        _ => None,
    });
    let Finding::CpuHeavy { route, count, cpu, requests, .. } = found.finding else {
        panic!("something else: {found:?}");
    };
    assert_eq!((found.app, &*route), (0, "GET /report/{}"));
    assert!((5..=6).contains(&count) && cpu >= Duration::from_millis(235), "{count} {cpu:?}");
    assert_eq!(requests[0].path, "/report/1");
}
