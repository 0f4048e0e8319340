//! From what was measured to the document.

use std::collections::BTreeMap;
use std::fs;

use super::block::{Block, Condition};
use super::session::Session;
use super::{Arm, SessionError, timeline};
use crate::document::{self, BlockKind, Latency, Mechanism, Pressure, known};
use crate::statistics::quantile::{interpolated, may_show};
use crate::statistics::verdict::expected_shortfall;

/// Quantiles that a block shows.
const SHOWN: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// What a block is run for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purpose {
    pub kind: BlockKind,
    pub pair: Option<u16>,
    /// Id of the answer that rests on it.
    pub question: String,
}

impl Purpose {
    /// One of a series that is no pair.
    #[must_use]
    pub fn series(question: &str) -> Self {
        Purpose { kind: BlockKind::Ladder, pair: None, question: question.to_owned() }
    }
}

impl Session<'_> {
    /// The arm as it is now, as the kernel says it, unless it is known.
    pub(super) fn record_arm(&mut self, condition: &Condition) -> Result<(), SessionError> {
        if self.document.arm(&condition.name).is_some() {
            return Ok(());
        }
        let Condition { name, app, arm, .. } = condition;
        let host = self.host()?;
        let status = host.app(app)?;
        let plan = host.plan().apps.get(app).cloned();
        let text = host.plan().text(host.directory());
        let pid = status.workers.first().and_then(|worker| worker.pid).unwrap_or(0);
        let limits = plan.iter().flat_map(|plan| &plan.limits);
        let cgroup = self.groups.telling(pid);
        self.document.arms.push(document::Arm {
            name: name.clone(),
            title: arm.title().to_owned(),
            tenancy: Some(status.tenancy.clone()),
            concurrency: Some(status.concurrency.clone()),
            workers: Some(status.target),
            threads: plan.as_ref().and_then(|plan| plan.keys.get("threads")?.as_u64()?.try_into().ok()),
            limits: limits.map(|(key, value)| (key.clone(), value.to_string())).collect(),
            cgroup,
            reserved_cores: (*arm == Arm::Pinned).then_some(1.0),
            config: Some(text),
            ..document::Arm::default()
        });
        Ok(())
    }

    pub(super) fn record_block(&mut self, block: &Block, purpose: &Purpose, app_answered: f64) {
        let sorted = block.sorted(None);
        let shown = SHOWN.iter().filter(|(_, q)| may_show(sorted.len() as f64, *q));
        let mut latency_ms: BTreeMap<String, Latency> = shown
            .filter_map(|(name, q)| {
                Some(((*name).to_owned(), Latency::new(interpolated(&sorted, *q) * 1e3)?))
            })
            .collect();
        if may_show(sorted.len() as f64, 0.95) {
            let worst = Latency::new(expected_shortfall(&sorted, 0.05) * 1e3);
            latency_ms.extend(worst.map(|worst| ("es95".to_owned(), worst)));
        }
        let requests = block.planned.iter().copied().zip(block.latencies.iter().copied());
        let kept = self.document.timeline.len();
        let moments = timeline::moments((block.number, block.at_seconds), requests, kept);
        self.document.timeline.extend(moments);
        self.document.blocks.push(document::Block {
            index: u32::from(block.number),
            kind: purpose.kind,
            pair: purpose.pair.map(u32::from),
            arm: block.condition.clone(),
            phase: Some(block.noise.clone()),
            questions: vec![purpose.question.clone()],
            at_seconds: block.at_seconds,
            seconds: block.seconds,
            planned: sorted.len() as u64,
            answered: block.answered,
            failed: block.failed + block.dropped,
            dropped: block.dropped,
            failures: BTreeMap::new(),
            throughput: known(block.throughput()),
            latency_ms,
            lag_p99_ms: known(block.seen.lag_ms),
            generator_cpu: known(block.seen.generator),
            steal: known(block.usage.steal),
            pressure: Pressure {
                cpu: block.usage.pressure_cpu,
                memory: block.usage.pressure_memory,
                io: block.usage.pressure_io,
            },
            run_queue_ms: known(block.usage.run_queue_ms / app_answered),
            throttled: block.usage.throttled,
            neighbour_cores: None,
            memory_bytes: block.usage.memory_bytes,
            calibration: block.seen.spin,
            valid: block.is_valid(),
            invalid_because: block
                .faults
                .iter()
                .filter(|fault| fault.spoils())
                .map(super::Fault::sentence)
                .collect(),
        });
    }

    /// Where everything ran, once for each arm that is different.
    pub(super) fn record_placement(&mut self, condition: &Condition) -> Result<(), SessionError> {
        let mark = format!("{}:", condition.name);
        let method = &self.document.method;
        if method.placement.as_ref().is_some_and(|known| known.contains(&mark)) {
            return Ok(());
        }
        let place = self.placement(&condition.app)?;
        let sentence = format!(
            "{mark} load generator on core {}, host on {}, application on {}, others on {}",
            place.generator, place.host, place.app, place.neighbours
        );
        let known = self.document.method.placement.take();
        self.document.method.placement = Some(match known {
            Some(known) => format!("{known}; {sentence}"),
            None => sentence,
        });
        Ok(())
    }

    /// What can only be known at the end.
    pub(super) fn finish_document(&mut self) {
        let (median, spread) = self.spin.summary();
        let document = &mut self.document;
        document.seconds = Some(self.begun.elapsed().as_secs_f64());
        document.machine.calibration_ms = known(median);
        document.machine.calibration_spread = known(spread);
        let cpu: Vec<f64> = document.blocks.iter().filter_map(|block| block.generator_cpu).collect();
        document.method.generator_cpu = known(crate::statistics::verdict::range(&cpu).0);
    }

    /// The machine, and by what each arm is made here.
    pub(super) fn describe_machine(&mut self) {
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let bytes =
            |name: &str| Some(field(&memory, name)?.split_whitespace().next()?.parse::<u64>().ok()? * 1024);
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mechanism = |(what, controller): (&str, &str)| Mechanism {
            what: what.to_owned(),
            with: self.groups.version(controller).map(|version| format!("cgroup v{version}, {controller}")),
        };
        let mechanisms =
            [("fair shares and quota", "cpu"), ("cores", "cpuset"), ("memory", "memory")].map(mechanism);
        let cores = std::thread::available_parallelism().ok();
        let machine = &mut self.document.machine;
        machine.kernel = line("/proc/sys/kernel/osrelease");
        machine.processor = field(&cpuinfo, "model name");
        machine.cores = cores.and_then(|cores| u32::try_from(cores.get()).ok());
        machine.memory_bytes = bytes("MemTotal");
        machine.swap_bytes = bytes("SwapTotal");
        machine.mechanisms = mechanisms.into();
    }
}
