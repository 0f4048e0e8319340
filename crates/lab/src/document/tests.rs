use super::*;
use crate::statistics::shift::{Options, PairOfBlocks, shift_function};
use crate::statistics::verdict::{control, judge, material};
use crate::{Random, statistics};

fn full() -> Document {
    let mut document = Document::new(Kind::Compare, "shop");
    document.seed = u64::MAX;
    let latency_ms = [("p50".to_owned(), Latency::Milliseconds(0.1 + 0.2)), ("p99".into(), Latency::Failed)];
    document.blocks =
        vec![Block { latency_ms: latency_ms.into(), steal: None, valid: true, ..Block::default() }];
    let judged = judge(&[0.31, 0.42, 0.37, 0.29, 0.5, 0.33, 0.41, 0.36], material::LATENCY, None).unwrap();
    document.verdicts = vec![Answer::of("tenancy", "shared varies more", "p95", &judged)];
    document.recommendation = Some(Recommendation {
        would_change_if: vec![Change { threshold: Some(0.8), current: Some(0.6), ..Change::default() }],
        ..Recommendation::default()
    });
    document
}

#[test]
fn what_is_written_is_read_again_and_unknown_stays_unknown() {
    let document = full();
    let json = document.write().unwrap();
    assert_eq!(Document::read(json.as_bytes()).unwrap(), document);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(value["blocks"][0]["steal"].is_null());
    assert_eq!(value["blocks"][0]["latency_ms"]["p99"], "failed");
    assert_eq!(value["verdicts"][0]["verdict"], "supported");
    assert!(value["verdicts"][0]["ci"][0].as_f64().unwrap() > 1.0);
}

#[test]
fn older_and_stranger_documents_are_read() {
    let json = br#"{"version":1,"kind":"teleport","arms":[{"name":"S1","colour":"red"}],"verdicts":[{"verdict":"perhaps"}],"later":1}"#;
    let document = Document::read(json).unwrap();
    assert_eq!((document.kind, document.verdicts[0].verdict), (Kind::Unknown, Verdict::Unknown));
    assert_eq!((document.arms[0].name.as_str(), document.arms[0].workers), ("S1", None));
    assert_eq!(document.scorecard, None);
}

#[test]
fn what_is_no_document_says_why() {
    let error = |json: &str| Document::read(json.as_bytes()).unwrap_err().to_string();
    assert!(error("{}").contains("no version"));
    assert!(error(r#"{"version":0}"#).contains("no version"));
    assert!(error(r#"{"version":9}"#).contains("newer serpentry"));
    assert!(error("[1").contains("not the JSON"));
    assert!(error(r#"{"version":1,"blocks":[{"latency_ms":{"p50":"slow"}}]}"#).contains("\"failed\""));
}

#[test]
fn judgements_become_answers() {
    let noisy = control(&[0.4, -0.3, 0.1]).unwrap();
    let differences: Vec<f64> = (0..8).map(|i| 0.25 + 0.02 * f64::from(i)).collect();
    let answer = Answer::of("x", "y", "z", &judge(&differences, material::LATENCY, Some(noisy)).unwrap());
    assert_eq!(answer.verdict, Verdict::Inconclusive);
    assert!(answer.because.as_ref().unwrap().contains("with itself gave up to 1.49"), "{answer:?}");
    assert!((answer.delta.unwrap() - 1.25).abs() < 1e-9);
    assert!((answer.delta_aa.unwrap() - 0.4_f64.exp()).abs() < 1e-9);
    let few = Answer::of("x", "y", "z", &judge(&[0.3, 0.3], material::LATENCY, None).unwrap());
    assert_eq!(few.ci, [None, None]);
    assert!(few.because.unwrap().contains("2 valid pairs"));
}

#[test]
fn infinite_quantiles_are_failed_ones() {
    let pairs = [PairOfBlocks { a: vec![1.0; 50], b: vec![f64::INFINITY; 50] }];
    let options = Options { replicates: 10, ..Options::default() };
    let points = shift_function(&pairs, &options, &mut Random::new(1)).unwrap();
    let shift = Shift::of("q", "a", "b", &points);
    assert_eq!(shift.points[0].b_ms, Some(Latency::Failed));
    assert_eq!((shift.points[0].ratio, shift.points[0].ratio_ci), (None, [None, None]));
    assert_eq!(Latency::new(f64::NAN), None);
    assert_eq!(bounds(statistics::Interval::UNBOUNDED), [None, None]);
    let change = &full().recommendation.unwrap().would_change_if[0];
    assert!((change.distance().unwrap() - 1.0 / 3.0).abs() < 1e-12);
}
