//! The book under any sequence of detections: bounded, complete, and the same name for the same thing.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use incident::{
    Book, Bounds, Code, Detail, Detection, EventKind, Id, Ids, Incident, Lane, Moment, Request, Value,
    WorkerRef, text,
};
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds {
    quiet: Duration::from_secs(60),
    open: 12,
    open_per_app: 5,
    closed: 6,
    events: 40,
    requests: 3,
    names: 3,
};

/// Steady time and calendar do not begin together.
fn at(seconds: u64) -> Moment {
    let steady = Duration::from_secs(seconds);
    Moment { steady, unix: Duration::from_secs(1_764_000_000) + steady }
}

fn book() -> Book {
    Book::new(BOUNDS, at(0).unix)
}

fn full(app: &str) -> Detection {
    Detection::new(Code::N11, "limit", Some(app))
}

fn request(path: &str) -> Request {
    Request {
        id: "1".into(),
        method: "GET".into(),
        path: path.into(),
        age: Duration::from_millis(5),
        outcome: "answered 503",
    }
}

#[test]
fn the_same_thing_is_one_incident_until_it_is_quiet() {
    let mut book = book();
    let first = book.record(at(0), full("shop").number("limit", 10.0).number("used", 10.0));
    assert!(first.opened);
    let again = book.record(at(59), Detection { count: 4, ..full("shop").number("used", 9.0) });
    assert_eq!((again.name, again.opened), (first.name, false));
    book.tick(at(118));
    let found = book.find(first.name.id).unwrap();
    assert!(found.is_open());
    assert_eq!((found.count, found.opened, found.last), (5, at(0).unix, at(59).unix));
    // The most of all, and what the second did not say.
    assert_eq!(found.facts.get("used"), Some(&Value::Number(10.0)));
    assert_eq!(found.facts.get("limit"), Some(&Value::Number(10.0)));
    book.tick(at(119));
    assert_eq!(book.find(first.name.id).unwrap().closed, Some(at(119).unix));
    let later = book.record(at(120), full("shop"));
    assert!(later.opened && later.name.id > first.name.id);
    assert_eq!(book.counts().collect::<Vec<_>>(), [(Some("shop"), Code::N11, 2)]);
    let kinds: Vec<_> = book.events_after(0).map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Opened, EventKind::Grew, EventKind::Closed, EventKind::Opened]);
}

#[test]
fn applications_codes_and_causes_are_told_apart() {
    let mut book = book();
    let names: HashSet<_> = [
        full("shop"),
        full("blog"),
        Detection::new(Code::N12, "limit", Some("shop")),
        Detection::new(Code::N20, "request_timeout", Some("shop")),
        Detection::new(Code::N20, "hung", Some("shop")),
        Detection::new(Code::N10, "host", None),
    ]
    .into_iter()
    .map(|detection| book.record(at(0), detection).name)
    .collect();
    assert_eq!(names.len(), 6);
    assert_eq!(book.incidents(Some("shop")).len(), 4);
    assert_eq!(book.incidents(None).len(), 6);
}

#[test]
fn what_visitors_were_told_is_found() {
    let mut book = book();
    let mut router = Ids::new(Lane::Router);
    let mut told = |second| router.draw(at(second).unix);
    let (first, second) = (told(0), told(1));
    let named = |id| Detection { id: Some(id), ..full("shop") };
    assert_eq!(book.record(at(0), named(first)).name.id, first);
    // The application was removed and added: the router begins anew, the book does not.
    assert_eq!(book.record(at(1), named(second)).name.id, first);
    assert_eq!(book.find(second).unwrap().id, first);
    assert!(book.amend(second, Detail { requests: vec![request("/x")], ..Detail::default() }));
    assert_eq!(book.find(first).unwrap().requests.len(), 1);
    assert!(!book.amend(told(2), Detail::default()));
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut book = book();
    book.record(at(0), full("shop"));
    let other = book.record(at(0), full("blog")).name;
    book.forget(at(1), "shop");
    assert_eq!(book.open().iter().map(Incident::name).collect::<Vec<_>>(), [other]);
    assert_eq!(book.counts().map(|(app, ..)| app).collect::<Vec<_>>(), [Some("blog")]);
    assert_eq!(book.incidents(Some("shop")).len(), 1, "its past is still known");
}

#[test]
fn a_tenant_that_lies_fills_only_its_own_place() {
    let mut book = book();
    let innocent = book.record(at(0), full("blog")).name;
    let mut flood: Vec<(Code, &'static str)> = Vec::new();
    for code in Code::ALL {
        flood.extend(code.entry().causes.iter().map(|cause| (*code, cause.name)));
    }
    for (second, (code, cause)) in (1..).zip(flood.iter().cycle().take(500)) {
        let mut detection = Detection::new(*code, cause, Some("evil"));
        for evidence in code.entry().evidence {
            detection = detection.text(evidence.key, "\x1b]0;\u{202e}<script>".repeat(100_000 / 16));
        }
        detection.requests = (0..100).map(|_| request(&"/\x1b[2J".repeat(10_000))).collect();
        detection.worker = Some(WorkerRef { id: 1, pid: None });
        // Within the innocent one's quiet time.
        book.record(Moment { steady: Duration::from_millis(second * 100), ..at(0) }, detection);
    }
    assert!(book.find(innocent.id).unwrap().is_open(), "the flood closed somebody else's incident");
    assert_eq!(
        book.open().iter().filter(|it| it.app.as_deref() == Some("evil")).count(),
        BOUNDS.open_per_app
    );
    let size: usize = book
        .incidents(None)
        .iter()
        .map(|incident| {
            let texts = incident.facts.iter().map(|(_, value)| match value {
                Value::Text(text) => text.len(),
                Value::Number(_) => 0,
            });
            texts.sum::<usize>() + incident.requests.iter().map(|it| it.path.len()).sum::<usize>()
        })
        .sum();
    let most = (BOUNDS.open_per_app + BOUNDS.closed) * (text::BLOCK + 10 * text::LINE + 3 * text::LINE);
    assert!(size <= most, "{size} bytes are kept, {most} were allowed");
    for incident in book.incidents(None) {
        for shown in [incident::sentence(incident), incident::remedy(incident)] {
            assert!(!shown.contains(['\x1b', '\u{202e}', '\n']), "{shown:?}");
        }
    }
}

#[test]
fn every_sentence_can_be_said_with_all_and_with_no_evidence() {
    for code in Code::ALL {
        for cause in code.entry().causes {
            let mut bare = Detection::new(*code, cause.name, Some("shop"));
            let mut book = book();
            book.record(at(0), bare.clone());
            for evidence in code.entry().evidence {
                bare = bare.number(evidence.key, 7.0);
            }
            let mut all = self::book();
            bare.worker = Some(WorkerRef { id: 3, pid: Some(4711) });
            all.record(at(0), bare);
            let (poor, rich) = (&book.open()[0], &all.open()[0]);
            for shown in [poor, rich].map(incident::sentence) {
                assert!(!shown.contains(['{', '}', '«', '»', '|']), "{shown}");
            }
            assert!(!incident::sentence(rich).contains("unknown w"), "{}", incident::sentence(rich));
            assert!(incident::sentence(poor).len() <= incident::sentence(rich).len() + 60);
        }
    }
}

/// One step of the simulator.
#[derive(Debug, Clone)]
enum Step {
    Detect { app: u8, what: u8, named: bool, count: u64 },
    Amend { nth: usize },
    Wait { seconds: u64 },
    Forget { app: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_u8, 0..12_u8, any::<bool>(), 1..5_u64)
            .prop_map(|(app, what, named, count)| Step::Detect { app, what, named, count }),
        1 => any::<usize>().prop_map(|nth| Step::Amend { nth }),
        3 => (0..50_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (0..4_u8).prop_map(|app| Step::Forget { app }),
    ]
}

fn kinds() -> Vec<(Code, &'static str)> {
    let all = Code::ALL.iter().flat_map(|code| code.entry().causes.iter().map(|cause| (*code, cause.name)));
    all.take(12).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens: bounds hold, names are unique and findable, events are in order and tell the whole story, and the
    /// history hears of every incident that opened.
    #[test]
    fn the_book_keeps_its_promises(steps in proptest::collection::vec(step(), 1..120)) {
        let mut book = book();
        let mut router = Ids::new(Lane::Router);
        let (mut second, mut told) = (0, Vec::<Id>::new());
        let mut opened = HashSet::new();
        let mut counted: HashMap<Id, u64> = HashMap::new();
        let mut history: HashMap<Id, (u64, bool)> = HashMap::new();
        let mut last_event = 0;
        let mut story: HashMap<Id, bool> = HashMap::new();
        for step in steps {
            match step {
                Step::Detect { app, what, named, count } => {
                    let (code, cause) = kinds()[what as usize];
                    let mut detection = Detection::new(code, cause, Some(&format!("app{app}")));
                    detection.count = count;
                    detection.id = named.then(|| router.draw(at(second).unix));
                    let before = book.latest();
                    let recorded = book.record(at(second), detection.clone());
                    if let Some(id) = detection.id {
                        told.push(id);
                        // The visitor who was told just now finds it.
                        prop_assert_eq!(book.find(id).map(Incident::name), Some(recorded.name));
                    }
                    prop_assert_eq!(recorded.opened, opened.insert(recorded.name.id));
                    prop_assert!(!recorded.opened || book.latest() > before);
                    *counted.entry(recorded.name.id).or_default() += count;
                }
                Step::Amend { nth } if !told.is_empty() => {
                    let id = told[nth % told.len()];
                    let open = book.find(id).is_some_and(Incident::is_open);
                    prop_assert_eq!(book.amend(id, Detail::default()), open);
                }
                Step::Amend { .. } => {}
                Step::Wait { seconds } => {
                    second += seconds;
                    book.tick(at(second));
                    for incident in book.open() {
                        prop_assert!(at(second).unix - incident.last < BOUNDS.quiet);
                    }
                }
                Step::Forget { app } => book.forget(at(second), &format!("app{app}")),
            }
            for incident in book.changes() {
                history.insert(incident.id, (incident.count, incident.is_open()));
            }
            for event in book.events_after(last_event) {
                prop_assert!(event.number > last_event);
                last_event = event.number;
                let is_open = story.insert(event.incident.id, event.kind != EventKind::Closed);
                prop_assert_eq!(is_open.is_none(), event.kind == EventKind::Opened, "opened once, first");
                prop_assert!(is_open != Some(false), "nothing after it closed");
            }
            prop_assert!(book.open().len() <= BOUNDS.open);
            for app in 0..4 {
                let of_app = book.open().iter().filter(|it| it.app == Some(format!("app{app}"))).count();
                prop_assert!(of_app <= BOUNDS.open_per_app);
            }
            prop_assert!(book.incidents(None).len() <= BOUNDS.open + BOUNDS.closed);
            prop_assert!(book.events_after(0).count() <= BOUNDS.events);
            prop_assert!(book.open().iter().all(|it| it.also.len() <= BOUNDS.names));
            let open: HashSet<_> = book.open().iter().map(|it| it.id).collect();
            prop_assert_eq!(&open, &story.iter().filter(|(_, open)| **open).map(|(id, _)| *id).collect());
            for incident in book.open() {
                prop_assert_eq!(incident.count, counted[&incident.id]);
                prop_assert_eq!(history[&incident.id], (incident.count, true));
            }
        }
        prop_assert_eq!(history.keys().copied().collect::<HashSet<_>>(), opened);
        prop_assert!(history.iter().all(|(id, (count, _))| *count == counted[id]), "the history has every count");
    }

    /// No text that anyone sends comes out of a sentence as something that a terminal obeys.
    #[test]
    fn sentences_are_harmless(app in ".*", reason in ".*") {
        let mut book = book();
        book.record(at(0), Detection::new(Code::A10, "application", Some(&app)).text("reason", &reason));
        let shown = incident::sentence(&book.open()[0]);
        prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
    }
}
