//! An application without traffic is given some, so that its host knows what its requests need.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{CompareError, SUBJECT, Subject, Wishes, describe, find_pages, load};
use crate::experiment::{Rate, Session};

/// Requests per second at the most, and the share of one core's time at the most: nothing is to wait for anything else.
const FASTEST: f64 = 20.0;
const SHARE: f64 = 0.3;
/// Requests of the visit, as long as they do not take longer than [`LONGEST`].
const REQUESTS: f64 = 120.0;
const SHORTEST: Duration = Duration::from_secs(8);
const LONGEST: Duration = Duration::from_secs(40);
/// Between two looks at whether to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// What a visit leaves: the session's host runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Visited {
    /// The host's state directory, with its control socket.
    pub state: PathBuf,
    /// The application's name there.
    pub app: &'static str,
    /// From the order to start one more worker until it served.
    pub cold_start: Duration,
    /// What was asked for, with shares.
    pub mix: Vec<(String, f64)>,
}

/// Host it in one worker, find pages, and ask for them at a low rate.
///
/// # Errors
/// The application does not start, has no page to ask for, or the session cannot go on.
pub fn visit(session: &mut Session<'_>, subject: &Subject, wishes: &Wishes) -> Result<Visited, CompareError> {
    session.progress.part("which pages can be asked for");
    let survey = find_pages(session, subject, wishes, &mut false)?;
    describe(session, &survey);
    session.progress.part("how soon a worker starts");
    let starting = Instant::now();
    session.host()?.scale(SUBJECT, 2)?;
    let cold_start = starting.elapsed();
    session.host()?.scale(SUBJECT, 1)?;
    session.progress.part("what pages spend their time with");
    let weights: f64 = survey.targets.iter().map(|target| target.weight).sum();
    let busy = |target: &super::survey::Target| target.weight * target.elapsed.as_secs_f64();
    let mean = survey.targets.iter().map(busy).sum::<f64>() / weights;
    let (rate, length) = pace(mean);
    let seed = session.options.seed;
    let visiting = session.background(SUBJECT, &load(&survey, Rate::Poisson(rate)), length, seed)?;
    let begun = Instant::now();
    while begun.elapsed() < length && session.check().is_ok() {
        sleep(GLANCE);
    }
    visiting.stop()?;
    session.check()?;
    let state = session.host()?.directory().join("state");
    Ok(Visited { state, app: SUBJECT, cold_start, mix: session.document.method.mix.clone() })
}

/// Requests per second, and for how long, where one takes so many seconds.
fn pace(mean: f64) -> (f64, Duration) {
    let rate = (SHARE / mean.max(1e-6)).min(FASTEST);
    (rate, Duration::from_secs_f64(REQUESTS / rate).clamp(SHORTEST, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_pages_are_asked_for_less_often_and_not_for_ever() {
        assert_eq!(pace(0.001), (20.0, SHORTEST));
        assert_eq!(pace(0.06), (5.0, Duration::from_secs(24)));
        assert_eq!(pace(0.9).1, LONGEST);
    }
}
