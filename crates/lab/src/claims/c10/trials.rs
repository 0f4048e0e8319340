//! How C10 is measured.

use std::net::SocketAddr;
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::clients::Clients;
use super::{BUDGET, FEWEST_TRIALS, LOAD, PATIENCE, RETRIES, Trial, Variant, conclude};
use crate::claims::Finding;
use crate::claims::rounds::{closed, ladder, quiet, roomy, shorter};
use crate::experiment::{Load, Rate, Session, SessionError};
use crate::host::HostPlan;
use crate::probe::{self, Direct, Model};

/// Processor time of a request.
const TARGET: &str = "/cpu?ms=10";
/// Whole seconds of a trial: before the stop, until it counts again, and in all.
const STOPPED_AT: usize = 2;
const COUNTED_FROM: usize = 6;
const SECONDS: usize = 9;
const STOP: Duration = Duration::from_secs(1);
/// Clients wait at least so long: with less, the noise of the machine would be a failure.
const LEAST_PATIENCE: Duration = Duration::from_millis(60);

/// # Errors
/// The session cannot go on.
pub(super) fn run(session: &mut Session<'_>) -> Result<Finding, SessionError> {
    let app = roomy(session.probe(probe::WSGI));
    session.start(HostPlan::default().with("patient", app.clone()))?;
    let (highest, p95) = calibrate(session)?;
    let patience = p95.mul_f64(PATIENCE).max(LEAST_PATIENCE);
    let short = format!("{}ms", (patience / 3).as_millis().max(1));
    session.start(
        HostPlan::default().with("patient", app.clone()).with("short", app.limit("queue_timeout", short)),
    )?;
    let mut trials = Vec::new();
    let variants = [Variant::Direct, Variant::Hosted, Variant::HostedShortQueue, Variant::HostedBudget];
    for repeat in 0..FEWEST_TRIALS {
        for variant in variants {
            session.check()?;
            session.progress.step(trials.len(), FEWEST_TRIALS * variants.len(), variant.name());
            let clients = Clients {
                // Set below.
                address: SocketAddr::from(([127, 0, 0, 1], 0)),
                authority: HostPlan::authority(if variant == Variant::HostedShortQueue {
                    "short"
                } else {
                    "patient"
                }),
                target: TARGET.to_owned(),
                rate: LOAD * highest,
                seconds: SECONDS,
                patience,
                retries: RETRIES,
                budget: (variant == Variant::HostedBudget).then_some(BUDGET),
                // The same arrivals for all variants.
                seed: session.options.seed.wrapping_add(repeat as u64),
            };
            trials.push(trial(session, variant, clients)?);
        }
    }
    session.stop()?;
    let mut finding = conclude(&trials);
    finding.notes.insert(
        0,
        format!(
            "highest throughput {highest:.0} requests/s, offered {:.0}; clients wait {} ms and try {} times",
            LOAD * highest,
            patience.as_millis(),
            RETRIES + 1
        ),
    );
    Ok(finding)
}

/// Highest throughput, and p95 at the load of the trials.
fn calibrate(session: &mut Session<'_>) -> Result<(f64, Duration), SessionError> {
    shorter(session, 0.5, |session| {
        let most = ladder(session, "C10", &[quiet("highest", "patient", "closed", closed(TARGET, 4))])?;
        let highest = most.first().map_or(0.0, crate::experiment::Block::throughput);
        if highest <= 0.0 {
            return Err(SessionError::Other("the application answers nothing".to_owned()));
        }
        let load = Load::of(TARGET, Rate::Poisson(LOAD * highest));
        let usual = ladder(session, "C10", &[quiet("usual", "patient", "open", load)])?;
        let p95 = usual.first().map_or(f64::NAN, |block| block.quantile(0.95));
        if !p95.is_finite() {
            return Err(SessionError::Other(
                "the application fails at 0.7 of its highest throughput".to_owned(),
            ));
        }
        Ok((highest, Duration::from_secs_f64(p95)))
    })
}

/// One trial: the clients on this thread, the stop on another.
fn trial(session: &mut Session<'_>, variant: Variant, clients: Clients) -> Result<Trial, SessionError> {
    let (direct, pids) = if variant == Variant::Direct {
        let server = Direct::start(&session.directory().join("apps"), Model::Sync(1), None)
            .map_err(SessionError::io("start the direct server"))?;
        (Some(server), Vec::new())
    } else {
        (None, session.host()?.workers(HostPlan::app(&clients.authority))?)
    };
    let address = match &direct {
        Some(server) => server.address(),
        None => session.host()?.address(),
    };
    let signal = |signal: Signal| match &direct {
        Some(server) => server.signal(signal),
        None => pids.iter().for_each(|&pid| {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, signal);
            }
        }),
    };
    let interrupt = session.options.interrupt.clone();
    let interrupted = || interrupt.load(std::sync::atomic::Ordering::Relaxed);
    let counts = thread::scope(|scope| {
        scope.spawn(|| {
            sleep(Duration::from_secs(STOPPED_AT as u64));
            signal(Signal::STOP);
            sleep(STOP);
            signal(Signal::CONT);
        });
        Clients { address, ..clients }.run(&interrupted)
    });
    session.check()?;
    Ok(Trial {
        variant,
        stopped_at: STOPPED_AT,
        counted_from: COUNTED_FROM,
        due: counts.due,
        good: counts.good,
        attempts: counts.attempts,
    })
}
