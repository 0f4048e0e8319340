//! From what was measured to what to do: execution model, tenancy for each resource, and the five dimensions.
//!
//! Pure functions: the same figures give the same recommendation. A figure that is not known is None, and then the rule
//! that needs it does not fire; the recommendation says that it was not measured and is worth less. Nothing here measures,
//! and no choice is made without its reason in figures ([`Recommendation`]).
//!
//! - [`concurrency`]: sync, threads or async, and how many. The operationally simpler one is kept unless a measured
//!   comparison *supports* the other.
//! - [`tenancy`]: processor, memory, storage and network each have their own answer. Never "isolated is better" without the
//!   condition on the neighbours under which it is.
//! - [`score`]: the five dimensions, who dominates, and how often the winner stays the winner.
//! - [`fragment`]: the part of `serpentry.toml`.

mod concurrency;
mod confidence;
mod fragment;
mod inputs;
pub mod score;
mod tenancy;

pub use self::fragment::fragment;
pub use self::inputs::{
    Concurrency, Costs, Growing, Inputs, Interface, Pairwise, Predicted, Quality, Tenancy, TenancyFigures,
};
use crate::document::{Change, Reason, Recommendation, ResourceChoice};

/// Share of slots that is in use at the planned rate; the rest is for bursts.
pub const SLOTS_IN_USE: f64 = 0.7;

/// What a rule contributes to the recommendation.
#[derive(Debug, Clone, Default, PartialEq)]
struct Part {
    reasons: Vec<Reason>,
    changes: Vec<Change>,
    resources: Vec<ResourceChoice>,
    fix_first: Vec<String>,
    /// Figures that would have been needed: "the rate of requests".
    unknown: Vec<&'static str>,
}

/// The recommendation for these figures.
#[must_use]
pub fn decide(inputs: &Inputs) -> Recommendation {
    let model = concurrency::choose(inputs);
    let tenancy = tenancy::choose(inputs, &model);
    let mut unknown = model.part.unknown.clone();
    unknown.extend(&tenancy.part.unknown);
    let (confidence, confidence_because) = confidence::judge(inputs, &unknown, tenancy.contested);
    let mut recommendation = Recommendation {
        tenancy: Some(tenancy.choice.name().to_owned()),
        concurrency: Some(model.choice.name().to_owned()),
        workers: model.workers,
        threads: model.threads,
        sentence: sentence(inputs, &model, &tenancy),
        reasons: [tenancy.part.reasons, model.part.reasons].concat(),
        would_change_if: [tenancy.part.changes, model.part.changes].concat(),
        resources: [tenancy.part.resources, model.part.resources].concat(),
        confidence,
        confidence_because,
        fix_first: [model.part.fix_first, tenancy.part.fix_first].concat(),
        not_testable: inputs.not_testable.clone(),
        config: String::new(),
    };
    recommendation.config = fragment(&inputs.app, &recommendation, tenancy.memory_limit, tenancy.own_cores);
    recommendation
}

fn sentence(inputs: &Inputs, model: &concurrency::Choice, tenancy: &tenancy::Choice) -> String {
    let how = match (model.choice, model.workers, model.threads) {
        (Concurrency::Threads, Some(workers), Some(threads)) => {
            format!("{} of {threads} threads", count(workers, "worker"))
        }
        (Concurrency::Sync, Some(workers), _) => {
            format!("{} with one request at a time each", count(workers, "worker"))
        }
        (Concurrency::Async, Some(workers), _) => {
            format!("{} with an event loop each", count(workers, "worker"))
        }
        (choice, _, _) => format!("{} workers", choice.name()),
    };
    format!("Host {} {}, in {how}{}", inputs.app, tenancy.how, tenancy.condition)
}

/// `1 worker`, `2 workers`.
fn count(number: u32, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn reason(text: impl Into<String>, evidence: &[&str]) -> Reason {
    Reason { text: text.into(), evidence: evidence.iter().map(|id| (*id).to_owned()).collect() }
}

/// Larger figures were not measured: a petabyte, 30,000 years in milliseconds.
const LARGEST: f64 = 1e15;

/// A figure that can have been measured, or not known.
fn measured(value: Option<f64>) -> Option<f64> {
    value.filter(|value| (0.0..=LARGEST).contains(value))
}

#[cfg(test)]
mod tests;
