//! Whether memory grows with the number of requests, on the worker that answers: regression on the count, not on time (lab.md 3.6).

use std::time::Duration;

use super::{CompareError, Depth, Known, SUBJECT, Wishes, load};
use crate::document::{Growth, MemoryGrowth, bounds, known};
use crate::experiment::{Arm, Condition, Noise, Purpose, Rate, Session};
use crate::statistics::trend::{Trend, theil_sen};

/// Points of the regression.
const POINTS: usize = 12;
/// Growth below this is what an allocator does, bytes per request.
const LEAST: f64 = 256.0;
/// The last third grows less than this share of the first: it is warming up.
const CONCAVE: f64 = 0.3;

pub(super) fn measure(
    session: &mut Session<'_>,
    wishes: &Wishes,
    found: &mut Known,
) -> Result<(), CompareError> {
    let block = Duration::from_millis(match wishes.depth {
        Depth::Quick => 250,
        Depth::Normal => 800,
        Depth::Thorough => 1_500,
    });
    let effort = session.options.effort.with_blocks(block, Duration::ZERO);
    let points = session.with_effort(effort, |session| points(session, found))?;
    if points.len() == POINTS {
        session.document.memory.push(judge(points));
    }
    Ok(())
}

fn points(session: &mut Session<'_>, found: &mut Known) -> Result<Vec<(f64, f64)>, CompareError> {
    let condition = Condition {
        name: "four at a time".to_owned(),
        app: SUBJECT.to_owned(),
        arm: Arm::FairShare,
        noise: Noise::quiet(),
        load: load(&found.survey, Rate::Closed(4)),
    };
    let (mut points, mut count) = (Vec::new(), 0.0);
    for index in 0..POINTS {
        session.progress.step(index, POINTS, "memory against requests");
        let block = session.block(&condition, index as u64, &Purpose::series("memory"))?;
        count += block.answered as f64;
        let bytes = session.host()?.app(SUBJECT)?.workers.first().and_then(|worker| worker.memory_bytes);
        points.extend(bytes.map(|bytes| (count, bytes as f64)));
        found.worker_bytes = bytes.or(found.worker_bytes);
    }
    Ok(points)
}

fn judge(points: Vec<(f64, f64)>) -> MemoryGrowth {
    let third = points.len() / 3;
    let slope = |points: &[(f64, f64)]| theil_sen(points, 0.95).ok();
    let all = slope(&points);
    let (first, last) = (slope(&points[..third + 1]), slope(&points[points.len() - third - 1..]));
    let growth = classify(all, first, last);
    let sentence = match (growth, all) {
        (Growth::Leak, Some(trend)) => {
            format!("the same pages again and again take {:.0} bytes more for each request", trend.slope)
        }
        (Growth::Warming, _) => "memory grew at first and then hardly any more: caches that fill".to_owned(),
        _ => "memory does not grow with the number of requests".to_owned(),
    };
    MemoryGrowth {
        arm: "four at a time".to_owned(),
        against: "requests served".to_owned(),
        points,
        slope: all.and_then(|trend| known(trend.slope)),
        slope_ci: all.map(|trend| bounds(trend.interval)).unwrap_or_default(),
        intercept: all.and_then(|trend| known(trend.intercept)),
        growth,
        limit_bytes: None,
        sentence: Some(sentence),
    }
}

fn classify(all: Option<Trend>, first: Option<Trend>, last: Option<Trend>) -> Growth {
    let Some(all) = all else { return Growth::Unknown };
    if all.interval.low <= 0.0 || all.slope < LEAST {
        return Growth::Flat;
    }
    match (first, last) {
        (Some(first), Some(last)) if last.slope < CONCAVE * first.slope => Growth::Warming,
        (_, Some(last)) if last.slope >= LEAST => Growth::Leak,
        _ => Growth::Warming,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(bytes: impl Fn(f64) -> f64) -> Growth {
        judge((0..POINTS).map(|i| (i as f64 * 100.0, bytes(i as f64 * 100.0))).collect()).growth
    }

    #[test]
    fn growth_is_told_from_warming_and_noise() {
        assert_eq!(growth(|n| 3e7 + 4_096.0 * n), Growth::Leak);
        assert_eq!(growth(|n| 3e7 + 5e6 * (1.0 - (-n / 100.0).exp())), Growth::Warming);
        assert_eq!(growth(|_| 3e7), Growth::Flat);
        assert_eq!(growth(|n| 3e7 + 4_096.0 * (n / 100.0 % 2.0)), Growth::Flat);
        assert_eq!(growth(|n| 3e7 + 100.0 * n), Growth::Flat);
    }
}
