//! Running claims one after the other, and what is left of it: also when it ends early.

use std::time::Instant;

use rustix::fs::statvfs;
use rustix::process::geteuid;

use super::{Claim, Finding, Requirement};
use crate::document::{self, Document, Kind, NotTestable, Verdict};
use crate::experiment::{Options, Progress, Session, SessionError};
use crate::statistics::verdict::{self, Judgement};

/// File systems that are memory, not disk.
const MEMORY_FILE_SYSTEMS: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];

/// What a run of claims left.
#[derive(Debug)]
pub struct Outcome {
    pub document: Document,
    /// What went wrong besides verdicts: it ended early, or not everything is as it was.
    pub trouble: Vec<String>,
}

/// Test claims.
///
/// # Errors
/// The session could not begin: nothing was measured or changed.
pub fn run(
    claims: &[&dyn Claim],
    options: Options,
    progress: &mut dyn Progress,
) -> Result<Outcome, SessionError> {
    let effort = options.effort;
    let mut session = Session::open(options, Kind::Claims, progress)?;
    session.document.subject = "claims".to_owned();
    session.document.method.pairs = u32::try_from(effort.pairs).ok();
    session.document.method.block_seconds = Some(effort.block.as_secs_f64());
    session.document.method.discarded_seconds = Some(effort.discard.as_secs_f64());
    session.document.plan_hash = plan_hash(claims, &session.options);
    let (mut primaries, mut trouble): (Vec<(usize, Judgement)>, Vec<String>) = (Vec::new(), Vec::new());
    for claim in claims {
        session.progress.part(&format!("{}: {}", claim.id(), claim.title()));
        let begun = Instant::now();
        session.options.effort = effort;
        let result = requirements(*claim, &session).and_then(|()| claim.run(&mut session));
        let stopped = session.stop();
        let seconds = begun.elapsed().as_secs_f64();
        match result {
            Ok(finding) => {
                if let Some(primary) = finding.primary.clone() {
                    primaries.push((session.document.claims.len(), primary));
                }
                add(&mut session.document, *claim, finding, seconds);
            }
            Err(SessionError::Missing(why)) => missing(&mut session.document, *claim, &why, seconds),
            Err(SessionError::Interrupted) => {
                let at = format!("interrupted during {}; the claims before it are complete", claim.id());
                session.document.interrupted = Some(at.clone());
                trouble.push(at);
                break;
            }
            Err(error) => {
                trouble.push(format!("{} could not be run: {error}", claim.id()));
                failed(&mut session.document, *claim, &error, seconds);
            }
        }
        if let Err(error) = stopped {
            trouble.push(format!("after {}: {error}", claim.id()));
        }
    }
    correct(&mut session.document, primaries);
    session.document.notes.extend(noisy(&session.document));
    let (document, closed) = session.close();
    trouble.extend(closed.err().map(|error| error.to_string()));
    Ok(Outcome { document, trouble })
}

/// Said when most of what was measured does not count.
fn noisy(document: &Document) -> Option<String> {
    let lost: Vec<&document::Block> = document.blocks.iter().filter(|block| !block.valid).collect();
    let why = lost.first()?.invalid_because.first()?;
    (2 * lost.len() > document.blocks.len()).then(|| {
        format!(
            "this machine is too noisy for verdicts: {} of {} blocks do not count (the first: {why}); repeat it when nothing else runs",
            lost.len(),
            document.blocks.len()
        )
    })
}

/// Whether the machine has what a claim needs.
fn requirements(claim: &dyn Claim, session: &Session<'_>) -> Result<(), SessionError> {
    for requirement in claim.requirements() {
        if let Some(why) = lacks(*requirement, session) {
            return Err(SessionError::Missing(why));
        }
    }
    Ok(())
}

fn lacks(requirement: Requirement, session: &Session<'_>) -> Option<String> {
    match requirement {
        Requirement::Cores(need) => {
            let have = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            (have < need).then(|| format!("{need} cores are needed, here are {have}"))
        }
        Requirement::Root => (!geteuid().is_root())
            .then(|| "only root may move processes between control groups; run it with sudo".to_owned()),
        Requirement::Controller(name) => {
            session.groups().version(name).is_none().then(|| {
                format!("there is no control group controller `{name}` (`serpentry doctor` says more)")
            })
        }
        Requirement::Memory(need) => {
            let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
            let have = line.split_whitespace().next()?.parse::<u64>().ok()? / 1024;
            (have < need).then(|| format!("{need} MiB of free memory are needed, here are {have}"))
        }
        Requirement::Disk(need) => {
            let directory = session.directory();
            if let Some(kind) =
                file_system(directory).filter(|kind| MEMORY_FILE_SYSTEMS.contains(&kind.as_str()))
            {
                let shown = directory.display();
                return Some(format!(
                    "{shown} is on {kind}, not on a disk; set TMPDIR to a directory on a disk"
                ));
            }
            let space = statvfs(directory).ok()?;
            let have = (space.f_bavail * space.f_frsize) >> 20;
            (have < need).then(|| {
                format!("{need} MiB of disk space are needed in {}, there are {have}", directory.display())
            })
        }
    }
}

/// Kind of the file system that a directory is on.
fn file_system(directory: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = text.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        directory.starts_with(point).then(|| (point.len(), system.split(' ').next().unwrap_or("").to_owned()))
    });
    // The later of two at the same place hides the earlier.
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn add(document: &mut Document, claim: &dyn Claim, finding: Finding, seconds: f64) {
    document.claims.push(document::Claim {
        id: claim.id().to_owned(),
        title: claim.title().to_owned(),
        expectation: claim.expectation().to_owned(),
        verdict: finding.verdict,
        sentence: finding.sentence,
        flips_when: finding.flips_when,
        answers: finding.answers.iter().map(|answer| answer.id.clone()).collect(),
        seconds: Some(seconds),
        notes: finding.notes,
    });
    document.verdicts.extend(finding.answers);
    document.shifts.extend(finding.shifts);
    document.decompositions.extend(finding.decompositions);
    document.ladders.extend(finding.ladders);
    document.memory.extend(finding.memory);
}

fn missing(document: &mut Document, claim: &dyn Claim, why: &str, seconds: f64) {
    let finding = Finding {
        verdict: Verdict::NotTestable,
        sentence: format!("not testable here: {why}"),
        ..Finding::default()
    };
    add(document, claim, finding, seconds);
    document.not_testable.push(NotTestable { what: claim.id().to_owned(), because: why.to_owned() });
}

fn failed(document: &mut Document, claim: &dyn Claim, error: &SessionError, seconds: f64) {
    let finding = Finding {
        verdict: Verdict::Inconclusive,
        sentence: format!("it could not be run: {error}"),
        ..Finding::default()
    };
    add(document, claim, finding, seconds);
}

/// Take back conclusions that are none when the number of questions counts.
fn correct(document: &mut Document, mut primaries: Vec<(usize, Judgement)>) {
    let before: Vec<verdict::Verdict> = primaries.iter().map(|(_, judged)| judged.verdict).collect();
    verdict::after_holm(&mut primaries.iter_mut().map(|(_, judged)| judged).collect::<Vec<_>>());
    for ((position, judged), before) in primaries.iter().zip(before) {
        let claim = &mut document.claims[*position];
        let Some(answer) =
            document.verdicts.iter_mut().find(|answer| Some(&answer.id) == claim.answers.first())
        else {
            continue;
        };
        answer.primary = true;
        if judged.verdict == before {
            continue;
        }
        let corrected = document::Answer::of("", "", "", judged);
        (answer.verdict, answer.because) = (corrected.verdict, corrected.because.clone());
        claim.verdict = Verdict::Inconclusive;
        claim.notes.extend(corrected.because);
    }
}

/// Of everything that is fixed before measuring.
fn plan_hash(claims: &[&dyn Claim], options: &Options) -> String {
    let mut plan =
        format!("{} {:?} {:?}", options.seed, options.effort, crate::experiment::gate::Limits::default());
    for claim in claims {
        plan += &format!("\n{} {} {}", claim.id(), claim.title(), claim.expectation());
    }
    document::fingerprint(&plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::verdict::judge;

    #[test]
    fn a_noisy_machine_is_called_one() {
        let block =
            |valid| document::Block { valid, invalid_because: vec!["steal".into()], ..Default::default() };
        let mut document = Document { blocks: vec![block(true), block(false)], ..Document::default() };
        assert_eq!(noisy(&document), None);
        document.blocks.push(block(false));
        assert!(
            noisy(&document).is_some_and(|text| text.contains("2 of 3 blocks") && text.contains("steal"))
        );
    }

    #[test]
    fn with_many_questions_weak_answers_are_taken_back() {
        let mut document = Document::default();
        let mut primaries = Vec::new();
        for number in 0..7 {
            let id = format!("C{number}");
            let judged = judge(&[0.5, 0.6, 0.7, 0.8, 0.5, 0.6, 0.7, 0.9], 0.2, None).unwrap();
            document.verdicts.push(document::Answer::of(&id, "", "", &judged));
            let verdict = document.verdicts[number].verdict;
            document.claims.push(document::Claim { verdict, answers: vec![id], ..Default::default() });
            primaries.push((number, judged));
        }
        assert_eq!(document.claims[0].verdict, Verdict::Supported);
        correct(&mut document, primaries[..2].to_vec());
        assert_eq!(document.claims[0].verdict, Verdict::Supported);
        assert!(document.verdicts[0].primary && !document.verdicts[2].primary);
        correct(&mut document, primaries);
        assert!(document.claims.iter().all(|claim| claim.verdict == Verdict::Inconclusive));
    }
}
