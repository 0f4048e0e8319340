//! An hour of a host where nothing is wrong, at the speed of this machine: no detector may say anything.

use lab::Random;

use super::*;
use crate::{PERIOD, Way};

const MIB: u64 = 1 << 20;

/// One application of the host, with its counters.
struct App {
    watcher: Watcher,
    reading: Reading,
    /// Requests per second on average, and CPU milliseconds for each.
    load: f64,
    cpu_ms: f64,
    warm: f64,
}

fn app(name: &str, load: f64, cpu_ms: f64) -> App {
    let workers = (1..3)
        .map(|id| Worker {
            reference: WorkerRef { id, pid: Some(100 + id as u32) },
            footprint: Some(Footprint { memory: 45 * MIB, inputs: Some(0), ..Footprint::default() }),
            files: Some(OpenFiles { open: 20, limit: 1024 }),
        })
        .collect();
    let way = |limit| Some(Way { limit, ..Way::default() });
    let reading = Reading {
        quota: Some((Quota::default(), 1.0)),
        demand: Some(Demand { cores: 2.0, waited_us: vec![(1, 0), (2, 0)], ..Demand::default() }),
        memory: Some(Memory { used: 110 * MIB, limit: 256 * MIB }),
        processes: Some(Processes { current: 9, peak: None, limit: 256, refused: 0 }),
        volume: Some(Room { size: 1024 * MIB, free: 500 * MIB, files_left: true }),
        disk: Some(Transfer { ways: [None, way(20 * MIB)], ..Transfer::default() }),
        bandwidth: Some(Transfer { ways: [way(MIB), way(4 * MIB)], ..Transfer::default() }),
        workers,
        ..Reading::default()
    };
    App { watcher: Watcher::new(name.to_owned()), reading, load, cpu_ms, warm: 0.0 }
}

/// The least that these two have in common: a poor man's Poisson.
fn count(random: &mut Random, mean: f64) -> u64 {
    (mean + mean.sqrt() * random.normal()).max(0.0).round() as u64
}

impl App {
    /// Half a second passes. `hour`: how much of it is over.
    fn live(&mut self, random: &mut Random, hour: f64) -> u64 {
        // Waves over the hour, quiet minutes, bursts.
        let wave = 1.0 + 0.6 * (hour * 20.0).sin();
        let burst = if random.unit() < 0.01 { 4.0 } else { 1.0 };
        let quiet = if (hour * 60.0).fract() < 0.1 { 0.0 } else { 1.0 };
        let requests = count(random, self.load * wave * burst * quiet * PERIOD.as_secs_f64());
        let now = &mut self.reading;
        now.requests += requests;
        now.in_flight = if requests > 0 { random.below(3) as u64 } else { 0 };
        let cpu_us = ((requests as f64 * self.cpu_ms * 1e3) as u64).min(900_000);
        self.warm += requests as f64;
        if let Some((quota, _)) = &mut now.quota {
            let periods = (cpu_us / 15_000).min(25);
            quota.usage_us += cpu_us;
            quota.periods += periods;
            // A burst meets its quota now and then.
            if burst > 1.0 {
                quota.throttled += periods / 4;
                quota.throttled_us += periods * 3_000;
            }
        }
        if let Some(demand) = &mut now.demand {
            demand.used_us += cpu_us;
            for (_, waited) in &mut demand.waited_us {
                *waited += (cpu_us as f64 * 0.15 * random.unit()) as u64;
            }
        }
        let processes = now.processes.get_or_insert_default();
        processes.current = 8 + random.below(4) as u64;
        let written = requests * 3_000 + if random.unit() < 0.02 { 8 * MIB } else { 0 };
        for (transfer, bytes) in [(&mut now.disk, written), (&mut now.bandwidth, requests * 9_000)] {
            let transfer = transfer.get_or_insert_default();
            for way in transfer.ways.iter_mut().flatten() {
                way.amount += bytes;
            }
            transfer.waited = transfer.waited.map(|waited| waited + Duration::from_millis(bytes / 100_000));
        }
        let (load, warm) = (now.in_flight, self.warm);
        for worker in &mut now.workers {
            let Some(footprint) = &mut worker.footprint else { continue };
            footprint.requests += requests / 2;
            let inputs = footprint.inputs.get_or_insert(0);
            *inputs += count(random, requests as f64 / 10.0);
            footprint.in_flight = load;
            // Warms up, is collected, and needs something for each request that is under way.
            let warming = 30.0 * (1.0 - (-warm / 4000.0).exp());
            let tooth = 12.0 * (warm / 900.0).fract();
            footprint.memory =
                45 * MIB + ((warming + tooth + random.unit()) * MIB as f64) as u64 + load * MIB / 4;
            worker.files = Some(OpenFiles { open: 20 + 3 * load, limit: 1024 });
        }
        cpu_us
    }
}

#[test]
fn an_hour_without_trouble_is_an_hour_without_incidents() {
    for seed in 0..5 {
        let mut random = Random::new(seed);
        let mut apps = [
            app("shop", 20.0, 8.0),
            app("blog", 3.0, 20.0),
            app("batch", 0.5, 150.0),
            app("quiet", 0.05, 5.0),
        ];
        let looks = 3600 * 2;
        let mut busy = 0;
        for step in 0..looks {
            let at = PERIOD * step;
            let hour = f64::from(step) / f64::from(looks);
            // Somebody outside needs a little too.
            busy += apps.iter_mut().map(|app| app.live(&mut random, hour)).sum::<u64>() + 30_000;
            let used: Vec<(String, u64)> = apps
                .iter()
                .map(|app| {
                    (app.watcher.app.clone(), app.reading.quota.map_or(0, |(quota, _)| quota.usage_us))
                })
                .collect();
            for app in &mut apps {
                if let Some(demand) = &mut app.reading.demand {
                    demand.busy_us = busy;
                    demand.neighbours =
                        used.iter().filter(|(name, _)| *name != app.watcher.app).cloned().collect();
                }
                let found = app.watcher.look(at, &app.reading);
                assert_eq!(found, [], "seed {seed}, after {} s", at.as_secs());
            }
        }
        assert!(apps[0].reading.requests > 50_000, "it was asked for something");
    }
}

/// The same application, with one thing wrong: or the test above proves nothing.
#[test]
fn trouble_in_that_hour_is_noticed() {
    type Spoil = fn(&mut Reading, u64);
    let faults: [(Code, Spoil); 8] = [
        (Code::C10, |it, step| {
            if let Some((quota, _)) = &mut it.quota {
                (quota.throttled, quota.throttled_us) = (step * 20, step * 200_000);
                quota.periods = step * 25;
            }
        }),
        (Code::C11, |it, step| {
            if let Some(demand) = &mut it.demand {
                demand.waited_us = vec![(1, step * 300_000)];
                demand.neighbours = vec![("hog".to_owned(), step * 800_000)];
                (demand.used_us, demand.busy_us) = (step * 100_000, step * 950_000);
            }
        }),
        (Code::M20, |it, _| it.memory = Some(Memory { used: 240 * MIB, limit: 256 * MIB })),
        (Code::M30, |it, _| {
            for footprint in it.workers.iter_mut().filter_map(|worker| worker.footprint.as_mut()) {
                footprint.memory += footprint.requests * 100_000;
            }
        }),
        (Code::P10, |it, step| {
            it.processes = Some(Processes { current: 256, peak: None, limit: 256, refused: step });
        }),
        (Code::P11, |it, _| {
            for worker in &mut it.workers {
                worker.files = Some(OpenFiles { open: 1024, limit: 1024 });
            }
        }),
        (Code::D20, |it, _| it.volume = Some(Room { size: 1024 * MIB, free: 0, files_left: true })),
        (Code::N30, |it, step| {
            let waited = Duration::from_millis(400 * step);
            let ways = [None, Some(Way { amount: step * 2 * MIB, limit: 4 * MIB, ..Way::default() })];
            it.bandwidth = Some(Transfer { ways, waited: [waited; 2] });
        }),
    ];
    for (code, spoil) in faults {
        let mut random = Random::new(1);
        let mut app = app("shop", 20.0, 8.0);
        let mut found = Vec::new();
        // A leak must be told from warming up, which takes its time.
        for step in 0..2400 {
            app.live(&mut random, f64::from(step) / 7200.0);
            let mut spoilt = app.reading.clone();
            spoil(&mut spoilt, u64::from(step) + 1);
            found.extend(app.watcher.look(PERIOD * step, &spoilt).into_iter().map(|it| it.code));
        }
        assert!(!found.is_empty() && found.iter().all(|it| *it == code), "{code}: {found:?}");
    }
}
