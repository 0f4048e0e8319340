//! Which concurrency: every model that the application allows, in one host, compared under the same closed load in interleaved
//! pairs.

use super::ladder::{self, Climbed};
use super::{CompareError, Depth, Known, NEIGHBOURS, Subject, Wishes, load};
use crate::document::Answer;
use crate::experiment::{Arm, Comparison, Condition, Noise, Rate, Session};
use crate::host::{AppPlan, HostPlan};
use crate::statistics::verdict::material;

/// Threads of a worker in the threaded model.
const THREADS: u32 = 8;
/// Requests at a time in the comparison: more than any model has processes, fewer than queues hold.
const AT_ONCE: usize = 16;

/// How many requests at a time, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) concurrency: &'static str,
    pub(super) workers: u32,
    pub(super) threads: Option<u32>,
}

impl Model {
    /// What is sensible on so many cores.
    pub(super) fn feasible(asynchronous: bool, cores: u32) -> Vec<Model> {
        let one = |concurrency, workers, threads| Model { concurrency, workers, threads };
        if asynchronous {
            vec![one("async", 1, None), one("async", 2, None)]
        } else {
            vec![one("sync", cores, None), one("sync", 2 * cores, None), one("threads", cores, Some(THREADS))]
        }
    }

    pub(super) fn title(self) -> String {
        match self.threads {
            Some(threads) => format!("{} {}x{threads}", self.concurrency, self.workers),
            None => format!("{} {}", self.concurrency, self.workers),
        }
    }

    /// Name of its application in the laboratory's host.
    fn name(self) -> String {
        self.title().replace(' ', "-")
    }

    pub(super) fn apply(self, app: &AppPlan) -> AppPlan {
        let app = app.clone().set("concurrency", self.concurrency).set("workers", self.workers);
        match self.threads {
            Some(threads) => app.set("threads", threads),
            None => app,
        }
    }
}

/// What came of one.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) model: Model,
    /// Highest of the ladder.
    pub(super) throughput: f64,
    /// Of a request of the mix, under load.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) bytes_per_request: Option<f64>,
    pub(super) worker_bytes: Option<u64>,
    /// Against the first model, if it is not that itself.
    pub(super) answer: Option<Answer>,
}

pub(super) fn measure(
    session: &mut Session<'_>,
    subject: &Subject,
    wishes: &Wishes,
    found: &mut Known,
) -> Result<(), CompareError> {
    let cores = session.document.machine.cores.unwrap_or(1);
    let mut models = Model::feasible(found.asynchronous, cores);
    if wishes.depth == Depth::Quick {
        // One comparison: sync workers beyond the number of cores are what a longer run is for.
        models.retain(|model| model.concurrency != "sync" || model.workers <= cores);
    }
    let plan = models.iter().fold(HostPlan::default(), |host, model| {
        host.with(&model.name(), model.apply(&subject.plan.clone().set("tenancy", "shared")))
    });
    session.start(plan)?;
    for model in &models {
        let Climbed { throughput, cpu_seconds, bytes_per_request, worker_bytes } =
            ladder::climb(session, wishes, found, &model.name(), &model.title())?;
        found.models.push(Measured {
            model: *model,
            throughput,
            cpu_seconds,
            bytes_per_request,
            worker_bytes,
            answer: None,
        });
    }
    let first = models[0];
    for (index, model) in models.iter().enumerate().skip(1) {
        let condition = |model: Model| Condition {
            name: model.title(),
            app: model.name(),
            arm: Arm::FairShare,
            noise: Noise::quiet(),
            load: load(&found.survey, Rate::Closed(AT_ONCE)),
        };
        let comparison =
            Comparison { id: format!("model-{}", model.name()), a: condition(first), b: condition(*model) };
        let paired = session.compare(&comparison)?;
        let question = format!("{} answers more than {}", model.title(), first.title());
        let (mut answer, _) = paired.answer(
            &question,
            &format!("answers per second, {AT_ONCE} requests at a time"),
            material::THROUGHPUT,
            crate::experiment::Block::throughput,
        );
        answer.primary = true;
        session.document.shifts.extend(paired.shift(session.options.seed));
        session.document.verdicts.push(answer.clone());
        found.models[index].answer = Some(answer);
    }
    if let Some(under_load) = best(&found.models).and_then(|measured| measured.cpu_seconds) {
        found.cpu_seconds = under_load;
    }
    Ok(())
}

/// The one to go on with: the first, unless another is better beyond doubt, and of those the one that is better by most.
pub(super) fn best(models: &[Measured]) -> Option<&Measured> {
    use crate::document::Verdict;
    let first = models.first()?;
    let gain = |measured: &&Measured| measured.answer.as_ref().and_then(|answer| answer.ratio).unwrap_or(1.0);
    let better = models.iter().filter(|measured| {
        measured.answer.as_ref().is_some_and(|answer| answer.verdict == Verdict::Supported)
    });
    Some(better.max_by(|a, b| gain(a).total_cmp(&gain(b))).unwrap_or(first))
}

/// Tenants that compete for processors.
pub(super) fn neighbours(session: &Session<'_>, host: HostPlan) -> HostPlan {
    NEIGHBOURS.iter().fold(host, |host, name| host.with(name, session.neighbour(name)))
}
