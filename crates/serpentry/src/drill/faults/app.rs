//! The application's own doing: ends, hangs, boots that fail, answers that are none; processes and files.

use std::thread::sleep;
use std::time::{Duration, Instant};

use incident::Code;
use rustix::process::Signal;

use super::super::stage::{ENTERING, Onset, Stage};
use super::{Fault, Proof, USUAL};

const NOTHING: Proof = Proof { worker: false, limit: false, requests: false, growth: false, answer: false };

/// Of the end of a worker.
const END: Proof = Proof { worker: true, requests: true, answer: true, ..NOTHING };

/// Of a request that takes too long.
const LATE: Proof = Proof { limit: true, requests: true, answer: true, ..NOTHING };

pub(super) static SEGV: Fault = Fault {
    name: "segv",
    about: "a worker crashes in native code, with requests inside",
    code: Code::A20,
    proof: END,
    counted_from: "the worker's end",
    inject: |stage| end(stage, "/drill/segv"),
    outside: Some(|stage| end_by(stage, Signal::SEGV)),
    ..USUAL
};

pub(super) static EXIT: Fault = Fault {
    name: "exit",
    about: "a worker exits by itself, with requests inside",
    code: Code::A21,
    proof: END,
    counted_from: "the worker's end",
    inject: |stage| end(stage, "/drill/exit?status=3"),
    ..USUAL
};

pub(super) static KILL: Fault = Fault {
    name: "kill",
    about: "somebody kills a worker (SIGKILL): no limit, cause unknown",
    code: Code::A20,
    proof: END,
    counted_from: "the worker's end",
    inject: |stage| {
        for _ in 0..2 {
            visitors_inside(stage, "/drill/wait?s=1.5");
        }
        end_by(stage, Signal::KILL)
    },
    outside: Some(|stage| end_by(stage, Signal::KILL)),
    ..USUAL
};

/// Requests that are inside when it happens: some that may be run again, and some that may not.
fn visitors_inside(stage: &mut Stage, path: &str) {
    for method in ["GET", "POST", "GET", "POST"] {
        stage.send(method, path);
    }
    sleep(ENTERING);
}

fn end(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    visitors_inside(stage, "/drill/wait?s=1.5");
    stage.send("POST", path);
    Ok(Onset::WorkerEnd)
}

/// The oldest worker.
fn end_by(stage: &mut Stage, signal: Signal) -> anyhow::Result<Onset> {
    let Some(pid) = stage.workers().first().copied() else {
        anyhow::bail!("{} has no worker at the moment", stage.app.name);
    };
    stage.signal(pid, signal)?;
    Ok(Onset::WorkerEnd)
}

pub(super) static CRASH_LOOP: Fault = Fault {
    name: "crash-loop",
    about: "a worker ends, and those that are started in its place end while they boot",
    code: Code::A22,
    also: &[Code::A10, Code::A21, Code::A11, Code::N11, Code::N12],
    proof: NOTHING,
    counted_from: "the first worker's end",
    patience: Duration::from_secs(20),
    inject: |stage| {
        stage.visit("POST", "/drill/arm?boot=exit&s=6");
        for _ in stage.workers() {
            stage.send("POST", "/drill/exit?status=3");
        }
        Ok(Onset::WorkerEnd)
    },
    ..USUAL
};

pub(super) static BOOT: Fault = Fault {
    name: "boot",
    about: "a new version raises an exception when it is imported (and the old one serves on)",
    code: Code::A10,
    proof: Proof { worker: true, ..NOTHING },
    counted_from: "the restart",
    inject: |stage| {
        stage.visit("POST", "/drill/arm?boot=raise&s=2");
        let (client, name, began) = (stage.client.clone(), stage.app.name.clone(), Instant::now());
        // It is refused, with the traceback; the old version serves on.
        let _ = std::thread::spawn(move || client.restart(&name));
        Ok(Onset::At(began))
    },
    ..USUAL
};

pub(super) static BROKEN: Fault = Fault {
    name: "broken-response",
    about: "something in the worker writes into its connection to the host",
    code: Code::A30,
    proof: END,
    inject: |stage| {
        visitors_inside(stage, "/drill/wait?s=1.5");
        let began = Instant::now();
        stage.send("POST", "/drill/broken");
        Ok(Onset::At(began))
    },
    ..USUAL
};

pub(super) static SHORT: Fault = Fault {
    name: "short-answer",
    about: "an answer has fewer bytes than it promised",
    code: Code::A31,
    proof: Proof { requests: true, ..NOTHING },
    inject: |stage| ask(stage, "/drill/short"),
    ..USUAL
};

pub(super) static EXCEPTION: Fault = Fault {
    name: "exception",
    about: "a view raises an exception",
    code: Code::A31,
    proof: Proof { requests: true, answer: true, ..NOTHING },
    inject: |stage| ask(stage, "/drill/raise"),
    ..USUAL
};

fn ask(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    let began = Instant::now();
    stage.visit("GET", path);
    Ok(Onset::At(began))
}

pub(super) static DEADLINE: Fault = Fault {
    name: "deadline",
    about: "a request takes longer than it may, in code that can be interrupted",
    code: Code::N20,
    proof: LATE,
    counted_from: "the deadline",
    patience: Duration::from_secs(40),
    inject: |stage| late(stage, "/drill/loop"),
    ..USUAL
};

pub(super) static UPSTREAM: Fault = Fault {
    name: "upstream",
    about: "a request waits for another server that says nothing, without a time limit",
    code: Code::N20,
    proof: LATE,
    counted_from: "the deadline",
    patience: Duration::from_secs(40),
    inject: |stage| late(stage, "/drill/upstream"),
    ..USUAL
};

pub(super) static HUNG: Fault = Fault {
    name: "hung",
    about: "a request waits for a lock that nobody will give back, with other requests in its worker",
    code: Code::N20,
    proof: LATE,
    counted_from: "the deadline",
    patience: Duration::from_secs(40),
    inject: |stage| late(stage, "/drill/deadlock"),
    ..USUAL
};

fn late(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    let limit = stage.need(stage.app.limits.request_timeout_seconds, "request_timeout", "\"3s\"")?;
    let began = Instant::now();
    stage.send("GET", path);
    Ok(Onset::At(began + Duration::from_secs_f64(limit)))
}

pub(super) static STOPPED: Fault = Fault {
    name: "stopped",
    about: "a worker is stopped (SIGSTOP) with requests inside, as if its machine stood still",
    code: Code::N20,
    also: &[Code::A20, Code::A21],
    proof: LATE,
    counted_from: "the deadline",
    patience: Duration::from_secs(60),
    inject: |stage| stop(stage, "/drill/wait?s=1"),
    outside: Some(|stage| stop(stage, &stage.path.clone())),
    ..USUAL
};

fn stop(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    let limit = stage.need(stage.app.limits.request_timeout_seconds, "request_timeout", "\"3s\"")?;
    let began = Instant::now();
    for method in ["POST", "POST", "GET", "GET"] {
        stage.send(method, path);
    }
    sleep(ENTERING);
    let Some(pid) = stage.workers().first().copied() else {
        anyhow::bail!("{} has no worker at the moment", stage.app.name);
    };
    // Whoever does not answer is killed and replaced: nothing stays stopped.
    stage.signal(pid, Signal::STOP)?;
    Ok(Onset::At(began + Duration::from_secs_f64(limit)))
}

pub(super) static PROCESSES: Fault = Fault {
    name: "processes",
    about: "threads are started until the application may have no more",
    code: Code::P10,
    // A worker that starts meanwhile finds no thread left, and does not boot.
    also: &[Code::A10, Code::A22],
    proof: Proof { limit: true, ..NOTHING },
    inject: |stage| {
        let began = Instant::now();
        stage.send("GET", "/drill/threads?s=1.5");
        Ok(Onset::At(began))
    },
    ..USUAL
};

pub(super) static FILES: Fault = Fault {
    name: "open-files",
    about: "files are opened until the worker may have no more",
    code: Code::P11,
    proof: Proof { worker: true, limit: true, ..NOTHING },
    inject: |stage| {
        let began = Instant::now();
        stage.send("GET", "/drill/files?s=1.5");
        Ok(Onset::At(began))
    },
    ..USUAL
};
