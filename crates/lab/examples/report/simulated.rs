//! A result with all parts, from a generator of random numbers: for tests, and to see what a report looks like. It is marked
//! as simulated and proves nothing about any machine. Verdicts, shift functions and fits are computed from the simulated
//! requests by the real statistics.

#[path = "figures.rs"]
mod figures;

use std::collections::BTreeMap;

use lab::Random;
use lab::decide::score::{Complexity, Figure, Knob, Measured, scorecard};
use lab::decide::{Growing, Inputs, Quality, TenancyFigures, decide};
use lab::document::{
    Answer, Arm, Block, BlockKind, Document, Import, Kind, Latency, Mechanism, Moment, Neighbour,
    NotTestable, Pressure, Reason, Shift, Verdict, Weights,
};
use lab::statistics::log_ratio;
use lab::statistics::quantile::interpolated;
use lab::statistics::shift::{Options, PairOfBlocks, shift_function};
use lab::statistics::verdict::{Control, control, expected_shortfall, judge, material};

const PAIRS: u32 = 8;
const BLOCK: f64 = 3.0;
const RATE: f64 = 130.0;

/// The document of a seed.
pub(crate) fn document(seed: u64) -> Document {
    let mut random = Random::new(seed);
    let mut document = Document::new(Kind::Compare, "shop");
    document.simulated = true;
    document.seed = seed;
    document.plan_hash = format!("{:016x}", Random::stream(seed, 1).next_u64());
    document.started = "2026-11-25T12:00:00Z".into();
    surroundings(&mut document);
    let quiet = phase(&mut document, "quiet", 1.02, 0.05, &mut random);
    let noisy = phase(&mut document, "noisy", 1.25, 0.14, &mut random);
    answers(&mut document, &quiet, &noisy, &mut random);
    document.seconds = document.blocks.last().map(|block| block.at_seconds + block.seconds);
    figures::add(&mut document, &mut random);
    conclusions(&mut document);
    document
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn surroundings(document: &mut Document) {
    let machine = &mut document.machine;
    machine.kernel = Some("Linux 6.18".into());
    machine.processor = Some("simulated processor, 2 cores".into());
    machine.cores = Some(2);
    machine.memory_bytes = Some(24 << 30);
    machine.swap_bytes = Some(0);
    machine.filesystem = Some("ext4".into());
    machine.versions = map(&[("serpentry", "0.1.0"), ("python", "3.13.1"), ("django", "5.2")]);
    machine.calibration_ms = Some(50.2);
    machine.calibration_spread = Some(0.011);
    machine.mechanisms = vec![
        Mechanism { what: "cpu weight".into(), with: Some("cgroup v1 cpu.shares".into()) },
        Mechanism { what: "own cores".into(), with: Some("cgroup v1 cpuset".into()) },
        Mechanism { what: "disk weight".into(), with: None },
    ];
    let method = &mut document.method;
    method.command = Some(format!("serpentry compare shop --seed {}", document.seed));
    method.arrivals = Some("poisson".into());
    method.rate = Some(RATE);
    method.pairs = Some(PAIRS);
    method.block_seconds = Some(BLOCK);
    method.discarded_seconds = Some(0.5);
    method.mix = vec![("GET /".into(), 0.6), ("GET /product/{}".into(), 0.3), ("GET /report".into(), 0.1)];
    method.placement = Some(
        "generator and host on core 0 with high weight, application on cores 0-1 (S1) or core 1 (I2)".into(),
    );
    method.generator_cpu = Some(0.03);
    method.host_cpu = Some(0.05);
    method.target_ms = Some(80.0);
    method.target_quantile = Some(0.95);
    let hogs = vec![
        Neighbour { kind: "cpu".into(), count: 2, intensity: Some(0.6), cores: Some(1.1) },
        Neighbour { kind: "bursts".into(), count: 1, intensity: Some(0.5), cores: Some(0.2) },
    ];
    document.arms = vec![
        Arm {
            name: "S1".into(),
            title: "shared, fair share of the processor".into(),
            tenancy: Some("shared".into()),
            concurrency: Some("threads".into()),
            workers: Some(2),
            threads: Some(8),
            limits: map(&[("cpu_weight", "100")]),
            cgroup: map(&[("cpu.shares", "1024"), ("cpuset.cpus", "0-1")]),
            neighbours: hogs.clone(),
            ..Arm::default()
        },
        Arm {
            name: "I2".into(),
            title: "isolated, one core of its own".into(),
            tenancy: Some("isolated".into()),
            concurrency: Some("threads".into()),
            workers: Some(2),
            threads: Some(8),
            limits: map(&[("cpu", "1"), ("memory", "512MiB")]),
            cgroup: map(&[("cpuset.cpus", "1"), ("memory.limit_in_bytes", "536870912")]),
            reserved_cores: Some(1.0),
            reserved_memory_bytes: Some(512 << 20),
            neighbours: hogs,
            ..Arm::default()
        },
    ];
    document.not_testable = vec![NotTestable {
        what: "isolation of the last-level cache".into(),
        because: "the processor's cache allocation (resctrl) is not there".into(),
    }];
    document.notes = vec!["All figures in this file are simulated.".into()];
}

/// Latencies of a block in the order of their times, and when each was planned.
type Latencies = Vec<(f64, f64)>;

/// One server of two slots with Poisson arrivals; `slower` stretches service, `stall` is the share of requests that a
/// neighbour interrupts.
fn serve(slower: f64, stall: f64, random: &mut Random) -> Latencies {
    let (mut now, mut free) = (0.0, [0.0_f64; 2]);
    let mut latencies = Vec::new();
    loop {
        now += random.exponential() / RATE;
        if now > BLOCK {
            return latencies;
        }
        let mut service = 0.002 + 0.003 * random.exponential();
        if random.unit() < 0.1 {
            service += 0.012;
        }
        if random.unit() < stall {
            service += 0.004 + 0.010 * random.exponential();
        }
        let slot = if free[0] <= free[1] { 0 } else { 1 };
        let done = free[slot].max(now) + service * slower;
        free[slot] = done;
        latencies.push((now, (done - now) * 1e3));
    }
}

/// Pairs of blocks of one phase: S1 suffers from neighbours, I2 does not.
fn phase(
    document: &mut Document,
    name: &str,
    slower: f64,
    stall: f64,
    random: &mut Random,
) -> Vec<PairOfBlocks> {
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let mut order = [("S1", slower, stall), ("I2", 1.1, 0.0)];
        random.shuffle(&mut order);
        let mut blocks = PairOfBlocks::default();
        for (arm, slower, stall) in order {
            let level = (0.05 * random.normal()).exp();
            let latencies = serve(slower * level, stall, random);
            let valid = !(name == "noisy" && pair == 3);
            block(document, name, pair, arm, &latencies, valid);
            let values = latencies.iter().map(|(_, ms)| *ms).collect();
            if arm == "S1" { blocks.b = values } else { blocks.a = values }
        }
        if name != "noisy" || pair != 3 {
            pairs.push(blocks);
        }
    }
    pairs
}

fn block(document: &mut Document, phase: &str, pair: u32, arm: &str, latencies: &Latencies, valid: bool) {
    let index = u32::try_from(document.blocks.len()).unwrap_or(0);
    let at_seconds = 5.0 + f64::from(index) * (BLOCK + 0.6);
    let sorted = sorted(latencies.iter().map(|(_, ms)| *ms));
    let failed = u64::from(index % 9 == 4);
    let at = |q: f64| Latency::new(interpolated(&sorted, q));
    let names = [("p50", at(0.5)), ("p95", at(0.95)), ("p99", at(0.99))];
    let steal = if valid { 0.002 } else { 0.041 };
    document.blocks.push(Block {
        index,
        kind: BlockKind::Measured,
        pair: Some(pair),
        arm: arm.into(),
        phase: Some(phase.into()),
        questions: vec![format!("tenancy-{phase}")],
        at_seconds,
        seconds: BLOCK,
        planned: latencies.len() as u64 + failed,
        answered: latencies.len() as u64,
        failed,
        failures: if failed > 0 { [("timeout".to_owned(), failed)].into() } else { BTreeMap::new() },
        throughput: Some(latencies.len() as f64 / BLOCK),
        latency_ms: names.into_iter().filter_map(|(name, ms)| Some((name.to_owned(), ms?))).collect(),
        lag_p99_ms: Some(0.21),
        generator_cpu: Some(0.03),
        steal: Some(steal),
        pressure: Pressure { cpu: Some(if arm == "S1" { 0.18 } else { 0.02 }), memory: Some(0.0), io: None },
        run_queue_ms: Some(if phase == "noisy" && arm == "S1" { 3.9 } else { 0.2 }),
        throttled: Some(0.0),
        neighbour_cores: Some(if phase == "noisy" { 1.3 } else { 0.0 }),
        memory_bytes: Some(143 << 20),
        calibration: Some(if valid { 0.004 } else { 0.063 }),
        valid,
        invalid_because: if valid {
            Vec::new()
        } else {
            vec![
                "the hypervisor took 4.1 % of the time, 2 % are allowed".into(),
                "a fixed piece of work was 6.3 % slower than usual, 5 % are allowed".into(),
            ]
        },
        ..Block::default()
    });
    let width = 0.25;
    for window in 0..(BLOCK / width) as usize {
        let from = window as f64 * width;
        let inside = latencies.iter().filter(|(at, _)| (from..from + width).contains(at));
        let values = self::sorted(inside.map(|(_, ms)| *ms));
        let known = |value: f64| value.is_finite().then_some(value);
        document.timeline.push(Moment {
            block: index,
            at_seconds: at_seconds + from + width / 2.0,
            requests: u32::try_from(values.len()).unwrap_or(0),
            failed: 0,
            p50_ms: known(interpolated(&values, 0.5)),
            p95_ms: known(interpolated(&values, 0.95)),
            max_ms: values.last().copied(),
        });
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn answers(document: &mut Document, quiet: &[PairOfBlocks], noisy: &[PairOfBlocks], random: &mut Random) {
    let nulls: Vec<f64> = (0..6).map(|_| 0.05 * random.normal()).collect();
    let Ok(null) = control(&nulls) else { return };
    let spread = |values: &[f64]| {
        let values = sorted(values.iter().copied());
        interpolated(&values, 0.95) - interpolated(&values, 0.5)
    };
    let median = |values: &[f64]| interpolated(&sorted(values.iter().copied()), 0.5);
    let worst = |values: &[f64]| expected_shortfall(&sorted(values.iter().copied()), 0.05);
    let rate = |values: &[f64]| values.len() as f64 * (1.0 + 0.001 * values[0].fract());
    type Figure<'a> = &'a dyn Fn(&[f64]) -> f64;
    type Question<'a> = (&'a str, &'a str, &'a str, &'a [PairOfBlocks], Figure<'a>, f64, bool);
    let asked: [Question<'_>; 5] = [
        (
            "tenancy-noisy",
            "shared varies more than isolated when neighbours are busy",
            "p95 - p50, S1 over I2",
            noisy,
            &spread,
            material::LATENCY,
            true,
        ),
        (
            "tenancy-quiet",
            "shared varies more than isolated when neighbours are quiet",
            "p95 - p50, S1 over I2",
            quiet,
            &spread,
            material::LATENCY,
            true,
        ),
        (
            "median-noisy",
            "shared is slower in the middle when neighbours are busy",
            "p50, S1 over I2",
            noisy,
            &median,
            material::LATENCY,
            false,
        ),
        (
            "worst-noisy",
            "the worst 5 % are slower shared when neighbours are busy",
            "mean of the worst 5 %, S1 over I2",
            noisy,
            &worst,
            material::LATENCY,
            false,
        ),
        (
            "throughput",
            "shared serves less when neighbours are busy",
            "answers, I2 over S1",
            noisy,
            &rate,
            material::THROUGHPUT,
            false,
        ),
    ];
    for (id, question, metric, pairs, figure, threshold, primary) in asked {
        let differences: Vec<f64> =
            pairs.iter().filter_map(|pair| log_ratio(figure(&pair.a), figure(&pair.b))).collect();
        let Ok(judged) = judge(&differences, threshold, Some(Control { ..null })) else { continue };
        let answer = Answer::of(id, question, metric, &judged);
        document.verdicts.push(Answer {
            a: "I2".into(),
            b: "S1".into(),
            primary,
            differences,
            control_differences: nulls.clone(),
            ..answer
        });
    }
    document.verdicts.push(Answer {
        id: "cache".into(),
        question: "a neighbour's use of the cache slows the application".into(),
        metric: "p50".into(),
        verdict: Verdict::NotTestable,
        because: Some("cache allocation is missing on this machine".into()),
        ..Answer::default()
    });
    for (question, pairs) in [("tenancy-noisy", noisy), ("tenancy-quiet", quiet)] {
        let options = Options { replicates: 200, run_length: 130, ..Options::default() };
        if let Ok(points) = shift_function(pairs, &options, random) {
            document.shifts.push(Shift::of(question, "I2", "S1", &points));
        }
    }
}

fn conclusions(document: &mut Document) {
    let around = |value: f64, spread: f64| {
        Some(Figure {
            value,
            samples: (-9..=9).map(|i| value * (1.0 + spread * f64::from(i) / 9.0)).collect(),
        })
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let shared = Measured {
        name: "shared".into(),
        cost: around(0.41, 0.06),
        spread: around(1.9, 0.12),
        keeps_target: around(0.97, 0.02),
        complexity: Some(Complexity {
            knobs: names(&["weight", "memory"]),
            failure_domains: names(&["the machine"]),
            ..Complexity::default()
        }),
        precision: around(4.3, 0.1),
        report_seconds: around(0.09, 0.2),
        wrong_victim: Some(0.0.into()),
        collateral: around(0.2, 0.3),
        doubling: around(1.3, 0.05),
        slowest_knob: Some(Knob::Worker),
    };
    let isolated = Measured {
        name: "isolated".into(),
        cost: around(0.71, 0.06),
        spread: around(1.1, 0.06),
        keeps_target: around(0.99, 0.01),
        complexity: Some(Complexity {
            knobs: names(&["cpu", "memory", "egress"]),
            failure_domains: names(&["the machine", "its room"]),
            ..Complexity::default()
        }),
        precision: around(5.4, 0.06),
        collateral: Some(0.0.into()),
        doubling: around(1.2, 0.05),
        ..shared.clone()
    };
    let card = scorecard(&[shared, isolated], Weights::default(), &mut Random::stream(document.seed, 2));
    document.scorecard = Some(card);
    let mib = 1_048_576.0;
    let noisy = document.answer("tenancy-noisy");
    let inputs = Inputs {
        app: "shop".into(),
        rate: Some(RATE),
        peak_over_mean: Some(2.5),
        cpu_ms: Some(3.9),
        wait_ms: Some(6.1),
        cores: Some(2.0),
        worker_bytes: Some(71.0 * mib),
        thread_bytes: Some(0.1 * mib),
        memory_budget_bytes: Some(256.0 * mib),
        memory_peak_bytes: Some(210.0 * mib),
        memory_peak_workers: Some(2),
        growth: Some(Growing { bytes: 2_900.0, low: 2_820.0, high: 2_990.0 }),
        target_ms: Some(80.0),
        target_quantile: Some(0.95),
        tenancy: TenancyFigures {
            shared_noisy_ms: Some(41.0),
            isolated_noisy_ms: Some(19.0),
            noisy: noisy.map(|answer| answer.verdict),
            noisy_ratio: noisy.and_then(|answer| answer.ratio),
            noisy_evidence: Some("tenancy-noisy".into()),
            neighbours: Some(0.55),
            crossover: Some(0.91),
            own_cores_p99: Some(0.6),
            machine_cores: Some(2),
            ..TenancyFigures::default()
        },
        fsyncs: Some(0.0),
        quality: Quality {
            valid_pairs: Some(7),
            planned_pairs: Some(PAIRS),
            noise: Some(1.07),
            material: Some(1.25),
        },
        not_testable: document.not_testable.clone(),
        ..Inputs::default()
    };
    document.recommendation = Some(decide(&inputs));
}

/// Put texts that try to get out of their place everywhere a text of somebody else may be.
pub(crate) fn make_hostile(document: &mut Document) {
    const SCRIPT: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>\u{202e}exe\u{1b}[31m";
    document.subject = SCRIPT.into();
    document.notes.push(SCRIPT.into());
    document.interrupted = Some(SCRIPT.into());
    for arm in &mut document.arms {
        arm.title = SCRIPT.into();
        arm.cgroup.insert(SCRIPT.into(), SCRIPT.into());
    }
    for endpoint in &mut document.endpoints {
        endpoint.route = format!("/{SCRIPT}{}", "A".repeat(5_000));
        endpoint.method = SCRIPT.into();
    }
    for block in &mut document.blocks {
        block.arm = SCRIPT.into();
        block.invalid_because = vec![SCRIPT.into()];
    }
    for answer in &mut document.verdicts {
        answer.question = SCRIPT.into();
        answer.id = SCRIPT.into();
        answer.ratio = answer.ratio.map(|_| 1e300);
    }
    for shift in &mut document.shifts {
        shift.a = SCRIPT.into();
        shift.b = SCRIPT.into();
    }
    for ladder in &mut document.ladders {
        ladder.arm = SCRIPT.into();
    }
    for memory in &mut document.memory {
        memory.against = SCRIPT.into();
        memory.points.push((f64::MAX, -1.0));
    }
    if let Some(start) = &mut document.cold_start {
        start.imports.push(Import { module: SCRIPT.into(), milliseconds: -1e-300 });
    }
    if let Some(limits) = &mut document.limits {
        limits.sentences.push(SCRIPT.into());
        limits.trials.iter_mut().for_each(|trial| trial.refused = Some(SCRIPT.into()));
    }
    if let Some(card) = &mut document.scorecard {
        card.options.iter_mut().for_each(|option| option.name = SCRIPT.into());
    }
    if let Some(recommendation) = &mut document.recommendation {
        recommendation.sentence = SCRIPT.into();
        recommendation.config = SCRIPT.into();
        recommendation.reasons.push(Reason { text: SCRIPT.into(), evidence: vec![SCRIPT.into()] });
    }
}
