//! Running one block.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::background::Background;
use super::block::{Answers, Block, Condition, Load, Noise, Part, Rate, TIMEOUT};
use super::gate::{self, Seen};
use super::record::Purpose;
use super::sample::{Places, Reading, between};
use super::session::Session;
use super::{Placement, SessionError};
use crate::host::HostPlan;
use crate::load::{self, Endpoint, Limits, LoadError, LoadPlan, RawRecords, StopRule, Summary, Watch};

/// A neighbour that is not told to stop ends by itself so long after the block.
const WATCHDOG: Duration = Duration::from_secs(5);
/// Between neighbours' start and the first request, so that they are in full swing.
const SETTLE: Duration = Duration::from_millis(100);
/// Between two looks at memory and at whether to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// Records that a block has room for without growing.
const RECORDS: usize = 100_000;
/// The generator's core.
const CORE: usize = 0;

/// Neighbours at work.
pub(super) struct Working {
    tenants: Vec<String>,
    others: Vec<Background>,
    /// Connections that are only held.
    _held: Vec<TcpStream>,
}

impl Session<'_> {
    /// Run one block. It is also in the document, with its faults if it has any.
    ///
    /// # Errors
    /// It could not be run; whether it may be used is in the block.
    pub fn block(
        &mut self,
        condition: &Condition,
        seed: u64,
        purpose: &Purpose,
    ) -> Result<Block, SessionError> {
        self.check()?;
        let fresh = self.enter(&condition.app, condition.arm)?;
        self.record_arm(condition)?;
        let effort = self.options.effort;
        if fresh && !effort.warm_up.is_zero() {
            let warm = Load { rate: Rate::Closed(1), ..condition.load.clone() };
            self.send(&condition.app, &warm, effort.warm_up, seed, None)?;
        }
        let (spin_ms, spin) = self.spin.once();
        let groups = self.groups.clone();
        let places = self.stage()?.places(&condition.app, &groups)?;
        let length = effort.discard + effort.block;
        let working = self.start_noise(&condition.noise, length, seed)?;
        let at_seconds = self.begun.elapsed().as_secs_f64();
        let sent = self.send(&condition.app, &condition.load, length, seed, Some(&places));
        let neighbours = self.stop_noise(working)?;
        let Sent { records, summary, before, after, memory } = sent?;
        let usage = between(&before, &after, memory);
        let answers = Answers::of(records.records(), effort.discard);
        let planned = answers.latencies.len().max(1) as f64;
        let in_place = self.stage()?.is_in_place();
        let seen = Seen {
            steal: usage.steal,
            spin,
            foreign: usage.foreign_cores,
            errors: (answers.failed + answers.dropped) as f64 / planned,
            generator: summary.cpu.as_secs_f64() / summary.elapsed.as_secs_f64().max(1e-9),
            lag_ms: answers.lag_ms,
            lag_allowed_ms: answers.lag_allowed_ms,
            in_place,
        };
        let block = Block {
            number: u16::try_from(self.document.blocks.len()).unwrap_or(u16::MAX),
            condition: condition.name.clone(),
            app: condition.app.clone(),
            arm: condition.arm,
            noise: condition.noise.name.clone(),
            pair: purpose.pair,
            at_seconds,
            seconds: effort.block.as_secs_f64(),
            latencies: answers.latencies,
            planned: answers.planned,
            classes: answers.classes,
            answered: answers.answered,
            failed: answers.failed,
            dropped: answers.dropped,
            usage,
            seen,
            neighbours,
            spin_ms,
            generator_realtime: summary.realtime,
            faults: gate::faults(&seen, &gate::Limits::default()),
        };
        self.record_block(&block, purpose, planned);
        self.record_placement(condition)?;
        self.check()?;
        Ok(block)
    }

    /// The same; and where it does not count, up to two more in its place. All are in the document.
    ///
    /// # Errors
    /// As [`Session::block`].
    pub fn sound_block(
        &mut self,
        condition: &Condition,
        seed: u64,
        purpose: &Purpose,
    ) -> Result<Block, SessionError> {
        let mut block = self.block(condition, seed, purpose)?;
        for _ in 0..2 {
            if block.is_valid() {
                break;
            }
            block = self.block(condition, seed, purpose)?;
        }
        Ok(block)
    }

    /// Load for so long; with places, counters from after what is discarded to the end.
    fn send(
        &mut self,
        app: &str,
        load: &Load,
        length: Duration,
        seed: u64,
        places: Option<&Places>,
    ) -> Result<Sent, SessionError> {
        let plan = plan(self.host()?.endpoint(), app, load, length, seed)?;
        let discard = self.options.effort.discard;
        let watch = Arc::new(Watch::default());
        let start = Instant::now();
        let generator = generate(plan, Arc::clone(&watch))?;
        let mut readings = Vec::new();
        let mut memory = None;
        while !generator.is_finished() && start.elapsed() < length {
            let due = if readings.is_empty() { discard } else { length };
            if let Some(places) = places {
                memory = memory.max(places.memory_now());
            }
            sleep(due.saturating_sub(start.elapsed()).min(GLANCE));
            if readings.is_empty() && start.elapsed() >= discard {
                readings.extend(places.map(Places::read));
            }
            if self.options.interrupt.load(Ordering::Relaxed) {
                watch.stop();
                break;
            }
        }
        let after = places.map(Places::read).unwrap_or_default();
        let result =
            generator.join().map_err(|_| SessionError::Other("the load generator panicked".to_owned()))?;
        let (records, summary) = result?;
        Ok(Sent { records, summary, before: readings.into_iter().next().unwrap_or_default(), after, memory })
    }

    pub(super) fn start_noise(
        &mut self,
        noise: &Noise,
        length: Duration,
        seed: u64,
    ) -> Result<Working, SessionError> {
        let endpoint = self.host()?.endpoint();
        let address = self.host()?.address();
        let (mut tenants, mut others, mut held) = (Vec::new(), Vec::new(), Vec::new());
        let mut send = |tenant: &str, rate: Rate, target: &str| {
            let load = Load::of(target, rate);
            others.push(Background::start(plan(
                endpoint.clone(),
                tenant,
                &load,
                length + SETTLE,
                seed ^ 1,
            )?)?);
            Ok::<(), SessionError>(())
        };
        for part in &noise.parts {
            match part {
                Part::Work { tenant, work, duty } => {
                    self.hub.start(tenant, *work, *duty, length + WATCHDOG)?;
                    tenants.push(tenant.clone());
                }
                Part::Bursts { tenant, target, rate } => send(tenant, Rate::Bursts(*rate), target)?,
                Part::Periodic { tenant, target, every_ms, at_once } => {
                    send(tenant, Rate::Periodic { every_ms: *every_ms, at_once: *at_once }, target)?;
                }
                Part::Connections { count, .. } => {
                    for _ in 0..*count {
                        let opened = TcpStream::connect_timeout(&address, TIMEOUT);
                        held.push(opened.map_err(SessionError::io("open connections to hold"))?);
                    }
                }
            }
        }
        if !noise.parts.is_empty() {
            sleep(SETTLE);
        }
        Ok(Working { tenants, others, _held: held })
    }

    pub(super) fn stop_noise(&mut self, working: Working) -> Result<Vec<(String, f64)>, SessionError> {
        let mut rates = Vec::new();
        for tenant in &working.tenants {
            rates.push((tenant.clone(), self.hub.stop(tenant)?.rate()));
        }
        for other in working.others {
            other.stop()?;
        }
        Ok(rates)
    }

    /// What neighbours get done when nobody else does anything: each part of a noise alone, for so long.
    ///
    /// # Errors
    /// A neighbour is not there.
    pub fn calibrate(&mut self, noise: &Noise, length: Duration) -> Result<Vec<(String, f64)>, SessionError> {
        let mut rates = Vec::new();
        for part in &noise.parts {
            if let Part::Work { tenant, work, duty } = part {
                self.check()?;
                self.hub.start(tenant, *work, *duty, length + WATCHDOG)?;
                sleep(length);
                rates.push((tenant.clone(), self.hub.stop(tenant)?.rate()));
            }
        }
        Ok(rates)
    }

    /// Where everything is at the moment.
    ///
    /// # Errors
    /// The host does not answer.
    pub fn placement(&mut self, app: &str) -> Result<Placement, SessionError> {
        let host = self.host()?;
        let status = host.status()?;
        let cores = |pid: u32| allowed(pid).unwrap_or_else(|| "unknown".to_owned());
        let of = |wanted: bool| {
            let mut lists: Vec<String> = status
                .apps
                .iter()
                .filter(|other| (other.name == app) == wanted)
                .flat_map(|other| other.workers.iter().filter_map(|worker| worker.pid))
                .map(cores)
                .collect();
            lists.sort_unstable();
            lists.dedup();
            lists.join(" and ")
        };
        Ok(Placement {
            generator: CORE.to_string(),
            host: cores(host.pid()),
            app: of(true),
            neighbours: of(false),
        })
    }
}

/// A generator that runs.
pub(super) type Generator = JoinHandle<Result<(RawRecords, Summary), LoadError>>;

/// What a generator came to.
struct Sent {
    records: RawRecords,
    summary: Summary,
    before: Reading,
    after: Reading,
    memory: Option<u64>,
}

pub(super) fn plan(
    endpoint: Endpoint,
    app: &str,
    load: &Load,
    length: Duration,
    seed: u64,
) -> Result<LoadPlan, SessionError> {
    Ok(LoadPlan {
        endpoint,
        mix: load.mix(&HostPlan::authority(app))?,
        pace: load.pace(),
        stop: StopRule { duration: length, requests: None },
        limits: Limits { outstanding: 512, pool: None, timeout: TIMEOUT },
        seed,
        realtime: true,
        arm: 0,
        block: 0,
    })
}

/// A generator on a thread of its own, on its core.
pub(super) fn generate(plan: LoadPlan, watch: Arc<Watch>) -> Result<Generator, SessionError> {
    let body = move || {
        let mut core = CpuSet::new();
        core.set(CORE);
        // Where it is not allowed, the placement says so.
        let _ = sched_setaffinity(None, &core);
        let mut records = RawRecords::with_capacity(RECORDS);
        load::run(&plan, &mut records, &watch).map(|summary| (records, summary))
    };
    thread::Builder::new()
        .name("load".into())
        .spawn(body)
        .map_err(SessionError::io("start the load generator"))
}

/// Cores that a process may run on.
fn allowed(pid: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}
