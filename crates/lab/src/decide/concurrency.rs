//! Which execution model, and how many workers and threads.

use super::inputs::{Concurrency, Inputs, Interface};
use super::{Part, SLOTS_IN_USE, count, measured, reason};
use crate::document::{Change, Verdict};

/// Below this share of waiting, more requests at a time give nothing.
pub(super) const WAITING: f64 = 0.3;
/// Threads beyond this are an event loop's work.
pub(super) const MOST_THREADS: f64 = 200.0;
/// Share of the target by which the event loop may be late.
pub(super) const LATE_LOOP: f64 = 0.1;
/// A configuration file has no more workers or threads than this.
const MOST_WORKERS: f64 = 1_000.0;
const MIB: f64 = 1_048_576.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) choice: Concurrency,
    pub(super) workers: Option<u32>,
    pub(super) threads: Option<u32>,
    pub(super) part: Part,
}

/// How requests spend their time, and what that needs.
struct Needs {
    /// Share of waiting.
    waiting: f64,
    /// Requests under way at the peak.
    under_way: f64,
    slots: f64,
    cores: f64,
}

pub(super) fn choose(inputs: &Inputs) -> Choice {
    let mut part = Part::default();
    let needs = needs(inputs, &mut part);
    match inputs.interface {
        Interface::Asgi => event_loop(inputs, needs.as_ref(), part),
        Interface::Wsgi => match needs {
            Some(needs) => wsgi(inputs, &needs, part),
            None => Choice { choice: Concurrency::Sync, workers: None, threads: None, part },
        },
    }
}

fn needs(inputs: &Inputs, part: &mut Part) -> Option<Needs> {
    let time = measured(inputs.cpu_ms).zip(measured(inputs.wait_ms)).filter(|(cpu, wait)| cpu + wait > 0.0);
    let rate = measured(inputs.rate);
    let cores = measured(inputs.cores).filter(|cores| *cores > 0.0);
    for (known, what) in [
        (time.is_some(), "processor and waiting time of a request"),
        (rate.is_some(), "the rate of requests"),
        (cores.is_some(), "the cores it can use"),
    ] {
        if !known {
            part.unknown.push(what);
        }
    }
    let ((cpu, wait), rate, cores) = (time?, rate?, cores?);
    let peak = measured(inputs.peak_over_mean).map_or(1.0, |peak| peak.max(1.0));
    let under_way = rate * peak * (cpu + wait) / 1e3;
    Some(Needs {
        waiting: wait / (cpu + wait),
        under_way,
        slots: (under_way / SLOTS_IN_USE).ceil().max(1.0),
        cores,
    })
}

/// Whole, at least 1.
fn whole(value: f64) -> u32 {
    value.ceil().clamp(1.0, MOST_WORKERS) as u32
}

fn wsgi(inputs: &Inputs, needs: &Needs, mut part: Part) -> Choice {
    let percent = needs.waiting * 100.0;
    if needs.waiting < WAITING {
        part.reasons.push(reason(
            format!("Requests wait for {percent:.0} % of their time: more of them at a time in a worker would only share its processor."),
            &[],
        ));
        part.changes.push(waiting_change(needs, "threads"));
        // One more, so that a worker that does wait now and then leaves no core idle.
        let workers = whole(needs.cores) + u32::from(needs.waiting >= WAITING / 3.0);
        return Choice { choice: Concurrency::Sync, workers: Some(workers), threads: None, part };
    }
    let (rule, fits) = (by_rule(inputs, needs, &mut part), sync_fits(inputs, needs));
    let choice = confirmed(inputs, rule, fits, needs, &mut part);
    part.reasons.insert(0, reason(
        format!(
            "Requests wait for {percent:.0} % of their time, and {} under way at the peak: that needs {}.",
            if needs.under_way < 0.05 { "hardly one is".to_owned() } else { format!("{:.1} are", needs.under_way) },
            if needs.slots <= 1.0 { "one slot".to_owned() } else { format!("{:.0} slots", needs.slots) },
        ),
        &[],
    ));
    part.changes.push(waiting_change(needs, "sync workers, as many as cores"));
    if needs.slots <= MOST_THREADS {
        part.changes.push(Change {
            text: "many more requests are under way at a time".into(),
            quantity: "slots".into(),
            unit: "slots".into(),
            threshold: Some(MOST_THREADS),
            current: Some(needs.slots),
            then: "an asynchronous version of the application, or more machines".into(),
        });
    } else {
        part.reasons.push(reason(
            format!("{:.0} slots are more than threads are good for ({MOST_THREADS:.0}); WSGI has no event loop, so an asynchronous version would need less memory.", needs.slots),
            &[],
        ));
    }
    match choice {
        Concurrency::Sync => {
            Choice { choice, workers: Some(whole(needs.slots.max(needs.cores))), threads: None, part }
        }
        _ => {
            let workers = whole(needs.cores);
            let threads = whole(needs.slots / f64::from(workers)).max(2);
            if inputs.convoy == Some(true) {
                part.fix_first.push("threads wait for the interpreter's lock in a convoy: sys.setswitchinterval(0.0005) in the application makes it shorter".into());
            }
            Choice { choice: Concurrency::Threads, workers: Some(workers), threads: Some(threads), part }
        }
    }
}

fn waiting_change(needs: &Needs, then: &str) -> Change {
    Change {
        text: if needs.waiting < WAITING { "requests wait more" } else { "requests wait less" }.into(),
        quantity: "share of waiting".into(),
        unit: "of a request's time".into(),
        threshold: Some(WAITING),
        current: Some(needs.waiting),
        then: then.into(),
    }
}

/// Whether as many processes as slots fit; None when that is not known.
fn sync_fits(inputs: &Inputs, needs: &Needs) -> Option<bool> {
    let (worker, budget) = (measured(inputs.worker_bytes)?, measured(inputs.memory_budget_bytes)?);
    Some(needs.slots * worker <= budget && needs.slots <= MOST_WORKERS)
}

/// Threads, unless they are not possible.
fn by_rule(inputs: &Inputs, needs: &Needs, part: &mut Part) -> Concurrency {
    if inputs.thread_safe == Some(false) {
        part.reasons
            .push(reason("It must not run in several threads at a time, so only processes are left.", &[]));
        if sync_fits(inputs, needs) == Some(false) {
            part.fix_first.push(format!("{} with one request at a time each do not fit into its memory: make it safe for threads, or give it more", count(whole(needs.slots), "worker")));
        }
        return Concurrency::Sync;
    }
    let (worker, thread) = (measured(inputs.worker_bytes), measured(inputs.thread_bytes));
    if let (Some(worker), Some(thread), Some(budget)) = (worker, thread, measured(inputs.memory_budget_bytes))
    {
        let needed = f64::from(whole(needs.cores)) * worker + needs.slots * thread;
        if needed > budget {
            part.fix_first.push(format!(
                "its threads need {:.0} MiB and it may use {:.0} MiB: give it more memory, or serve less",
                needed / MIB,
                budget / MIB
            ));
        } else {
            part.changes.push(Change {
                text: "it needs more memory than it may use".into(),
                quantity: "memory of workers and threads".into(),
                unit: "MiB".into(),
                threshold: Some(budget / MIB),
                current: Some(needed / MIB),
                then: "fewer slots, or more memory".into(),
            });
        }
    }
    Concurrency::Threads
}

/// What measuring the rule's choice against the simpler one says. The simpler one is kept unless the other is supported.
fn confirmed(
    inputs: &Inputs,
    rule: Concurrency,
    sync_fits: Option<bool>,
    needs: &Needs,
    part: &mut Part,
) -> Concurrency {
    if rule == Concurrency::Sync {
        return rule;
    }
    match sync_fits {
        Some(true) => {}
        Some(false) => {
            let worker = measured(inputs.worker_bytes).unwrap_or(0.0) / MIB;
            let budget = measured(inputs.memory_budget_bytes).unwrap_or(0.0) / MIB;
            let text = format!(
                "{:.0} processes of {worker:.0} MiB need {:.0} MiB and it may use {budget:.0} MiB: threads share one process.",
                needs.slots,
                needs.slots * worker
            );
            part.reasons.push(reason(text, &[]));
            return rule;
        }
        None => {
            part.unknown.push("whether a process for each slot fits into its memory");
            return rule;
        }
    }
    if misses_target(inputs, Concurrency::Sync) {
        part.reasons.push(reason("A process for each slot would miss the target, by simulation.", &[]));
        return rule;
    }
    let Some(pairwise) = &inputs.pairwise else {
        part.unknown.push("threads against processes, measured");
        return rule;
    };
    let is_this_pair = [pairwise.better, pairwise.other].contains(&Concurrency::Sync)
        && [pairwise.better, pairwise.other].contains(&rule);
    if !is_this_pair {
        part.unknown.push("threads against processes, measured");
        return rule;
    }
    let ratio = pairwise.ratio.map(|ratio| format!(" ({ratio:.2} times)")).unwrap_or_default();
    let (choice, text) = match pairwise.verdict {
        Verdict::Supported => (pairwise.better, format!("Measured against each other, {} was better than {}{ratio}.", pairwise.better.name(), pairwise.other.name())),
        Verdict::Contradicted => (pairwise.other, format!("Measured against each other, {} was better than {}{ratio}.", pairwise.other.name(), pairwise.better.name())),
        _ => (Concurrency::Sync, "Measured against each other, processes and threads made no difference that is known: processes are simpler, and one that dies takes one request with it.".to_owned()),
    };
    part.reasons.push(reason(text, &[&pairwise.evidence]));
    choice
}

fn misses_target(inputs: &Inputs, concurrency: Concurrency) -> bool {
    let predicted = inputs.predicted.iter().find(|predicted| predicted.concurrency == concurrency);
    predicted.zip(measured(inputs.target_ms)).is_some_and(|(predicted, target)| predicted.latency_ms > target)
}

/// ASGI applications run on an event loop; what is asked is only how many, and whether the loop is kept free.
fn event_loop(inputs: &Inputs, needs: Option<&Needs>, mut part: Part) -> Choice {
    let workers = needs.map(|needs| whole(needs.cores));
    part.reasons.push(reason(
        match workers {
            Some(workers) => format!("It is an ASGI application: an event loop for each core it can use, {workers} in all, and as many requests at a time as come."),
            None => "It is an ASGI application: it runs on an event loop.".to_owned(),
        },
        &[],
    ));
    match (measured(inputs.loop_lag_p99_ms), measured(inputs.target_ms)) {
        (Some(lag), Some(target)) if target > 0.0 => {
            let bound = LATE_LOOP * target;
            if lag > bound {
                part.reasons.push(reason(format!("Its event loop is {lag:.1} ms late in 1 of 100 cases, {bound:.1} ms would be fine for a target of {target:.0} ms: something blocks it."), &[]));
                part.fix_first
                    .push("find what blocks the event loop (serpentry why) and move it to a thread".into());
            }
            part.changes.push(Change {
                text: "the event loop becomes later".into(),
                quantity: "lateness of the event loop".into(),
                unit: "ms".into(),
                threshold: Some(bound),
                current: Some(lag),
                then: "mend what blocks it before anything else".into(),
            });
        }
        (None, _) => part.unknown.push("how late the event loop is"),
        _ => part.unknown.push("a target for the latency"),
    }
    part.fix_first.extend(inputs.blocking_lines.iter().cloned());
    Choice { choice: Concurrency::Async, workers, threads: None, part }
}
