//! What several tenants need at the same time: processor time in short bins, and the most memory.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::SessionError;
use super::block::Noise;
use super::gate::{self, Fault, Seen};
use super::sample::{Places, between};
use super::session::Session;

/// One bin.
pub const BIN: Duration = Duration::from_millis(100);

/// One tenant's need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    pub app: String,
    /// Cores, for each bin.
    pub cores: Vec<f64>,
    pub memory_bytes: u64,
}

impl Session<'_> {
    /// Watch tenants while they have visitors (the parts of a noise). Also why it does not count, if it does not.
    ///
    /// # Errors
    /// A tenant is not there, or there are no counters of its use.
    pub fn demand(
        &mut self,
        visitors: &Noise,
        apps: &[String],
        length: Duration,
        seed: u64,
    ) -> Result<(Vec<Demand>, Vec<Fault>), SessionError> {
        self.check()?;
        let groups = self.groups.clone();
        let mut watched: Vec<(Demand, Places, u64)> = Vec::new();
        for app in apps {
            let places = self.stage()?.places(app, &groups)?;
            let used = places.used_now().ok_or_else(|| {
                SessionError::Missing("the processor time of a group of processes is not counted".to_owned())
            })?;
            watched.push((Demand { app: app.clone(), ..Demand::default() }, places, used));
        }
        let working = self.start_noise(visitors, length, seed)?;
        let machine = watched.first().map(|(_, places, _)| places.clone()).unwrap_or_default();
        let first = machine.read();
        let start = Instant::now();
        let mut before = start;
        while start.elapsed() < length && self.check().is_ok() {
            sleep(BIN.saturating_sub(before.elapsed()));
            let elapsed = before.elapsed().as_secs_f64();
            before = Instant::now();
            for (demand, places, last) in &mut watched {
                let now = places.used_now().unwrap_or(*last);
                demand.cores.push(now.saturating_sub(*last) as f64 / 1e6 / elapsed.max(1e-6));
                *last = now;
                demand.memory_bytes = demand.memory_bytes.max(places.memory_now().unwrap_or(0));
            }
        }
        let usage = between(&first, &machine.read(), None);
        self.stop_noise(working)?;
        self.check()?;
        let seen =
            Seen { steal: usage.steal, foreign: usage.foreign_cores, in_place: true, ..Seen::default() };
        let faults = gate::faults(&seen, &gate::Limits::default());
        Ok((watched.into_iter().map(|(demand, _, _)| demand).collect(), faults))
    }
}
