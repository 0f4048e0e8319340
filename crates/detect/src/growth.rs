//! How the memory of one worker grows, on the number of its requests: what is behind M30, M31 and the growth that M10 and M20
//! tell.
//!
//! Memory goes up and down for many reasons, and most are no leak. So growth is a leak only if all of these hold:
//!
//! - **It lasts**: over the last half of the requests, the floor (the least of each of eight parts) rises in every part. A saw
//!   tooth of the garbage collector, a step (a new peak of requests at a time, a library that was loaded) and noise do not do that.
//! - **It does not slow down**: the last third rises at least 0.75 times as fast as the first. What warms up does not do that.
//! - **It matters**: at least 16 MiB and 0.3 of what there was, in the last half. One tooth of a saw is a straight line too; the
//!   collector of CPython begins when there is a quarter more than before.
//! - **It comes with requests**: where nothing was asked of it, nothing grew. Before it was idle for two seconds in all, there
//!   is no telling.
//! - **Load is the same**: memory for each request under way is no leak, so these must not have become more.
//!
//! Whether it is for every request or for every input that was not seen before (a cache without a bound) follows from a
//! contrast: intervals with few new inputs beside others with many. Without a contrast nothing is said.

use std::time::Duration;

use lab::statistics::trend::theil_sen;

/// Points that are kept; when there are more, every second one is forgotten.
const POINTS: usize = 64;
/// Parts that the points are divided into. For a judgement there are so many points in each on average.
const PARTS: usize = 8;
const LEAST: usize = 2;
/// A regression is made after so many new points.
const EVERY: usize = 4;

/// Each of the last parts must rise by so much of what they rise by on average.
const EVEN: f64 = 0.3;
/// The last third against the first.
const STRAIGHT: f64 = 0.75;
/// Bytes, and part of the floor before.
const MATERIAL: f64 = 16.0 * 1024.0 * 1024.0;
const PART: f64 = 0.3;
/// The same for a figure that is told beside another cause.
const TOLD: f64 = 4.0 * 1024.0 * 1024.0;
/// A cache is filled until its bound is reached, if it has one: so much more is asked for.
const CACHE: f64 = 1.5;
/// Requests in the last half.
const REQUESTS: f64 = 50.0;
/// Without a request, so that it can be told what grows by itself; and how much of all growth that may be, with what noise
/// can hide while it is idle.
const IDLE: Duration = Duration::from_secs(2);
const BY_ITSELF: f64 = 0.3;
const NOISE: f64 = 512.0 * 1024.0;
/// Requests under way at the end of the last half, against its beginning.
const MORE_LOAD: f64 = 1.5;

/// Of a worker at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Footprint {
    /// Bytes that belong to no file.
    pub memory: u64,
    /// Requests it was given, and different inputs among them (`None`: too many to count). Since whenever.
    pub requests: u64,
    pub inputs: Option<u64>,
    /// Requests of its application that are under way.
    pub in_flight: u64,
}

/// What was found, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Growth {
    PerRequest { bytes: f64, requests: f64 },
    PerInput { bytes: f64, requests: f64 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Point {
    requests: f64,
    inputs: f64,
    memory: f64,
    in_flight: f64,
}

/// One worker's memory over its requests.
#[derive(Debug, Default)]
pub(crate) struct Series {
    points: Vec<Point>,
    /// Looks that make a point, and those since the last one.
    stride: u32,
    looks: u32,
    fresh: usize,
    last: Option<(Duration, Footprint)>,
    /// Time with and without requests, and what it grew by without.
    busy: Duration,
    idle: Duration,
    idle_growth: f64,
    /// The latest interval without requests.
    pending: Option<(Duration, f64)>,
    /// More inputs than can be counted.
    uncounted: bool,
    per_request: Option<f64>,
    /// What the regression before said.
    suspected: Option<Cause>,
}

impl Series {
    /// One more look; `Some` when it has become clear that it grows. Again and again while it does.
    pub(crate) fn look(&mut self, at: Duration, now: Footprint) -> Option<Growth> {
        let Some((then, before)) = self.last.replace((at, now)) else {
            self.add(now);
            return None;
        };
        let passed = at.saturating_sub(then);
        let pending = self.pending.take();
        if now.requests == before.requests && now.in_flight == 0 && before.in_flight == 0 {
            // Memory is read a little later than requests: the last look before one comes may have its memory already.
            if let Some((passed, growth)) = pending {
                self.idle += passed;
                self.idle_growth += growth;
            }
            self.pending = Some((passed, now.memory as f64 - before.memory as f64));
            return None;
        }
        self.busy += passed;
        self.uncounted |= now.inputs.is_none();
        self.looks += 1;
        if self.looks < self.stride.max(1) || now.requests == before.requests {
            return None;
        }
        self.add(now);
        if self.fresh < EVERY || self.points.len() < PARTS {
            return None;
        }
        self.fresh = 0;
        let by_request = axis(&self.points, |point| point.requests);
        self.per_request = rising(&by_request, TOLD, 0.0).and_then(slope).filter(|_| !self.grows_by_itself());
        let growth = self.judge();
        let cause = growth.map(|(cause, _)| cause);
        // Noise can look like anything, once.
        let again = std::mem::replace(&mut self.suspected, cause) == cause;
        growth.filter(|_| again).map(|(_, growth)| growth)
    }

    /// Bytes for each request, as far as a regression shows it: not enough to accuse anybody.
    #[must_use]
    pub(crate) fn per_request(&self) -> Option<f64> {
        self.per_request
    }

    fn add(&mut self, now: Footprint) {
        self.looks = 0;
        self.fresh += 1;
        if self.points.len() == POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.stride = self.stride.max(1) * 2;
        }
        self.points.push(Point {
            requests: now.requests as f64,
            inputs: now.inputs.unwrap_or(0) as f64,
            memory: now.memory as f64,
            in_flight: now.in_flight as f64,
        });
    }

    /// It grows as fast when nothing is asked of it, or there is no telling.
    fn grows_by_itself(&self) -> bool {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return true };
        let by_itself = (self.idle_growth + NOISE) / self.idle.as_secs_f64() * self.busy.as_secs_f64();
        self.idle < IDLE || by_itself > BY_ITSELF * (last.memory - first.memory)
    }

    fn judge(&self) -> Option<(Cause, Growth)> {
        let few = self.points.len() < PARTS * LEAST;
        if few || self.grows_by_itself() || has_more_load(&self.points) {
            return None;
        }
        let requests = self.points.last()?.requests - self.points.first()?.requests;
        let cause = contrast(&self.points).filter(|_| !self.uncounted)?;
        let growth = match cause {
            Cause::Requests => {
                let bytes = slope(rising(&axis(&self.points, |it| it.requests), MATERIAL, PART)?)?;
                Growth::PerRequest { bytes, requests }
            }
            Cause::Inputs => {
                let points = axis(&self.points, |it| it.inputs);
                let bytes = slope(rising(&points, CACHE * MATERIAL, CACHE * PART)?)?;
                Growth::PerInput { bytes, requests }
            }
        };
        Some((cause, growth))
    }
}

/// Memory over something that only grows; where that stands still, the least of it.
fn axis(points: &[Point], of: fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let mut found: Vec<(f64, f64)> = Vec::new();
    for point in points {
        match found.last_mut().filter(|last| last.0 >= of(point)) {
            Some(last) => last.1 = last.1.min(point.memory),
            None => found.push((of(point), point.memory)),
        }
    }
    found
}

/// The last half, if its floor rises all the time and does not slow down.
fn rising(points: &[(f64, f64)], material: f64, part: f64) -> Option<&[(f64, f64)]> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let mut floors = [f64::INFINITY; PARTS];
    for (x, memory) in points {
        let index = ((x - first) / (last - first) * PARTS as f64) as usize;
        let floor = &mut floors[index.min(PARTS - 1)];
        *floor = floor.min(*memory);
    }
    if floors.iter().any(|floor| floor.is_infinite()) || last - first < 2.0 * REQUESTS {
        return None;
    }
    let middle = PARTS / 2 - 1;
    let grown = floors[PARTS - 1] - floors[middle];
    let mean = grown / (PARTS - 1 - middle) as f64;
    let lasts = floors[middle..].windows(2).all(|pair| pair[1] - pair[0] >= EVEN * mean);
    let straight = floors[PARTS - 1] - floors[PARTS - 3] >= STRAIGHT * (floors[2] - floors[0]);
    let half = points.partition_point(|(x, _)| *x < first + (last - first) / 2.0);
    (lasts && straight && grown >= material.max(part * floors[middle])).then(|| &points[half..])
}

/// With an interval that leaves no doubt.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let trend = theil_sen(points, 0.95).ok()?;
    (trend.slope > 0.0 && trend.interval.low > trend.slope / 2.0).then_some(trend.slope)
}

fn has_more_load(points: &[Point]) -> bool {
    let half = &points[points.len() / 2..];
    let quarter = (half.len() / 4).max(1);
    let mean = |points: &[Point]| points.iter().map(|it| it.in_flight).sum::<f64>() / points.len() as f64;
    mean(&half[half.len() - quarter..]) > MORE_LOAD * mean(&half[..quarter]) + 1.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Requests,
    Inputs,
}

/// Whether it grows with requests or with new inputs: from the half of the intervals that has the fewest new inputs for its
/// requests, beside the other half.
fn contrast(points: &[Point]) -> Option<Cause> {
    /// New inputs in one half are at most so many of those in the other, for the same number of requests.
    const CONTRAST: f64 = 0.5;
    /// How far from the middle between both explanations.
    const CLEAR: f64 = 0.15;
    let mut intervals: Vec<[f64; 3]> = points
        .windows(2)
        .map(|pair| {
            let (a, b) = (pair[0], pair[1]);
            [b.requests - a.requests, b.inputs - a.inputs, b.memory - a.memory]
        })
        .filter(|interval| interval[0] > 0.0)
        .collect();
    intervals.sort_by(|a, b| (a[1] / a[0]).total_cmp(&(b[1] / b[0])));
    let (few, many) = intervals.split_at(intervals.len() / 2);
    let sum = |intervals: &[[f64; 3]], index: usize| intervals.iter().map(|it| it[index]).sum::<f64>();
    let per_request = |intervals, index| sum(intervals, index) / sum(intervals, 0);
    if sum(few, 0) < REQUESTS || sum(many, 0) < REQUESTS {
        return None;
    }
    let new = (per_request(few, 1), per_request(many, 1));
    if new.1 <= 0.0 {
        return Some(Cause::Requests);
    }
    let (expected, found) = (new.0 / new.1, per_request(few, 2) / per_request(many, 2));
    if expected > CONTRAST || per_request(many, 2) <= 0.0 {
        return None;
    }
    let middle = f64::midpoint(1.0, expected);
    if found >= middle + CLEAR {
        Some(Cause::Requests)
    } else if found <= middle - CLEAR {
        Some(Cause::Inputs)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
