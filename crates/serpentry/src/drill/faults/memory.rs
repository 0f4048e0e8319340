//! Memory: the limit, what leads there.

use std::thread::sleep;
use std::time::{Duration, Instant};

use incident::Code;
use serpentry::control::Tenancy;

use super::super::stage::{BURST, ENTERING, Onset, Stage};
use super::{Fault, Proof, USUAL};

const MIB: u64 = 1024 * 1024;

pub(super) static OOM: Fault = Fault {
    name: "oom",
    about: "one worker takes memory until the kernel kills it, with requests inside",
    code: Code::M10,
    also: &[Code::M20],
    proof: Proof { worker: true, limit: true, requests: true, growth: true, answer: true },
    counted_from: "the worker's end",
    inject: oom,
    ..USUAL
};

fn oom(stage: &mut Stage) -> anyhow::Result<Onset> {
    let limit = stage.need(stage.app.limits.memory_bytes, "memory", "\"128MiB\"")?;
    // Some that may be run again on another worker, and some that may not.
    for method in ["GET", "POST", "GET", "POST"] {
        stage.send(method, "/drill/wait?s=1.5");
    }
    sleep(ENTERING);
    stage.send("POST", &format!("/drill/eat?mib={}", 2 * limit / MIB));
    Ok(Onset::WorkerEnd)
}

pub(super) static POOL: Fault = Fault {
    name: "pool",
    about: "neighbours fill the memory that all shared applications have together, and this one's worker is killed for it",
    code: Code::M11,
    also: &[Code::M20],
    proof: Proof { worker: true, limit: true, requests: true, growth: false, answer: true },
    counted_from: "the worker's end",
    inject: |stage| {
        // Run again on another worker, it is still answered in time.
        for method in ["GET", "POST"] {
            stage.send(method, "/drill/wait?s=1.5");
        }
        // The kernel takes the largest process: this is to be one that has what it may have.
        stage.send("POST", "/drill/eat?mib=130&s=2");
        sleep(Duration::from_millis(700));
        // One request for each of its workers, together more than there is.
        stage.keep_neighbour_busy(4, "/drill/eat?mib=112&s=2")?;
        Ok(Onset::WorkerEnd)
    },
    prevented: Some((
        Tenancy::Isolated,
        "an isolated application has memory of its own, which no neighbour can take",
    )),
    ..USUAL
};

pub(super) static NEAR: Fault = Fault {
    name: "near-memory",
    about: "memory is used up to a few percent below the limit, and held",
    code: Code::M20,
    also: &[Code::M10],
    proof: Proof { worker: false, limit: true, requests: false, growth: false, answer: false },
    inject: near,
    ..USUAL
};

fn near(stage: &mut Stage) -> anyhow::Result<Onset> {
    let limit = stage.need(stage.app.limits.memory_bytes, "memory", "\"128MiB\"")?;
    let used: u64 = stage.workers().iter().filter_map(|pid| own_memory(*pid)).sum();
    let more = (limit * 95 / 100).saturating_sub(used) / MIB;
    stage.send("GET", &format!("/drill/eat?mib={more}&s=2.5"));
    Ok(Onset::At(Instant::now()))
}

/// Memory that is the process's alone, in bytes: what the limit counts it for (proc(5), `smaps_rollup`).
fn own_memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let field = |name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((field("Private_Clean:")? + field("Private_Dirty:")?) * 1024)
}

pub(super) static LEAK: Fault = Fault {
    name: "leak",
    about: "every request leaves some memory behind",
    code: Code::M30,
    also: &[Code::M20, Code::M10, Code::C20],
    proof: Proof { worker: false, limit: false, requests: false, growth: true, answer: false },
    patience: Duration::from_secs(90),
    inject: |stage| {
        stage.keep_asking_in_bursts(3, |_| "/drill/leak?kib=48".to_owned());
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};

pub(super) static CACHE: Fault = Fault {
    name: "cache",
    about: "every input that is new is kept for ever; inputs that were seen before cost nothing",
    code: Code::M31,
    also: &[Code::M20, Code::M10, Code::C20],
    proof: Proof { worker: false, limit: false, requests: false, growth: true, answer: false },
    patience: Duration::from_secs(90),
    inject: |stage| {
        // A burst of new inputs, a burst of known ones.
        stage.keep_asking_in_bursts(u64::MAX, |number| match number / BURST % 2 {
            0 => format!("/drill/cache?kib=160&key={number}"),
            _ => format!("/drill/cache?kib=160&key={}", number % 8),
        });
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};
