//! Simulated workers: those that leak, and all the others.

use lab::Random;

use super::*;

const MIB: f64 = 1024.0 * 1024.0;

/// A worker as it is simulated: looks of half a second.
struct Worker {
    random: Random,
    series: Series,
    step: u64,
    requests: u64,
    inputs: u64,
    found: Vec<(u64, Growth)>,
}

impl Worker {
    fn new(seed: u64) -> Self {
        Worker::idle(seed, |_| 40.0 * MIB)
    }

    /// It has booted, and nothing is asked of it yet.
    fn idle(seed: u64, memory: impl Fn(f64) -> f64) -> Self {
        let (series, found) = (Series::default(), Vec::new());
        let mut worker = Worker { random: Random::new(seed), series, step: 0, requests: 0, inputs: 0, found };
        for step in 0..12 {
            worker.look(memory(f64::from(step)), 0);
        }
        worker
    }

    fn look(&mut self, memory: f64, in_flight: u64) {
        self.step += 1;
        // As the allocator has it: blocks of 256 KiB, and some noise.
        let noisy = memory + 0.3 * MIB * self.random.normal();
        let memory = (noisy / MIB * 4.0).ceil() * MIB / 4.0;
        let now = Footprint {
            memory: memory.max(0.0) as u64,
            requests: self.requests,
            inputs: Some(self.inputs),
            in_flight,
        };
        let at = Duration::from_millis(500 * self.step);
        self.found.extend(self.series.look(at, now).map(|growth| (self.step, growth)));
    }

    /// So many seconds; `memory` from requests, inputs and the time in looks.
    fn run(
        &mut self,
        seconds: u64,
        per_second: f64,
        new: f64,
        mut memory: impl FnMut(f64, f64, f64, &mut Random) -> f64,
    ) -> &mut Self {
        for _ in 0..2 * seconds {
            let mean = per_second / 2.0;
            let count = (mean + mean.sqrt() * self.random.normal()).max(0.0).round();
            self.requests += count as u64;
            self.inputs += (count * new).round() as u64;
            let (requests, inputs) = (self.requests as f64, self.inputs as f64);
            let bytes = memory(requests, inputs, self.step as f64, &mut self.random);
            self.look(bytes, u64::from(count > 0.0));
        }
        self
    }
}

fn base(_: f64, _: f64, _: f64, _: &mut Random) -> f64 {
    60.0 * MIB
}

#[test]
fn a_leak_is_found_and_measured() {
    for seed in 0..20 {
        let mut worker = Worker::new(seed);
        worker.run(60, 20.0, 0.0, |requests, _, _, _| 40.0 * MIB + 64.0 * 1024.0 * requests);
        let Some((step, Growth::PerRequest { bytes, requests })) = worker.found.first() else {
            panic!("{seed}: {:?}", worker.found)
        };
        assert!((bytes / 1024.0 / 64.0 - 1.0).abs() < 0.1, "{seed}: {bytes}");
        assert!(*requests >= 100.0 && *step < 120, "{seed}: after {step} looks");
        assert!(worker.found.iter().all(|(_, it)| matches!(it, Growth::PerRequest { .. })), "{seed}");
    }
}

#[test]
fn a_leak_is_found_whatever_is_asked_for() {
    // Some inputs are new, in some seconds more than in others.
    for seed in 0..20 {
        let mut worker = Worker::new(seed);
        let leaks = |requests: f64, _: f64, _: f64, _: &mut Random| 40.0 * MIB + 64.0 * 1024.0 * requests;
        for _ in 0..6 {
            worker.run(8, 20.0, 0.1, leaks).run(8, 20.0, 0.6, leaks);
        }
        let found: Vec<_> = worker.found.iter().map(|(_, growth)| growth).collect();
        assert!(
            !found.is_empty() && found.iter().all(|it| matches!(it, Growth::PerRequest { .. })),
            "{found:?}"
        );
    }
}

#[test]
fn an_unbounded_cache_is_told_from_a_leak() {
    for seed in 0..20 {
        let mut worker = Worker::new(seed);
        let cache = |_: f64, inputs: f64, _: f64, _: &mut Random| 40.0 * MIB + 128.0 * 1024.0 * inputs;
        for _ in 0..8 {
            worker.run(6, 20.0, 0.0, cache).run(6, 20.0, 1.0, cache);
        }
        let found: Vec<_> = worker.found.iter().map(|(_, growth)| *growth).collect();
        let Some(Growth::PerInput { bytes, .. }) = found.first() else { panic!("{seed}: {found:?}") };
        assert!((bytes / 1024.0 / 128.0 - 1.0).abs() < 0.2, "{seed}: {bytes}");
        assert!(found.iter().all(|it| matches!(it, Growth::PerInput { .. })), "{seed}: {found:?}");
    }
}

#[test]
fn without_a_contrast_nothing_is_said() {
    // Every request asks for something new: a leak or a cache, who knows.
    for seed in 0..20 {
        let mut worker = Worker::new(seed);
        worker.run(200, 20.0, 1.0, |requests, _, _, _| 40.0 * MIB + 64.0 * 1024.0 * requests);
        assert_eq!(worker.found, [], "{seed}");
        // How much is another question.
        assert!(worker.series.per_request().is_some_and(|bytes| (bytes / 65_536.0 - 1.0).abs() < 0.1));
    }
}

#[test]
fn what_is_no_leak_is_not_called_one() {
    type Memory = fn(f64, f64, f64, &mut Random) -> f64;
    let cases: [(&str, Memory); 8] = [
        ("noise", base),
        ("warm-up", |requests, _, _, _| 40.0 * MIB + 80.0 * MIB * (1.0 - (-requests / 1500.0).exp())),
        ("long warm-up", |requests, _, _, _| 40.0 * MIB + 60.0 * MIB * (1.0 - (-requests / 8000.0).exp())),
        ("saw tooth", |requests, _, _, _| 40.0 * MIB + 25.0 * MIB * (requests / 700.0).fract()),
        ("long saw tooth", |requests, _, _, _| 60.0 * MIB + 25.0 * MIB * (requests / 2100.0).fract()),
        ("a bounded cache", |requests, _, _, _| 40.0 * MIB + 14.0 * MIB * (requests / 3000.0).min(1.0)),
        ("steps", |requests, _, _, _| 40.0 * MIB + 12.0 * MIB * (requests / 3000.0).floor().min(3.0)),
        ("peaks", |_, _, _, random| 50.0 * MIB + if random.unit() < 0.2 { 60.0 * MIB } else { 0.0 }),
    ];
    for (name, memory) in cases {
        for seed in 0..10 {
            let mut worker = Worker::new(seed);
            for (seconds, per_second) in [(120, 20.0), (5, 0.0), (300, 40.0), (10, 0.0), (200, 5.0)] {
                worker.run(seconds, per_second, 0.05, memory);
            }
            assert_eq!(worker.found, [], "{name}, {seed}");
        }
    }
}

#[test]
fn what_grows_with_time_or_load_is_no_leak() {
    for seed in 0..10 {
        let mut worker = Worker::idle(seed, |step| 40.0 * MIB + 0.3 * MIB * step);
        let with_time = |_: f64, _: f64, step: f64, _: &mut Random| 40.0 * MIB + 0.3 * MIB * step;
        for _ in 0..20 {
            worker.run(10, 20.0, 0.0, with_time).run(2, 0.0, 0.0, with_time);
        }
        assert_eq!(worker.found, [], "with time, {seed}");
        let mut worker = Worker::new(seed);
        for step in 0..400_u64 {
            worker.requests += 5 + step / 20;
            let in_flight = 1 + step / 4;
            worker.look(40.0 * MIB + 0.5 * MIB * in_flight as f64, in_flight);
        }
        assert_eq!(worker.found, [], "with load, {seed}");
    }
}

#[test]
fn figures_that_are_not_of_the_same_moment_do_not_hide_a_leak() {
    let mut worker = Worker::new(3);
    let mut memory = 40.0 * MIB;
    for step in 0..120_u64 {
        // Busy for a second, then not for a second and a half; the memory of the next requests comes before they are counted.
        let (busy, next) = (step % 5 < 2, (step + 1) % 5 < 2);
        worker.requests += if busy { 10 } else { 0 };
        memory += if next { 1.5 * MIB } else { 0.0 };
        worker.look(memory, 0);
    }
    assert!(matches!(worker.found.first(), Some((_, Growth::PerRequest { .. }))), "{:?}", worker.found);
}
