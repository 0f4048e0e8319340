//! C12: failures of isolated applications are explained better than those of shared ones.
//!
//! The same faults in both tenancies, one after the other, by `serpentry drill --all`; for each it is noted how much of what an
//! operator needs the program's own incidents say, and after how long. Isolated is "more transparent" only if it explains at
//! least nine in eleven faults better, by a point of six on average.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

use super::pairing::{median, shown};
use super::{Claim, Finding, Requirement};
use crate::document::{Answer, Verdict};
use crate::experiment::{Session, SessionError};

/// The eleven faults of the matrix, as `serpentry drill` calls them, are the first that it lists.
const FULL: usize = 11;
/// So many of them must be explained better; of fewer faults the same share.
const BETTER: usize = 9;
/// Fewest faults that can support anything: 5 of 5 is as likely by chance as 1 in 32.
pub(super) const FEWEST_FAULTS: usize = 5;
/// Points of a complete explanation (lab.md, C5). Where something is nothing for a fault, the rest counts more.
const POINTS: f64 = 6.0;
/// A line of the drill's output: an incident and some visits.
const LONGEST_LINE: u64 = 1 << 20;

pub(super) const SHARED: &str = "shared";
pub(super) const ISOLATED: &str = "isolated";

/// What one fault came to, in one tenancy: a line of `serpentry drill --all --json`, of which this is used.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Drilled {
    pub(super) fault: String,
    pub(super) tenancy: String,
    /// The incident that it must become.
    pub(super) code: String,
    /// `explained`, `missing`, `prevented`, `not done`.
    pub(super) outcome: String,
    pub(super) why: Option<String>,
    pub(super) seconds_to_incident: Option<f64>,
    pub(super) precision: Option<Precision>,
    pub(super) incident: Option<Incident>,
    /// Incidents that have nothing to do with the fault.
    #[serde(rename = "false")]
    pub(super) false_ones: Vec<Incident>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Incident {
    pub(super) code: String,
    pub(super) sentence: String,
}

/// What it says; null: that is nothing for this fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Precision {
    pub(super) application: Option<bool>,
    pub(super) worker: Option<bool>,
    pub(super) limit: Option<bool>,
    pub(super) requests: Option<bool>,
    pub(super) growth: Option<bool>,
    pub(super) answer: Option<bool>,
}

impl Precision {
    fn parts(self) -> [(&'static str, Option<bool>); 6] {
        [
            ("the application", self.application),
            ("the worker", self.worker),
            ("resource and limit", self.limit),
            ("the requests", self.requests),
            ("the growth", self.growth),
            ("an answer that names it", self.answer),
        ]
    }
}

impl Drilled {
    /// Of six. None when it could not happen, or was not tried: that says nothing about the explanation.
    fn points(&self) -> Option<f64> {
        if self.outcome == "missing" {
            return Some(0.0);
        }
        let parts: Vec<bool> = self.precision?.parts().iter().filter_map(|(_, known)| *known).collect();
        let known = parts.iter().filter(|&&known| known).count();
        (self.outcome == "explained" && !parts.is_empty()).then(|| POINTS * known as f64 / parts.len() as f64)
    }
}

const EXPECTATION: &str = "no difference: what is reported depends on what the host watches, and it watches both alike; \
    a shared application without a limit of its own has no limit that could be named";

/// The claim.
pub(super) struct C12;

impl Claim for C12 {
    fn id(&self) -> &'static str {
        "C12"
    }

    fn title(&self) -> &'static str {
        "failures of isolated applications are explained better than those of shared ones"
    }

    fn expectation(&self) -> &'static str {
        EXPECTATION
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[Requirement::Cores(2)]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        run(session)
    }
}

/// # Errors
/// The session cannot go on, or the program knows no drill.
pub(super) fn run(session: &mut Session<'_>) -> Result<Finding, SessionError> {
    // The drill starts hosts of its own.
    session.stop()?;
    let faults = faults(session)?;
    let mut command = Command::new(&session.options.program);
    command.args(["drill", "--all", "--json"]);
    command.args(faults.iter().flat_map(|fault| ["--only", fault]));
    if let Some(python) = &session.options.python {
        command.arg("--python").arg(python);
    }
    let mut child = Running::start(&mut command)?;
    let mut lines = BufReader::new(child.output()?.take(LONGEST_LINE * (faults.len() as u64) * 2)).lines();
    let mut drilled: Vec<Drilled> = Vec::new();
    while let Some(line) = lines.next().transpose().map_err(SessionError::io("read what the drill says"))? {
        session.check()?;
        let one: Drilled = serde_json::from_str(&line)
            .map_err(|error| SessionError::Other(format!("the drill says what cannot be read: {error}")))?;
        session.progress.step(
            drilled.len() + 1,
            faults.len() * 2,
            &format!("C12: {} ({})", one.fault, one.tenancy),
        );
        drilled.push(one);
    }
    Ok(conclude(&drilled))
}

/// The names of the matrix's faults.
fn faults(session: &Session<'_>) -> Result<Vec<String>, SessionError> {
    #[derive(Deserialize)]
    struct Listed {
        fault: String,
    }
    let output = Command::new(&session.options.program)
        .args(["drill", "--json"])
        .stdin(Stdio::null())
        .output()
        .map_err(SessionError::io("start the drill"))?;
    let listed: Vec<Listed> = serde_json::from_slice(&output.stdout)
        .map_err(|_| SessionError::Missing("this program has no `drill` that lists its faults".to_owned()))?;
    Ok(listed.into_iter().take(FULL).map(|one| one.fault).collect())
}

/// A process that is killed when it is not wanted any more; the drill's hosts end with it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Running, SessionError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map(Running).map_err(SessionError::io("start the drill"))
    }

    fn output(&mut self) -> Result<std::process::ChildStdout, SessionError> {
        self.0.stdout.take().ok_or_else(|| SessionError::Other("the drill has no output".to_owned()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The verdict of the matrix.
#[must_use]
pub(super) fn conclude(drilled: &[Drilled]) -> Finding {
    let points = by_fault(drilled);
    let differences: Vec<f64> = points
        .values()
        .filter_map(|tenancies| Some(tenancies.get(ISOLATED)? - tenancies.get(SHARED)?))
        .collect();
    let (verdict, because) = judge(&differences);
    let answer = Answer {
        id: "C12".into(),
        question: "isolated applications' failures are explained better, by a point of six or more".into(),
        metric: "points of six, isolated - shared (no ratio)".into(),
        a: SHARED.into(),
        b: ISOLATED.into(),
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
        let of_tenancy = drilled.iter().filter(|drilled| drilled.tenancy == tenancy);
        median(&of_tenancy.filter_map(|drilled| drilled.seconds_to_incident).collect::<Vec<_>>())
    };
    Finding {
        verdict,
        sentence: format!(
            "{} faults: shared {} points of six after {} s, isolated {} after {} s; {} incidents had nothing to do with the fault",
            differences.len(),
            shown(mean(SHARED), 1),
            shown(seconds(SHARED), 2),
            shown(mean(ISOLATED), 1),
            shown(seconds(ISOLATED), 2),
            drilled.iter().map(|drilled| drilled.false_ones.len()).sum::<usize>(),
        ),
        flips_when: Some(
            "without the host's own instruments (kernel counters of each application, a watching thread in each worker) only \
             the isolated ones would have figures of their own"
                .into(),
        ),
        notes: drilled.iter().map(note).collect(),
        answers: vec![answer],
        ..Finding::default()
    }
}

/// Mean points of each fault in each tenancy.
fn by_fault(drilled: &[Drilled]) -> BTreeMap<&str, BTreeMap<&str, f64>> {
    let mut collected: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for drilled in drilled {
        if let Some(points) = drilled.points() {
            let tenancies = collected.entry(&drilled.fault).or_default();
            tenancies.entry(&drilled.tenancy).or_default().push(points);
        }
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
        (
            Verdict::Inconclusive,
            Some(format!("{better} faults better, {worse} worse, {mean:+.1} points on average")),
        )
    }
}

fn note(drilled: &Drilled) -> String {
    let Drilled { fault, tenancy, code, .. } = drilled;
    let why = drilled.why.as_deref().unwrap_or_default();
    let said = match (drilled.outcome.as_str(), drilled.precision, drilled.points()) {
        ("explained", Some(precision), Some(points)) => {
            let missing: Vec<&str> = precision
                .parts()
                .into_iter()
                .filter_map(|(what, known)| (known == Some(false)).then_some(what))
                .collect();
            let missing =
                if missing.is_empty() { String::new() } else { format!(", without {}", missing.join(", ")) };
            let sentence = drilled.incident.as_ref().map_or("", |incident| &incident.sentence);
            let seconds = shown(drilled.seconds_to_incident, 2);
            format!("{code} after {seconds} s, {points:.1} of 6{missing}: {sentence}")
        }
        ("missing", ..) => format!("no incident {code} while it was watched"),
        (outcome, ..) => format!("{outcome}: {why}"),
    };
    let wrong: Vec<&str> = drilled.false_ones.iter().map(|incident| incident.code.as_str()).collect();
    let wrong =
        if wrong.is_empty() { String::new() } else { format!("; not explained by it: {}", wrong.join(", ")) };
    format!("{fault} ({tenancy}): {said}{wrong}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Precision = Precision {
        application: Some(true),
        worker: Some(true),
        limit: Some(true),
        requests: Some(true),
        growth: None,
        answer: Some(true),
    };
    const LESS: Precision = Precision { limit: Some(false), ..ALL };

    fn session(shared: Precision, isolated: Precision, faults: usize) -> Vec<Drilled> {
        let one = |fault: usize, tenancy: &str, precision| Drilled {
            fault: format!("fault {fault}"),
            tenancy: tenancy.to_owned(),
            code: "M10".into(),
            outcome: "explained".into(),
            seconds_to_incident: Some(0.1),
            precision: Some(precision),
            ..Drilled::default()
        };
        (0..faults).flat_map(|fault| [one(fault, SHARED, shared), one(fault, ISOLATED, isolated)]).collect()
    }

    fn verdict(drilled: &[Drilled]) -> Verdict {
        conclude(drilled).verdict
    }

    #[test]
    fn a_point_in_nine_of_eleven_is_needed() {
        assert_eq!(verdict(&session(LESS, ALL, 11)), Verdict::Supported);
        assert_eq!(verdict(&session(ALL, LESS, 11)), Verdict::Contradicted);
        assert_eq!(verdict(&session(ALL, ALL, 11)), Verdict::NoMaterialEffect);
        assert_eq!(verdict(&session(LESS, ALL, 4)), Verdict::Inconclusive);
        let mut mixed = session(LESS, ALL, 8);
        mixed.extend(session(ALL, ALL, 11).split_off(16));
        assert_eq!(verdict(&mixed), Verdict::NoMaterialEffect, "8 of 11 is not enough");
        // Much better in few faults: neither.
        let nothing = Precision { application: Some(false), ..Precision::default() };
        let mut few = session(nothing, ALL, 3);
        few.extend(session(ALL, ALL, 11).split_off(6));
        assert_eq!(verdict(&few), Verdict::Inconclusive);
    }

    #[test]
    fn what_could_not_happen_does_not_count_and_what_was_missed_does() {
        let mut drilled = session(ALL, ALL, 11);
        for (one, outcome) in drilled.iter_mut().step_by(2).zip(["prevented", "not done"]) {
            outcome.clone_into(&mut one.outcome);
            one.why = Some("no volumes here".into());
        }
        assert_eq!(conclude(&drilled).answers[0].pairs, 9);
        for one in drilled.iter_mut().skip(4).step_by(2) {
            "missing".clone_into(&mut one.outcome);
        }
        let finding = conclude(&drilled);
        assert_eq!(finding.verdict, Verdict::Supported);
        assert_eq!(finding.notes[0], "fault 0 (shared): prevented: no volumes here");
        assert!(finding.notes[4].contains("no incident M10"), "{:?}", finding.notes);
    }

    #[test]
    fn lines_of_a_drill_are_read() {
        let line = r#"{"fault":"oom","about":"x","code":"M10","tenancy":"shared","outcome":"explained","why":null,
            "seconds_to_incident":0.02,"precision":{"points":4,"of":5,"application":true,"worker":true,"limit":false,
            "requests":true,"growth":null,"answer":true},"incident":{"code":"M10","sentence":"killed"},
            "false":[{"id":"H10-1","code":"H10","app":null,"sentence":"s"}]}"#;
        let drilled: Drilled = serde_json::from_str(line).unwrap();
        assert_eq!(drilled.precision, Some(LESS));
        assert_eq!(
            note(&drilled),
            "oom (shared): M10 after 0.02 s, 4.8 of 6, without resource and limit: killed; not explained by it: H10"
        );
    }
}
