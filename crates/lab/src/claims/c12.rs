//! C12: failures of isolated applications are explained better than those of shared ones.
//!
//! The same faults in both tenancies, one after the other; for each it is noted how much of what an operator needs the
//! program's own incidents say, and after how long. Isolated is "more transparent" only if it explains at least nine in
//! eleven faults better, by a point on average.

use std::collections::BTreeMap;

use super::pairing::{Concluded, Question, median, shown};
use crate::document::{Answer, Claim, Verdict};

/// What one fault came to, in one tenancy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    pub fault: String,
    pub tenancy: String,
    /// Code of the incident that was expected; None when none came while it was watched.
    pub code: Option<String>,
    /// From the fault to the incident.
    pub seconds: Option<f64>,
    /// What it says; each is worth a point.
    pub precision: Precision,
    /// Another application was blamed.
    pub wrong_victim: bool,
    /// The program's own sentence.
    pub sentence: String,
}

/// What an operator needs to know of a failure (lab.md, C5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a checklist")]
pub struct Precision {
    pub tenant: bool,
    pub process: bool,
    /// The resource, and the value of its limit.
    pub resource: bool,
    /// Which requests were affected.
    pub requests: bool,
    /// What shows it: growth, shares, counts.
    pub evidence: bool,
    /// The client got an answer that a machine can read, and it names the incident.
    pub client: bool,
}

impl Precision {
    #[must_use]
    pub fn points(self) -> u32 {
        [self.tenant, self.process, self.resource, self.requests, self.evidence, self.client]
            .iter()
            .map(|&known| u32::from(known))
            .sum()
    }

    fn missing(self) -> Vec<&'static str> {
        [
            (self.tenant, "the application"),
            (self.process, "the process"),
            (self.resource, "resource and limit"),
            (self.requests, "the requests"),
            (self.evidence, "evidence"),
            (self.client, "an answer that names it"),
        ]
        .into_iter()
        .filter_map(|(known, what)| (!known).then_some(what))
        .collect()
    }
}

pub const SHARED: &str = "shared";
pub const ISOLATED: &str = "isolated";
/// Faults of the full matrix; with fewer the same share must be better.
const FULL: usize = 11;
const BETTER: usize = 9;
/// Fewest faults that can support anything: 5 of 5 is as likely by chance as 1 in 32.
pub const FEWEST_FAULTS: usize = 5;

pub const EXPECTATION: &str = "no difference: what is reported depends on what the host watches, and it watches both alike; \
    a shared application without a limit of its own has no limit that could be named";

/// The verdict of the matrix. `not_injected` are faults that could not be tried, and why.
#[must_use]
pub fn conclude(reports: &[Report], not_injected: &[(String, String)]) -> Concluded {
    let points = by_fault(reports);
    let both: Vec<(f64, f64)> = points
        .values()
        .filter_map(|tenancies| Some((*tenancies.get(SHARED)?, *tenancies.get(ISOLATED)?)))
        .collect();
    let differences: Vec<f64> = both.iter().map(|(shared, isolated)| isolated - shared).collect();
    let question = Question {
        id: "C12",
        question: "isolated applications' failures are explained better, by a point of six or more",
        metric: "points of six: isolated - shared (not a ratio)",
        a: SHARED,
        b: ISOLATED,
        material: 1.0,
        primary: false,
    };
    let (verdict, because) = judge(&differences);
    let answer = Answer {
        id: question.id.into(),
        question: question.question.into(),
        metric: question.metric.into(),
        a: question.a.into(),
        b: question.b.into(),
        primary: question.primary,
        pairs: u32::try_from(differences.len()).unwrap_or(u32::MAX),
        verdict,
        because,
        ..Answer::default()
    };
    let mean = |tenancy: &str| {
        let of_tenancy: Vec<f64> =
            points.values().filter_map(|tenancies| tenancies.get(tenancy).copied()).collect();
        (!of_tenancy.is_empty()).then(|| crate::statistics::mean(&of_tenancy))
    };
    let seconds = |tenancy: &str| {
        let of_tenancy = reports.iter().filter(|report| report.tenancy == tenancy);
        median(&of_tenancy.filter_map(|report| report.seconds).collect::<Vec<_>>())
    };
    let wrong = reports.iter().filter(|report| report.wrong_victim).count();
    let mut notes: Vec<String> = reports.iter().map(note).collect();
    notes.extend(not_injected.iter().map(|(fault, why)| format!("{fault}: not injected: {why}")));
    let claim = Claim {
        id: "C12".into(),
        title: "failures of isolated applications are explained better than those of shared ones".into(),
        expectation: EXPECTATION.into(),
        verdict,
        sentence: format!(
            "{} faults: shared {} points of six after {} s, isolated {} after {} s; the wrong application was blamed {wrong} times",
            differences.len(),
            shown(mean(SHARED), 1),
            shown(seconds(SHARED), 2),
            shown(mean(ISOLATED), 1),
            shown(seconds(ISOLATED), 2),
        ),
        flips_when: Some(
            "without the host's own instruments (kernel counters of each application, a watching thread in each worker) only \
             the isolated ones would have figures of their own"
                .into(),
        ),
        notes,
        ..Claim::default()
    };
    Concluded::new(claim, vec![answer])
}

/// Mean points of each fault in each tenancy.
fn by_fault(reports: &[Report]) -> BTreeMap<&str, BTreeMap<&str, f64>> {
    let mut collected: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for report in reports {
        let tenancies = collected.entry(&report.fault).or_default();
        tenancies.entry(&report.tenancy).or_default().push(f64::from(report.precision.points()));
    }
    let means = |tenancies: BTreeMap<_, Vec<f64>>| {
        tenancies.into_iter().map(|(tenancy, points)| (tenancy, crate::statistics::mean(&points))).collect()
    };
    collected.into_iter().map(|(fault, tenancies)| (fault, means(tenancies))).collect()
}

/// A sign test with a floor on the mean: at least 9 of 11 better, or the same share of fewer.
fn judge(differences: &[f64]) -> (Verdict, Option<String>) {
    let faults = differences.len();
    if faults < FEWEST_FAULTS {
        return (Verdict::Inconclusive, Some(format!("{faults} faults, {FEWEST_FAULTS} are needed")));
    }
    let mean = crate::statistics::mean(differences);
    let needed = (faults * BETTER).div_ceil(FULL);
    let better = differences.iter().filter(|&&difference| difference > 0.0).count();
    let worse = differences.iter().filter(|&&difference| difference < 0.0).count();
    if mean >= 1.0 && better >= needed {
        (Verdict::Supported, None)
    } else if mean <= -1.0 && worse >= needed {
        (Verdict::Contradicted, None)
    } else if mean.abs() < 1.0 && better < needed && worse < needed {
        (Verdict::NoMaterialEffect, None)
    } else {
        (Verdict::Inconclusive, Some(format!("{better} faults better, {worse} worse, {mean:+.1} points on average")))
    }
}

fn note(report: &Report) -> String {
    let Some(code) = &report.code else {
        return format!("{} ({}): no incident while it was watched", report.fault, report.tenancy);
    };
    let missing = report.precision.missing();
    let missing =
        if missing.is_empty() { String::new() } else { format!(", without {}", missing.join(", ")) };
    format!(
        "{} ({}): {code} after {} s, {} of 6{missing}: {}",
        report.fault,
        report.tenancy,
        shown(report.seconds, 2),
        report.precision.points(),
        report.sentence
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Precision =
        Precision { tenant: true, process: true, resource: true, requests: true, evidence: true, client: true };

    fn reports(shared: Precision, isolated: Precision, faults: usize) -> Vec<Report> {
        let report = |fault: usize, tenancy: &str, precision| Report {
            fault: format!("fault {fault}"),
            tenancy: tenancy.to_owned(),
            code: Some("M10".into()),
            seconds: Some(0.1),
            precision,
            ..Report::default()
        };
        (0..faults)
            .flat_map(|fault| [report(fault, SHARED, shared), report(fault, ISOLATED, isolated)])
            .collect()
    }

    fn verdict(reports: &[Report]) -> Verdict {
        conclude(reports, &[]).claim.verdict
    }

    #[test]
    fn a_point_in_nine_of_eleven_is_needed() {
        let less = Precision { resource: false, ..ALL };
        assert_eq!(verdict(&reports(less, ALL, 11)), Verdict::Supported);
        assert_eq!(verdict(&reports(ALL, less, 11)), Verdict::Contradicted);
        assert_eq!(verdict(&reports(ALL, ALL, 11)), Verdict::NoMaterialEffect);
        assert_eq!(verdict(&reports(less, ALL, 4)), Verdict::Inconclusive);
        let mut mixed = reports(less, ALL, 8);
        mixed.extend(reports(ALL, ALL, 11).split_off(16));
        assert_eq!(verdict(&mixed), Verdict::NoMaterialEffect, "8 of 11 is not enough");
        // Much better in few faults: neither.
        let mut few = reports(Precision::default(), ALL, 3);
        few.extend(reports(ALL, ALL, 11).split_off(6));
        assert_eq!(verdict(&few), Verdict::Inconclusive);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut reports = reports(Precision { process: false, client: false, ..ALL }, ALL, 5);
        reports[1].code = None;
        reports[3].wrong_victim = true;
        let claim = conclude(&reports, &[("disk full".into(), "no volumes here".into())]).claim;
        assert!(claim.notes[0].contains("4 of 6, without the process, an answer that names it"), "{claim:?}");
        assert!(claim.notes[1].contains("no incident"));
        assert!(claim.notes.last().unwrap().contains("no volumes here"));
        assert!(claim.sentence.contains("blamed 1 times"), "{}", claim.sentence);
    }
}
