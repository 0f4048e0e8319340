//! The report of a simulated run: what it must say, and what hostile texts must not do. What only a browser can tell is
//! looked at by `scripts/report_browser.py`.

#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

#[path = "../examples/report/simulated.rs"]
mod simulated;

use lab::document::{Answer, Block, Document, Kind, Latency, MemoryGrowth, Moment, Shift, ShiftPoint};
use lab::report::{self, Style};
use proptest::prelude::*;

/// The page without its data, which are JSON and may hold anything but `<`.
fn visible(html: &str) -> String {
    let (before, rest) = html.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    let (data, after) = rest.split_once("</script>").unwrap();
    assert!(!data.contains('<') && !data.contains('>'), "data may end their element");
    format!("{before}{after}")
}

/// Names of all elements, in order.
fn elements(html: &str) -> Vec<String> {
    let starts = html.split('<').skip(1);
    starts
        .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn it_has_every_part_and_begins_with_the_sentence() {
    let document = simulated::document(7);
    let html = report::html(&document).unwrap();
    write_for_the_browser("ordinary", &html);
    let page = visible(&html);
    let heading = page.split("<h1>").nth(1).unwrap();
    assert!(heading.starts_with("Host shop shared"), "{}", &heading[..80]);
    for id in [
        "why",
        "changes",
        "config",
        "verdicts",
        "scorecard",
        "latency",
        "distribution",
        "causes",
        "endpoints",
        "scaling",
        "memory",
        "together",
        "start",
        "limits",
        "method",
        "arms",
        "blocks",
        "raw",
    ] {
        assert!(page.contains(&format!("<section id=\"{id}\"")), "{id} is missing");
        assert!(page.contains(&format!("href=\"#{id}\"")), "{id} cannot be reached");
    }
    assert!(page.contains("<b>Simulated.</b>"), "simulated figures must say so");
    assert!(page.contains("the hypervisor took 4.1 % of the time"), "an invalid block without its reason");
    assert!(page.contains("cgroup v1 cpuset") && page.contains("missing on this machine"));
    let plots = page.matches("role=\"img\"").count();
    assert_eq!(plots, 16, "8 plots, each for wide and narrow");
    assert_eq!(page.matches("<title id=").count(), plots);
    assert_eq!(page.matches("<desc id=").count(), plots);
    assert!(!page.contains("NaN") && !page.contains(">inf"), "a figure that is none");
}

#[test]
fn it_needs_nothing_from_elsewhere() {
    let page = visible(&report::html(&simulated::document(7)).unwrap());
    for reference in ["http:", "https:", "//", "src=", "url(", "@import"] {
        let found = page.matches(reference).count();
        // The hatching of the plots is a pattern of the page itself.
        let own = page.matches("url(#").count() * usize::from(reference == "url(");
        assert_eq!(found, own, "{reference}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(
        !elements(&page).iter().any(|name| ["script", "iframe", "object", "img"].contains(&name.as_str()))
    );
}

#[test]
fn its_data_are_the_document() {
    let document = simulated::document(11);
    assert_eq!(report::extract(&report::html(&document).unwrap()).unwrap(), document);
    assert!(report::extract("<html></html>").is_err());
}

/// `make test` opens them in a browser, where there is one.
fn write_for_the_browser(name: &str, html: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(folder.join(format!("report-{name}.html")), html).unwrap();
}

#[test]
fn hostile_texts_stay_texts() {
    let mut document = simulated::document(7);
    let honest = elements(&visible(&report::html(&document).unwrap()));
    simulated::make_hostile(&mut document);
    let html = report::html(&document).unwrap();
    write_for_the_browser("hostile", &html);
    let page = visible(&html);
    for name in elements(&page) {
        assert!(honest.contains(&name), "an element that no report has: {name}");
    }
    // Names of attributes, without what is quoted, are ours: none handles events.
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split_once('>')) {
        let names: String = tag.0.split('"').step_by(2).collect();
        assert!(!names.contains("onload") && !names.contains("onerror"), "{}", tag.0);
    }
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
    assert_eq!(report::extract(&html).unwrap(), document, "the data keep what was there");
    let text = report::tables(&document, Style::default());
    assert!(text.lines().all(|line| !line.chars().any(char::is_control)), "a terminal would be painted");
}

#[test]
fn terminals_get_colours_only_if_asked() {
    let document = simulated::document(7);
    let plain = report::tables(&document, Style { colour: false });
    assert!(!plain.contains('\u{1b}'));
    assert!(
        plain.contains("SIMULATED") && plain.contains("supported") && plain.contains("IT CHANGES IF"),
        "{plain}"
    );
    let bright = report::tables(&document, Style { colour: true });
    let bare = bright
        .split('\u{1b}')
        .map(|part| part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, rest)| rest));
    assert_ne!(bright, plain);
    assert_eq!(bare.collect::<String>(), plain);
}

#[test]
fn what_is_unknown_is_a_dash_and_an_empty_run_is_no_panic() {
    for kind in [Kind::Compare, Kind::Claims, Kind::Unknown] {
        let page = report::html(&Document::new(kind, "")).unwrap();
        assert!(page.contains("Nothing was concluded"));
        assert!(!page.contains("role=\"img\""));
    }
    let mut document = Document::new(Kind::Claims, "claims");
    document.verdicts = vec![Answer { question: "nothing is known".into(), ..Answer::default() }];
    let page = report::html(&document).unwrap();
    assert!(page.contains("Of 1 questions on this machine: 1 unknown"));
    assert!(page.contains("<td role=\"cell\" class=\"n\" data-label=\"ratio\">–</td>"));
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -1e3..1e3,
        Just(0.0),
        Just(f64::INFINITY),
        Just(f64::NAN),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever figures there are, the report can be made and every place in its plots is a number.
    #[test]
    fn any_figures_can_be_drawn(numbers in prop::collection::vec(number(), 24), text in ".{0,20}") {
        let mut document = Document::new(Kind::Compare, text.clone());
        let n = |i: usize| Some(numbers[i % numbers.len()]);
        for i in 0..4 {
            document.blocks.push(Block {
                index: i,
                arm: text.clone(),
                at_seconds: numbers[i as usize],
                seconds: numbers[i as usize + 4],
                latency_ms: [("p95".to_owned(), Latency::Milliseconds(numbers[1]))].into(),
                ..Block::default()
            });
            let moment = Moment { block: i, at_seconds: numbers[2], p50_ms: n(3), p95_ms: n(4), ..Moment::default() };
            document.timeline.push(moment);
        }
        document.verdicts.push(Answer { ratio: n(5), ci: [n(6), n(7)], delta: n(8), delta_aa: n(9), p: n(10), ..Answer::default() });
        let point = |i: usize| ShiftPoint { q: numbers[i], difference_ms: n(i), difference_ci: [n(i + 1), n(i + 2)], ..ShiftPoint::default() };
        document.shifts.push(Shift { points: (0..5).map(point).collect(), ..Shift::default() });
        document.memory.push(MemoryGrowth {
            points: numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(),
            slope: n(11),
            intercept: n(12),
            ..MemoryGrowth::default()
        });
        let page = report::html(&document).unwrap();
        for path in page.split(" d=\"").skip(1).chain(page.split("points=\"").skip(1)) {
            let places = path.split('"').next().unwrap();
            prop_assert!(!places.contains("NaN") && !places.contains("inf"), "{places}");
        }
        prop_assert!(!report::tables(&document, Style::default()).is_empty());
    }
}
