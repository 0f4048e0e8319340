//! The generator against servers whose behaviour is known exactly.

#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

mod server;

use std::time::Duration;

use lab::load::mix::Request;
use lab::load::{
    Endpoint, Limits, LoadError, LoadPlan, Mix, Outcome, Pace, RawRecords, Record, Schedule, StopRule,
    Summary, Tally, Watch, run,
};
use server::{Behaviour, Server};

fn get(target: &str) -> Request {
    Request::new("GET", "localhost", target, &[], b"").unwrap()
}

fn plan(endpoint: &Endpoint, pace: Pace, milliseconds: u64) -> LoadPlan {
    LoadPlan {
        endpoint: endpoint.clone(),
        mix: Mix::single(get("/")),
        pace,
        stop: StopRule { duration: Duration::from_millis(milliseconds), requests: None },
        limits: Limits { outstanding: 256, pool: None, timeout: Duration::from_secs(10) },
        seed: 7,
        realtime: false,
        arm: 1,
        block: 2,
    }
}

fn constant(rate: f64) -> Pace {
    Pace::Open(Schedule::Constant { rate })
}

fn carry_out(plan: &LoadPlan) -> (Tally, RawRecords, Summary) {
    let mut recorders = (Tally::default(), RawRecords::default());
    let summary = run(plan, &mut recorders, &Watch::default()).unwrap();
    (recorders.0, recorders.1, summary)
}

#[test]
fn every_planned_request_is_recorded_once() {
    for server in [Server::tcp(Behaviour::Answer), Server::unix(Behaviour::Answer)] {
        let (tally, raw, summary) = carry_out(&plan(&server.endpoint, constant(400.0), 500));
        assert_eq!((summary.planned, tally.planned(), raw.records().len()), (200, 200, 200));
        assert_eq!(tally.count(Outcome::Answered), 200);
        assert_eq!(server.requests(), 200);
        for record in raw.records() {
            let times = [record.planned, record.begun, record.sent, record.first, record.done];
            assert!(times.is_sorted(), "{record:?}");
            assert_eq!((record.status, record.arm, record.block, record.class), (200, 1, 2, 0));
        }
        let mut planned: Vec<u64> = raw.records().iter().map(|record| record.planned).collect();
        planned.sort_unstable();
        assert_eq!(planned, (0..200).map(|i| i * 2_500_000).collect::<Vec<_>>());
    }
}

/// The point of it all: a server that stops for a while makes everybody wait who would have come in that time.
#[test]
fn a_pause_is_felt_by_everyone_who_was_to_come() {
    let pause = Duration::from_millis(600);
    let server = Server::tcp(Behaviour::PauseOnce { after: 100, pause });
    // One at a time on the server's side: two requests per connection wait for each other.
    let (tally, raw, _) = carry_out(&plan(&server.endpoint, constant(200.0), 1_500));
    assert_eq!(tally.count(Outcome::Answered), 300);
    // 120 requests were planned in the pause, 100 of them more than 100 ms before its end; a busy machine adds some.
    let waited = raw.records().iter().filter(|record| record.latency().unwrap() > 100_000_000).count();
    assert!(waited >= 85, "{waited} waited");
    // A closed loop sees one slow request.
    let server = Server::tcp(Behaviour::PauseOnce { after: 100, pause });
    let (_, raw, _) = carry_out(&plan(&server.endpoint, Pace::Closed { connections: 1 }, 1_500));
    let waited = raw.records().iter().filter(|record| record.service_time().unwrap() > 300_000_000).count();
    assert!((1..=4).contains(&waited), "{waited} waited");
}

/// With a fixed number of connections the generator waits for the server: what it would say without the plan is the time
/// from sending, in which the pause is a single slow request per connection.
#[test]
fn a_pool_makes_requests_wait_and_the_plan_counts_it() {
    let pause = Duration::from_millis(600);
    let server = Server::tcp(Behaviour::PauseOnce { after: 100, pause });
    let mut plan = plan(&server.endpoint, constant(200.0), 1_500);
    plan.limits.pool = Some(2);
    let (tally, raw, summary) = carry_out(&plan);
    assert_eq!((tally.count(Outcome::Answered), summary.connections), (300, 2));
    let over = |time: fn(&Record) -> Option<u64>| {
        raw.records().iter().filter(|record| time(record).unwrap() > 100_000_000).count()
    };
    let (latency, service) = (over(Record::latency), over(Record::service_time));
    assert!(latency >= 85 && (1..=latency / 4).contains(&service), "{latency} and {service}");
    // In the order of their times, whoever waited before whoever came later.
    let mut records = raw.records().to_vec();
    records.sort_unstable_by_key(|record| record.planned);
    assert!(records.is_sorted_by_key(|record| record.sent));
}

#[test]
fn whoever_waits_for_a_connection_has_a_time_limit_too() {
    let server = Server::tcp(Behaviour::Silence);
    let mut plan = plan(&server.endpoint, constant(100.0), 200);
    plan.limits = Limits { outstanding: 10, pool: Some(2), timeout: Duration::from_millis(300) };
    let (tally, raw, _) = carry_out(&plan);
    assert_eq!((tally.count(Outcome::TimedOut), tally.count(Outcome::Dropped)), (10, 10));
    // Counted from when each was taken up, not from when it got its connection.
    for record in raw.records().iter().filter(|record| record.outcome == Outcome::TimedOut) {
        assert!((300..20_000).contains(&((record.done - record.begun) / 1_000_000)), "{record:?}");
    }
}

#[test]
fn connections_are_kept_and_a_closed_one_is_replaced() {
    let server = Server::tcp(Behaviour::Answer);
    let (_, _, summary) = carry_out(&plan(&server.endpoint, Pace::Closed { connections: 3 }, 200));
    assert_eq!((summary.connections, summary.resent), (3, 0));

    // Announced or not, nothing is lost when a server closes after every request.
    for behaviour in [Behaviour::CloseAnnounced, Behaviour::CloseSilently] {
        let server = Server::tcp(behaviour);
        let (tally, _, summary) = carry_out(&plan(&server.endpoint, constant(200.0), 300));
        assert_eq!(tally.count(Outcome::Answered), 60, "{behaviour:?}");
        assert!(summary.connections >= 60, "{behaviour:?}: {summary:?}");
    }
}

#[test]
fn failures_are_named_and_none_has_a_latency() {
    for (behaviour, outcome) in [
        (Behaviour::Status(503), Outcome::ErrorStatus),
        (Behaviour::Status(404), Outcome::ErrorStatus),
        (Behaviour::Garbage, Outcome::Malformed),
        (Behaviour::EndlessHead, Outcome::Malformed),
        (Behaviour::HalfAnAnswer, Outcome::Disconnected),
        (Behaviour::Silence, Outcome::TimedOut),
        (Behaviour::EndlessBody, Outcome::TimedOut),
    ] {
        let server = Server::tcp(behaviour);
        let mut plan = plan(&server.endpoint, constant(50.0), 100);
        plan.limits.timeout = Duration::from_millis(300);
        let (tally, raw, summary) = carry_out(&plan);
        assert_eq!((tally.count(outcome), tally.planned()), (5, 5), "{behaviour:?}: {tally:?}");
        assert_eq!((tally.latency(0.5), tally.censored()), (None, 5), "{behaviour:?}");
        assert!(raw.records().iter().all(|record| record.outcome == outcome && record.done > 0));
        assert!(summary.elapsed < Duration::from_secs(20), "{behaviour:?}: {summary:?}");
    }
}

#[test]
fn a_server_that_is_not_there_does_not_stop_the_plan() {
    let endpoint = Server::tcp(Behaviour::Answer).endpoint.clone();
    for (pace, most) in [(constant(100.0), 20), (Pace::Closed { connections: 2 }, 45)] {
        let (tally, _, summary) = carry_out(&plan(&endpoint, pace, 200));
        assert_eq!(tally.count(Outcome::ConnectFailed), tally.planned());
        assert_eq!(summary.connect_error, Some(rustix::io::Errno::CONNREFUSED));
        // The closed loop waits 10 ms after each failure.
        assert!((1..=most).contains(&tally.planned()), "{}", tally.planned());
    }
}

#[test]
fn what_is_too_much_at_a_time_is_dropped_and_counted() {
    let server = Server::tcp(Behaviour::Silence);
    let mut plan = plan(&server.endpoint, constant(100.0), 200);
    plan.limits = Limits { outstanding: 5, pool: None, timeout: Duration::from_millis(400) };
    let (tally, raw, summary) = carry_out(&plan);
    assert_eq!((tally.count(Outcome::TimedOut), tally.count(Outcome::Dropped)), (5, 15));
    assert_eq!(summary.peak, 5);
    let dropped = raw.records().iter().find(|record| record.outcome == Outcome::Dropped).unwrap();
    assert_eq!((dropped.sent, dropped.latency()), (0, None));
}

#[test]
fn stopping_keeps_what_is_there() {
    let server = Server::tcp(Behaviour::Silence);
    let plan = plan(&server.endpoint, constant(100.0), 60_000);
    let watch = Watch::default();
    let mut tally = Tally::default();
    let summary = std::thread::scope(|scope| {
        let generator = scope.spawn(|| run(&plan, &mut tally, &watch));
        server.wait_for_requests(3);
        watch.stop();
        generator.join().unwrap().unwrap()
    });
    assert!(summary.stopped && summary.planned >= 3);
    assert_eq!(tally.count(Outcome::Unfinished), summary.planned);
    let moment = watch.moment();
    assert_eq!((moment.planned, moment.failed, moment.outstanding), (summary.planned, summary.planned, 0));
}

#[test]
fn a_run_ends_after_the_requests_that_were_asked_for() {
    let server = Server::tcp(Behaviour::Answer);
    for pace in [constant(1_000.0), Pace::Closed { connections: 4 }] {
        let mut plan = plan(&server.endpoint, pace, 60_000);
        plan.stop.requests = Some(100);
        let (tally, _, summary) = carry_out(&plan);
        assert_eq!((tally.count(Outcome::Answered), summary.planned), (100, 100));
    }
}

#[test]
fn both_arms_of_a_pair_get_the_same_requests() {
    let server = Server::tcp(Behaviour::Answer);
    let mix = Mix::weighted((0..5).map(|i| (get(&format!("/{i}")), f64::from(i + 1))).collect()).unwrap();
    let run = |seed| {
        let mut plan = plan(&server.endpoint, Pace::Open(Schedule::Poisson { rate: 300.0 }), 300);
        (plan.mix, plan.seed) = (mix.clone(), seed);
        let (_, raw, _) = carry_out(&plan);
        let mut arrivals: Vec<_> =
            raw.records().iter().map(|record| (record.planned, record.class)).collect();
        arrivals.sort_unstable();
        arrivals
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn bodies_arrive_whole_and_heads_have_none() {
    let server = Server::tcp(Behaviour::Answer);
    let body = vec![b'x'; 3 << 20];
    let post = Request::new("POST", "localhost", "/", &[], &body).unwrap();
    let head = Request::new("HEAD", "localhost", "/", &[], b"").unwrap();
    let mut plan = plan(&server.endpoint, Pace::Closed { connections: 1 }, 60_000);
    plan.mix = Mix::in_order(vec![post, head, get("/")], vec![0, 1, 2]).unwrap();
    plan.stop.requests = Some(9);
    let (tally, _, summary) = carry_out(&plan);
    assert_eq!((tally.count(Outcome::Answered), summary.connections), (9, 1));
    assert_eq!(server.body_bytes(), 3 * body.len() as u64);
    // The answer to HEAD announces content that does not come.
    assert_eq!(summary.received, 6 * 2);
}

#[test]
fn a_full_unix_socket_is_waited_for() {
    // Nobody accepts; the kernel's queue takes a few, the others cannot even connect.
    let server = Server::unix(Behaviour::NeverAccept);
    let mut plan = plan(&server.endpoint, constant(100.0), 200);
    plan.limits.timeout = Duration::from_millis(300);
    let (tally, _, _) = carry_out(&plan);
    assert_eq!((tally.count(Outcome::TimedOut), tally.planned()), (20, 20), "{tally:?}");
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let server = Server::tcp(Behaviour::Answer);
    let refused = |change: fn(&mut LoadPlan)| {
        let mut plan = plan(&server.endpoint, constant(100.0), 100);
        change(&mut plan);
        run(&plan, &mut Tally::default(), &Watch::default()).unwrap_err()
    };
    assert!(matches!(refused(|plan| plan.pace = constant(0.0)), LoadError::Schedule(_)));
    assert!(matches!(refused(|plan| plan.limits.outstanding = 0), LoadError::Outstanding(0)));
    assert!(matches!(
        refused(|plan| plan.pace = Pace::Closed { connections: 5_000 }),
        LoadError::Outstanding(5_000)
    ));
    assert!(matches!(refused(|plan| plan.limits.pool = Some(0)), LoadError::Pool));
    assert!(matches!(refused(|plan| plan.limits.timeout = Duration::ZERO), LoadError::NoTime));
}
