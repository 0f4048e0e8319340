//! Latency over time, in windows that are short against a block: what a block's quantiles hide.

use crate::document::{MAX_MOMENTS, Moment, known};
use crate::statistics::quantile::{interpolated, may_show};

/// Seconds. A block has four to ten of them.
const WINDOW: f64 = 0.5;

/// Requests from which there is a median to look at.
const SOME: usize = 5;

/// Windows of block `number`, which began `at_seconds`, by when its requests were planned: seconds from its start, ascending, each with its
/// latency in seconds, infinite if it failed. No more than there is room for beside those that are `kept` already.
pub(super) fn moments(
    (number, at_seconds): (u16, f64),
    requests: impl Iterator<Item = (f64, f64)>,
    kept: usize,
) -> Vec<Moment> {
    let requests: Vec<(f64, f64)> = requests.collect();
    let window = |request: &(f64, f64)| (request.0 / WINDOW).floor();
    let windows = requests.chunk_by(|one, next| window(one).total_cmp(&window(next)).is_eq());
    let moment = |requests: &[(f64, f64)]| {
        let mut sorted: Vec<f64> = requests.iter().map(|(_, latency)| *latency).collect();
        sorted.sort_by(f64::total_cmp);
        let quantile = |q: f64, enough: bool| known(interpolated(&sorted, q) * 1e3).filter(|_| enough);
        Moment {
            block: u32::from(number),
            at_seconds: at_seconds + (window(&requests[0]) + 0.5) * WINDOW,
            requests: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
            failed: u32::try_from(sorted.iter().filter(|latency| latency.is_infinite()).count())
                .unwrap_or(u32::MAX),
            p50_ms: quantile(0.5, sorted.len() >= SOME),
            p95_ms: quantile(0.95, may_show(sorted.len() as f64, 0.95)),
            max_ms: sorted.last().and_then(|latency| known(latency * 1e3)),
        }
    };
    windows.take(MAX_MOMENTS.saturating_sub(kept)).map(moment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_has_its_own_quantiles() {
        let mut requests: Vec<(f64, f64)> = (0..100).map(|n| (0.3 + f64::from(n) * 0.002, 0.010)).collect();
        requests.extend((0..100).map(|n| (0.5 + f64::from(n) * 0.002, 0.050)));
        let found = moments((3, 10.0), requests.into_iter(), 0);
        let told: Vec<_> = found.iter().map(|it| (it.block, it.at_seconds, it.requests, it.p50_ms)).collect();
        assert_eq!(told, [(3, 10.25, 100, Some(10.0)), (3, 10.75, 100, Some(50.0))]);
    }

    #[test]
    fn a_failure_is_slower_than_any_answer_and_room_is_bounded() {
        let requests = [(0.1, 0.010), (0.2, f64::INFINITY), (0.6, 0.010)];
        let found = moments((3, 10.0), requests.into_iter(), MAX_MOMENTS - 1);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].requests, found[0].failed, found[0].max_ms), (2, 1, None));
    }
}
