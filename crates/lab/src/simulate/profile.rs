//! What requests of an application need, as it was measured: per class of requests the share of the traffic and tuples of
//! processor time, waiting and durable writes. Made from the routes table of a running host or by a measurement, kept as JSON.

use serde::{Deserialize, Serialize};

use crate::Random;

/// Samples that a class may have; more would say nothing new and only leave the processor's cache.
pub const MAX_SAMPLES: usize = 4_096;
/// Classes that a profile may have.
pub const MAX_CLASSES: usize = 256;

/// What one request needed. Microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// On the processor.
    pub cpu_us: f32,
    /// Waiting for something that is not this machine's processor.
    pub wait_us: f32,
    /// Durable writes (fsync and the like); their time is the disk's and not in `wait_us`.
    #[serde(default)]
    pub fsyncs: u16,
}

/// One class of requests, usually a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: String,
    /// Of the traffic; only the ratio to the others' matters.
    pub share: f64,
    /// How often a request leaves the processor to wait. Its waiting is divided evenly among them.
    #[serde(default = "once")]
    pub waits: u16,
    pub samples: Vec<Sample>,
}

fn once() -> u16 {
    1
}

/// What a whole application needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub classes: Vec<Class>,
    /// Latency that no part of the simulation stands for (router, sockets), added to each answer. Microseconds.
    #[serde(default)]
    pub overhead_us: f64,
    /// Of one durable write; empty when there are none.
    #[serde(default)]
    pub fsync_us: Vec<f32>,
    /// Of one worker without requests.
    #[serde(default)]
    pub worker_bytes: u64,
    /// Of each request under way.
    #[serde(default)]
    pub request_bytes: u64,
    /// From the start of a worker to its first request. Milliseconds.
    #[serde(default)]
    pub cold_start_ms: f64,
}

/// What is wrong with a profile.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    #[error("the profile has no class of requests with a share of the traffic: there is nothing to simulate")]
    Empty,
    #[error("the profile has {0} classes of requests, at most {MAX_CLASSES} are supported")]
    TooMany(usize),
    #[error("class {class:?}: {what}")]
    Class { class: String, what: &'static str },
    #[error("{0} is not a finite number of 0 or more")]
    Figure(&'static str),
    #[error("there are durable writes in the samples but not one time of a write (fsync_us)")]
    NoDiskTimes,
}

impl Profile {
    /// A profile is usually read from a file.
    ///
    /// # Errors
    /// When it could not be simulated.
    pub fn check(&self) -> Result<(), ProfileError> {
        if self.classes.len() > MAX_CLASSES {
            return Err(ProfileError::TooMany(self.classes.len()));
        }
        let mut writes = false;
        for class in &self.classes {
            let fail = |what| Err(ProfileError::Class { class: class.name.clone(), what });
            if !(class.share >= 0.0 && class.share.is_finite()) {
                return fail("its share is not a finite number of 0 or more");
            }
            if class.samples.is_empty() {
                return fail("it has no samples");
            }
            if class.samples.len() > MAX_SAMPLES {
                return fail("it has more than 4,096 samples");
            }
            if class.waits > 1_000 {
                return fail("it waits more than 1,000 times per request");
            }
            let valid = |time: f32| time >= 0.0 && time.is_finite();
            if !class.samples.iter().all(|sample| valid(sample.cpu_us) && valid(sample.wait_us)) {
                return fail("a sample is not a finite time of 0 or more");
            }
            writes |= class.samples.iter().any(|sample| sample.fsyncs > 0);
        }
        if self.total_share() <= 0.0 {
            return Err(ProfileError::Empty);
        }
        for (name, value) in [("overhead_us", self.overhead_us), ("cold_start_ms", self.cold_start_ms)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(ProfileError::Figure(name));
            }
        }
        if !self.fsync_us.iter().all(|time| *time >= 0.0 && time.is_finite()) {
            return Err(ProfileError::Figure("fsync_us"));
        }
        if writes && self.fsync_us.is_empty() {
            return Err(ProfileError::NoDiskTimes);
        }
        Ok(())
    }

    fn total_share(&self) -> f64 {
        self.classes.iter().map(|class| class.share).sum()
    }

    /// A mean over the traffic of something of each sample.
    pub fn mean(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        let mean = |class: &Class| class.samples.iter().map(&of).sum::<f64>() / class.samples.len() as f64;
        self.classes.iter().map(|class| class.share * mean(class)).sum::<f64>() / self.total_share()
    }

    /// Mean processor time of a request, in seconds.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        self.mean(|sample| f64::from(sample.cpu_us)) / 1e6
    }

    /// Mean waiting of a request, durable writes included, in seconds.
    #[must_use]
    pub fn wait(&self) -> f64 {
        let write = match self.fsync_us.len() {
            0 => 0.0,
            n => self.fsync_us.iter().copied().map(f64::from).sum::<f64>() / n as f64,
        };
        self.mean(|sample| f64::from(sample.wait_us) + f64::from(sample.fsyncs) * write) / 1e6
    }

    /// Squared coefficient of variation of a request's time of service without any contention.
    #[must_use]
    pub fn variability(&self) -> f64 {
        let time = |sample: &Sample| f64::from(sample.cpu_us) + f64::from(sample.wait_us);
        let mean = self.mean(time);
        if mean > 0.0 {
            (self.mean(|sample| time(sample).powi(2)) / (mean * mean) - 1.0).max(0.0)
        } else {
            0.0
        }
    }
}

/// Draws requests from a profile without looking at more than one class.
#[derive(Debug)]
pub(super) struct Drawing<'a> {
    profile: &'a Profile,
    /// Cumulative shares.
    shares: Vec<f64>,
}

impl<'a> Drawing<'a> {
    pub(super) fn new(profile: &'a Profile) -> Self {
        let total = profile.total_share();
        let mut sum = 0.0;
        let shares = profile.classes.iter().map(|class| {
            sum += class.share / total;
            sum
        });
        Drawing { profile, shares: shares.collect() }
    }

    /// Numbers of a class and of one of its samples.
    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> (u16, u16) {
        let class = match self.shares.len() {
            1 => 0,
            n => {
                let at = random.unit();
                self.shares.iter().position(|share| at < *share).unwrap_or(n - 1)
            }
        };
        (class as u16, random.below(self.profile.classes[class].samples.len()) as u16)
    }

    #[inline]
    pub(super) fn look_up(&self, class: u16, sample: u16) -> (&'a Class, Sample) {
        let class = &self.profile.classes[usize::from(class)];
        (class, class.samples[usize::from(sample)])
    }

    /// Seconds of one durable write.
    pub(super) fn write(&self, random: &mut Random) -> f64 {
        match self.profile.fsync_us.len() {
            0 => 0.0,
            n => f64::from(self.profile.fsync_us[random.below(n)]) / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(share: f64, samples: &[(f32, f32)]) -> Class {
        let samples =
            samples.iter().map(|&(cpu_us, wait_us)| Sample { cpu_us, wait_us, fsyncs: 0 }).collect();
        Class { name: "GET /".into(), share, waits: 1, samples }
    }

    fn profile(classes: Vec<Class>) -> Profile {
        Profile {
            classes,
            overhead_us: 0.0,
            fsync_us: Vec::new(),
            worker_bytes: 0,
            request_bytes: 0,
            cold_start_ms: 0.0,
        }
    }

    #[test]
    fn means_are_weighted_by_traffic() {
        let profile =
            profile(vec![class(3.0, &[(1_000.0, 0.0), (3_000.0, 0.0)]), class(1.0, &[(2_000.0, 8_000.0)])]);
        assert_eq!(profile.check(), Ok(()));
        assert!((profile.cpu() - 0.002).abs() < 1e-12 && (profile.wait() - 0.002).abs() < 1e-12);
        // Times 1, 3 (three eighths each) and 10 ms: mean 4, mean square 28.75.
        assert!((profile.variability() - (28.75 / 16.0 - 1.0)).abs() < 1e-12);
        let (drawing, mut random) = (Drawing::new(&profile), Random::new(1));
        let heavy = (0..40_000).filter(|_| drawing.draw(&mut random).0 == 1).count();
        assert!(heavy.abs_diff(10_000) < 450, "a quarter within five standard errors: {heavy}");
    }

    #[test]
    fn what_cannot_be_simulated_is_refused() {
        assert_eq!(profile(vec![]).check(), Err(ProfileError::Empty));
        assert_eq!(profile(vec![class(0.0, &[(1.0, 1.0)])]).check(), Err(ProfileError::Empty));
        assert!(profile(vec![class(1.0, &[])]).check().is_err());
        assert!(profile(vec![class(f64::NAN, &[(1.0, 1.0)])]).check().is_err());
        assert!(profile(vec![class(1.0, &[(-1.0, 1.0)])]).check().is_err());
        let mut writing = profile(vec![class(1.0, &[(1.0, 1.0)])]);
        writing.classes[0].samples[0].fsyncs = 1;
        assert_eq!(writing.check(), Err(ProfileError::NoDiskTimes));
    }
}
