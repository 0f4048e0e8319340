//! Who used the processors since the machine started, and who waited for them: proc_stat(5), proc_pid_task(5) and control
//! groups.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use detect::Demand;

use crate::tenancy::{Entry, Token};

/// Threads of one process that are looked at.
const MOST_THREADS: usize = 256;

/// What everyone used, at one moment.
#[derive(Debug, Default)]
pub(super) struct Processors {
    /// Microseconds that each processor was busy.
    busy: HashMap<u32, u64>,
    /// Of each place: application, processors, microseconds used and held back by its own quota.
    places: HashMap<Token, Place>,
}

#[derive(Debug)]
struct Place {
    app: String,
    cores: BTreeSet<u32>,
    used_us: u64,
    throttled_us: u64,
}

impl Processors {
    pub(super) fn read(entries: &[(Token, Entry)]) -> Processors {
        let place = |(token, entry): &(Token, Entry)| {
            let cpu = entry.group.cpu()?;
            let (app, cores) = (entry.app.clone(), entry.group.cores().into_iter().collect());
            Some((*token, Place { app, cores, used_us: cpu.usage_us, throttled_us: cpu.throttled_us }))
        };
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        Processors { busy: busy(&text), places: entries.iter().filter_map(place).collect() }
    }

    /// What one application wanted of them. `None`: there is no telling.
    pub(super) fn demand(&self, token: Token, pids: impl Iterator<Item = u32>) -> Option<Demand> {
        let own = self.places.get(&token).filter(|place| !place.cores.is_empty())?;
        let busy = own.cores.iter().map(|core| self.busy.get(core).copied());
        let others = self.places.iter().filter(|(other, place)| {
            **other != token && place.app != own.app && !place.cores.is_disjoint(&own.cores)
        });
        Some(Demand {
            used_us: own.used_us,
            waited_us: pids.flat_map(waits).collect(),
            throttled_us: own.throttled_us,
            cores: own.cores.len() as f64,
            busy_us: busy.sum::<Option<u64>>()?,
            neighbours: others.map(|(_, place)| (place.app.clone(), place.used_us)).collect(),
        })
    }
}

/// By processor, microseconds spent on anything: all columns of `/proc/stat` but idle, iowait, and guests, which are in the
/// others already.
fn busy(text: &str) -> HashMap<u32, u64> {
    let tick = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let line = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let core = fields.next()?.parse().ok()?;
        let columns: Vec<u64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
        let idle = columns.get(3)? + columns.get(4)?;
        Some((core, columns.iter().sum::<u64>().saturating_sub(idle) * tick))
    };
    // The first line is all of them together and has no number.
    text.lines().filter(|line| !line.starts_with("cpu ")).map_while(line).collect()
}

/// By thread, microseconds that it was ready to run and did not (`schedstat`: run, waited, slices).
fn waits(pid: u32) -> Vec<(u64, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let wait = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let waited: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, waited / 1_000))
    };
    tasks.take(MOST_THREADS).filter_map(wait).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting_for_a_disk() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 10 2 3 900 50 1 1 4 7 7\ncpu12 1 0 0 5 0 0 0 0 0 0\nintr 1 2\ncpu9 x\n";
        let tick = 1_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(busy(text), HashMap::from([(0, 21 * tick), (12, tick)]));
        assert_eq!(busy("cpu 1\ncpux\n"), HashMap::new());
    }

    #[test]
    fn threads_of_this_process_have_waited() {
        let waits = waits(std::process::id());
        assert!(!waits.is_empty());
        assert_eq!(super::waits(5_000_000), [], "the largest pid is 2^22");
    }
}
