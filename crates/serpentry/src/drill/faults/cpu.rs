//! Processors: who takes their time, and what waits for it.

use std::time::Instant;

use incident::Code;
use serpentry::control::{Concurrency, Tenancy};

use super::super::stage::Onset;
use super::{Fault, Home, Proof, USUAL};

const NOTHING: Proof = Proof { worker: false, limit: false, requests: false, growth: false, answer: false };

pub(super) static STARVED: Fault = Fault {
    name: "starved",
    about: "a neighbour computes on every core, and this application is ready to run and waits",
    code: Code::C11,
    also: &[Code::C20, Code::C22],
    proof: NOTHING,
    counted_from: "the first request to the neighbour",
    inject: |stage| {
        let began = Instant::now();
        stage.keep_neighbour_busy(4, "/drill/spin?ms=200")?;
        for _ in 0..2 {
            stage.keep_asking(|_| "/drill/spin?ms=5".to_owned());
        }
        Ok(Onset::At(began))
    },
    prevented: Some((
        Tenancy::Isolated,
        "an isolated application has a core of its own, which no neighbour can take",
    )),
    ..USUAL
};

pub(super) static THROTTLED: Fault = Fault {
    name: "throttled",
    about: "the application wants more than its own CPU limit",
    code: Code::C10,
    also: &[Code::C20, Code::C22],
    proof: Proof { limit: true, ..NOTHING },
    home: Home::Batch,
    inject: |stage| {
        stage.need(stage.app.limits.cpu_cores, "cpu", "0.2")?;
        for _ in 0..2 {
            stage.keep_asking(|_| "/drill/spin?ms=50".to_owned());
        }
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};

pub(super) static BLOCKED: Fault = Fault {
    name: "blocked-loop",
    about: "a coroutine waits without await, and the event loop with all its requests waits too",
    code: Code::C21,
    proof: Proof { worker: true, ..NOTHING },
    home: Home::Feed,
    concurrency: Some(Concurrency::Async),
    counted_from: "the request that blocks",
    inject: |stage| {
        for _ in 0..8 {
            stage.keep_asking(|_| "/drill/wait?s=0.05".to_owned());
        }
        std::thread::sleep(super::super::stage::ENTERING);
        stage.send("GET", "/drill/block?s=0.75");
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};

pub(super) static GIL: Fault = Fault {
    name: "gil",
    about: "requests compute and keep the others in their worker waiting for the interpreter lock",
    code: Code::C22,
    also: &[Code::C20, Code::N20],
    proof: NOTHING,
    concurrency: Some(Concurrency::Threads),
    inject: |stage| {
        // One for each worker: whatever comes beside it finds a lock that is held.
        for _ in 0..stage.workers().len().max(1) {
            stage.keep_asking(|_| "/drill/spin?ms=300".to_owned());
        }
        for _ in 0..4 {
            stage.keep_asking(|_| "/drill/spin?ms=2".to_owned());
        }
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};

pub(super) static HEAVY: Fault = Fault {
    name: "cpu-heavy",
    about: "requests to one path need a lot of CPU time each",
    code: Code::C20,
    also: &[Code::C22],
    proof: NOTHING,
    inject: |stage| {
        stage.keep_asking(|_| "/drill/spin?ms=80".to_owned());
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};
