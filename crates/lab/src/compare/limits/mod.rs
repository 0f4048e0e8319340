//! Limits and how they act together: a quota of processors, a limit of memory and twice the workers, alone and in pairs, at the
//! rate that is expected.
//!
//! The quota leaves half as much again as the application needs on average, the limit of memory a tenth more than its control
//! group holds: what is set by somebody who has looked at both. They are set live on the application that the comparison of
//! tenancies left, in rounds that have each trial once with the same arrivals. What follows from the figures: `tell.rs`.

mod tell;

use std::time::Duration;

use super::{CompareError, Depth, Known, SUBJECT, Wishes, load};
use crate::document::{BlockKind, LimitTrial, known};
use crate::experiment::{Arm, Block, Condition, Load, Noise, Purpose, Rate, Session, SessionError};
use crate::host::{AppPlan, HostError, HostPlan};
use crate::statistics::verdict::range;

/// The quota, in what the application needs on average.
const QUOTA: f64 = 1.5;
/// Quotas are multiples of one core over this.
const STEPS: f64 = 20.0;
/// The limit of memory, in what its group holds.
const MEMORY: f64 = 1.1;
const MIB: u64 = 1 << 20;
/// Six differences are the fewest that can be conclusive.
const ROUNDS: usize = 6;
/// Longest block, and what of it is discarded: there are six times as many as in a comparison of two.
const BLOCK: Duration = Duration::from_secs(1);
const DISCARD: Duration = Duration::from_millis(300);
const SERIES: &str = "limits";

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trial {
    quota: bool,
    memory: bool,
    doubled: bool,
}

const NONE: Trial = Trial { quota: false, memory: false, doubled: false };
const QUOTA_ONLY: Trial = Trial { quota: true, ..NONE };
const MEMORY_ONLY: Trial = Trial { memory: true, ..NONE };
const BOTH: Trial = Trial { quota: true, memory: true, doubled: false };
const DOUBLED: Trial = Trial { doubled: true, ..NONE };
const QUOTA_DOUBLED: Trial = Trial { quota: true, memory: false, doubled: true };

/// Twice the workers with the limit of memory is not among them: whether it holds them, the memory that they use says, without
/// killing any.
const TRIALS: [Trial; 6] = [NONE, QUOTA_ONLY, MEMORY_ONLY, BOTH, DOUBLED, QUOTA_DOUBLED];

impl Trial {
    /// Whether it is nothing without this constraint, as the program calls it.
    fn needs(self, constraint: &str) -> bool {
        (self.quota && constraint == "cpu") || (self.memory && constraint == "memory")
    }

    fn name(self) -> String {
        let parts =
            [(self.quota, "quota"), (self.memory, "limit of memory"), (self.doubled, "twice the workers")];
        let named: Vec<&str> = parts.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        if named.is_empty() { "no limit".to_owned() } else { named.join(" and ") }
    }
}

/// How large they are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    /// None: no quota below what this machine has.
    cores: Option<f64>,
    /// None: how much it holds is not known.
    memory_mib: Option<u64>,
    workers: u32,
}

impl Settings {
    fn of(needed_cores: f64, held_bytes: Option<u64>, machine_cores: u32, workers: u32) -> Settings {
        // What is a multiple already must not become the next one by rounding.
        let cores = (needed_cores * QUOTA * STEPS - 1e-9).ceil().max(1.0) / STEPS;
        let mib = |bytes: u64| ((bytes as f64 * MEMORY) as u64).div_ceil(MIB);
        Settings {
            cores: (cores < f64::from(machine_cores)).then_some(cores),
            memory_mib: held_bytes.map(mib),
            workers,
        }
    }

    fn allow(self, trial: Trial) -> bool {
        (!trial.quota || self.cores.is_some()) && (!trial.memory || self.memory_mib.is_some())
    }

    fn workers(self, trial: Trial) -> u32 {
        if trial.doubled { 2 * self.workers } else { self.workers }
    }

    fn apply(self, trial: Trial, app: &AppPlan) -> AppPlan {
        let mut app = app.clone().set("workers", self.workers(trial));
        if let Some(cores) = self.cores.filter(|_| trial.quota) {
            app = app.limit("cpu", cores);
        }
        if let Some(mib) = self.memory_mib.filter(|_| trial.memory) {
            app = app.limit("memory", format!("{mib}MiB"));
        }
        app
    }

    fn within(self, trial: Trial, host: &HostPlan) -> HostPlan {
        let mut host = host.clone();
        if let Some(app) = host.apps.get_mut(SUBJECT) {
            *app = self.apply(trial, app);
        }
        host
    }
}

/// One trial, and its blocks by round.
#[derive(Debug)]
struct Row {
    trial: Trial,
    blocks: Vec<(usize, Block)>,
    refused: Option<String>,
}

impl Row {
    fn valid(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().map(|(_, block)| block).filter(|block| block.is_valid())
    }

    fn median(&self, figure: impl Fn(&Block) -> f64) -> f64 {
        let values: Vec<f64> = self.valid().map(figure).collect();
        range(&values).0
    }

    fn used_bytes(&self) -> Option<u64> {
        self.blocks.iter().filter_map(|(_, block)| block.usage.memory_bytes).max()
    }

    fn document(&self, settings: Settings) -> LimitTrial {
        LimitTrial {
            name: self.trial.name(),
            cpu_cores: settings.cores.filter(|_| self.trial.quota),
            memory_bytes: settings.memory_mib.filter(|_| self.trial.memory).map(|mib| mib * MIB),
            workers: settings.workers(self.trial),
            rounds: u32::try_from(self.valid().count()).unwrap_or(u32::MAX),
            p50_ms: known(self.median(|block| block.quantile(0.5)) * 1e3),
            // Infinite, and so not known, where more failed.
            p95_ms: known(self.median(|block| block.quantile(0.95)) * 1e3),
            throttled: known(self.median(|block| block.usage.throttled.unwrap_or(f64::NAN))),
            used_bytes: self.used_bytes(),
            failed: self.blocks.iter().map(|(_, block)| block.failed + block.dropped).sum(),
            refused: self.refused.clone(),
        }
    }
}

pub(super) fn measure(session: &mut Session<'_>, wishes: &Wishes, found: &Known) -> Result<(), CompareError> {
    // Without arms there is nothing here that could be limited; that is said already.
    let Some(tenancy) = found.tenancy.as_ref().filter(|tenancy| tenancy.not_testable.is_none()) else {
        return Ok(());
    };
    if wishes.depth == Depth::Quick {
        let note = "limits and how they act together take a minute more: not measured with --quick";
        session.document.notes.push(note.to_owned());
        return Ok(());
    }
    let load = load(&found.survey, Rate::Poisson(tenancy.rate));
    // How much it holds; and this is the arm that all limits are set in.
    let held = session.block(&condition(NONE, &load), session.options.seed, &Purpose::series(SERIES))?;
    let settings = Settings::of(
        tenancy.rate * found.cpu_seconds,
        held.usage.memory_bytes,
        session.document.machine.cores.unwrap_or(1),
        session.host()?.app(SUBJECT)?.target,
    );
    let effort = session.options.effort.within(BLOCK, DISCARD);
    let rows = session.with_effort(effort, |session| rounds(session, settings, &load))?;
    tell::all(&mut session.document, &rows, settings, tenancy);
    Ok(())
}

fn condition(trial: Trial, load: &Load) -> Condition {
    Condition {
        name: format!("limits, {}", trial.name()),
        app: SUBJECT.to_owned(),
        arm: Arm::FairShare,
        noise: Noise::quiet(),
        load: load.clone(),
    }
}

/// Every trial in every round; afterwards the application is as it was.
fn rounds(session: &mut Session<'_>, settings: Settings, load: &Load) -> Result<Vec<Row>, SessionError> {
    let base = session.host()?.plan().clone();
    let row = |trial| Row { trial, blocks: Vec::new(), refused: None };
    let mut rows: Vec<Row> = TRIALS.into_iter().filter(|trial| settings.allow(*trial)).map(row).collect();
    for round in 0..ROUNDS {
        session.progress.step(round, ROUNDS, "limits alone and together");
        let seed = session.random.next_u64();
        let number = u16::try_from(round).ok();
        let purpose = Purpose { kind: BlockKind::Measured, pair: number, question: SERIES.to_owned() };
        for index in order(&rows, session) {
            let row = &mut rows[index];
            if row.refused.is_none() {
                row.refused = set(session, row.trial, &base, settings)?;
            }
            if row.refused.is_none() {
                row.blocks.push((round, session.sound_block(&condition(row.trial, load), seed, &purpose)?));
            }
        }
    }
    session.host()?.apply(base)?;
    Ok(rows)
}

/// In an order of its own for each round; those with twice the workers come together, so that workers start once in a round.
fn order(rows: &[Row], session: &mut Session<'_>) -> Vec<usize> {
    let (mut doubled, mut single): (Vec<usize>, Vec<usize>) =
        (0..rows.len()).partition(|index| rows[*index].trial.doubled);
    session.random.shuffle(&mut doubled);
    session.random.shuffle(&mut single);
    let mut groups = [single, doubled];
    session.random.shuffle(&mut groups);
    groups.concat()
}

/// Set limits live; why they cannot be, with what was before in force again.
fn set(
    session: &mut Session<'_>,
    trial: Trial,
    base: &HostPlan,
    settings: Settings,
) -> Result<Option<String>, SessionError> {
    let host = session.host()?;
    let plan = settings.within(trial, base);
    if *host.plan() == plan {
        return Ok(None);
    }
    let why = match host.apply(plan) {
        Ok(_) => {
            let app = host.app(SUBJECT)?;
            app.unenforced.into_iter().find(|it| trial.needs(&it.constraint)).map(|it| it.why)
        }
        Err(HostError::App { why, .. }) => Some(why),
        Err(error) => return Err(error.into()),
    };
    if why.is_some() {
        host.apply(base.clone())?;
    }
    Ok(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_somebody_would_write() {
        let settings = Settings::of(0.5, Some(100 << 20), 2, 1);
        assert_eq!(settings, Settings { cores: Some(0.75), memory_mib: Some(110), workers: 1 });
        let app = settings.apply(BOTH, &AppPlan::new("a:b", std::path::Path::new("/srv")));
        assert_eq!(app.limits["cpu"], 0.75);
        assert_eq!(app.limits["memory"], "110MiB");
        assert_eq!(app.keys["workers"], 1);
        let app = settings.apply(DOUBLED, &AppPlan::new("a:b", std::path::Path::new("/srv")));
        assert!(app.limits.is_empty());
        assert_eq!(app.keys["workers"], 2);
        assert_eq!(Settings::of(0.21, None, 2, 1).cores, Some(0.35));
    }

    #[test]
    fn what_cannot_be_limited_is_not_tried() {
        let settings = Settings::of(1.4, None, 2, 1);
        assert_eq!(settings.cores, None, "that is all there is");
        let tried: Vec<Trial> = TRIALS.into_iter().filter(|trial| settings.allow(*trial)).collect();
        assert_eq!(tried, [NONE, DOUBLED]);
        let names: Vec<String> = TRIALS.iter().map(|trial| trial.name()).collect();
        assert_eq!(names[0], "no limit");
        assert_eq!(names[5], "quota and twice the workers");
        let mut distinct = names.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len());
    }
}
