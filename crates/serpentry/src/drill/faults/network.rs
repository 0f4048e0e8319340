//! Connections, queues, sizes, clients.

use std::thread::sleep;
use std::time::Instant;

use incident::Code;

use super::super::stage::{ENTERING, Onset, Stage};
use super::{Fault, Home, Proof, USUAL};

const REFUSED: Proof = Proof { worker: false, limit: true, requests: true, growth: false, answer: true };

/// Most connections that a drill opens for one limit.
const MOST: u64 = 500;

pub(super) static CONNECTIONS: Fault = Fault {
    name: "connections",
    about: "clients hold as many connections as the application may have, and one more comes",
    code: Code::N10,
    proof: REFUSED,
    counted_from: "the connection that is too many",
    inject: |stage| connections(stage, "/drill/hello"),
    outside: Some(|stage| connections(stage, &stage.path.clone())),
    ..USUAL
};

fn connections(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    let limit = stage.app.limits.connections;
    if limit > MOST {
        anyhow::bail!("{} may have {limit} connections: a drill opens at most {MOST}", stage.app.name);
    }
    // A connection is the application's from its first request on.
    let head = stage.door.head("GET", path, 0, "");
    for _ in 0..limit {
        stage.hold_answered(&head)?;
    }
    let began = Instant::now();
    for _ in 0..2 {
        stage.visit("GET", path);
    }
    Ok(Onset::At(began))
}

pub(super) static QUEUE: Fault = Fault {
    name: "queue-full",
    about: "more requests wait than the queue holds",
    code: Code::N11,
    also: &[Code::N12, Code::N20],
    proof: REFUSED,
    inject: |stage| flood(stage, "/drill/wait?s=0.8", 16),
    outside: Some(|stage| flood(stage, &stage.path.clone(), 64)),
    ..USUAL
};

/// More at once than there are slots and places in the queue; the number of slots is not known from outside.
fn flood(stage: &mut Stage, path: &str, slots: u64) -> anyhow::Result<Onset> {
    let began = Instant::now();
    for _ in 0..(stage.app.queue.limit + slots + 4).min(MOST) {
        stage.send("GET", path);
    }
    Ok(Onset::At(began))
}

pub(super) static WAITED: Fault = Fault {
    name: "queue-timeout",
    about: "requests wait for a free worker until their time in the queue is over",
    code: Code::N12,
    also: &[Code::N11, Code::N20],
    proof: REFUSED,
    counted_from: "the end of the time in the queue",
    inject: |stage| {
        // Every slot is taken for longer than that, and then one more comes.
        let limit = stage.app.limits.queue_timeout_seconds;
        for _ in 0..8 {
            stage.send("GET", &format!("/drill/wait?s={}", limit + 1.0));
        }
        sleep(ENTERING);
        let began = Instant::now();
        stage.send("GET", "/drill/hello");
        Ok(Onset::At(began + std::time::Duration::from_secs_f64(limit)))
    },
    ..USUAL
};

pub(super) static OVERSIZE: Fault = Fault {
    name: "oversize",
    about: "a client sends a body that is larger than allowed",
    code: Code::N22,
    proof: REFUSED,
    inject: |stage| oversize(stage, "/drill/hello"),
    outside: Some(|stage| oversize(stage, &stage.path.clone())),
    ..USUAL
};

fn oversize(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    let began = Instant::now();
    // The head alone decides: nobody has to send a terabyte.
    let head = stage.door.head("POST", path, 1 << 50, "");
    stage.send_part("POST", path, head);
    Ok(Onset::At(began))
}

pub(super) static SLOW: Fault = Fault {
    name: "slow-client",
    about: "a client begins to send a body and stops",
    code: Code::N21,
    proof: REFUSED,
    patience: std::time::Duration::from_secs(40),
    counted_from: "the last byte that it sent",
    inject: |stage| slow(stage, "/drill/hello"),
    outside: Some(|stage| slow(stage, &stage.path.clone())),
    ..USUAL
};

fn slow(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    let head = stage.door.head("POST", path, 100, "");
    stage.send_part("POST", path, format!("{head}three"));
    Ok(Onset::At(Instant::now()))
}

pub(super) static LEFT: Fault = Fault {
    name: "client-left",
    about: "many clients leave before they are answered",
    code: Code::N23,
    proof: Proof { worker: false, limit: false, requests: true, growth: false, answer: false },
    counted_from: "their leaving",
    inject: |stage| left(stage, "/drill/wait?s=0.5"),
    outside: Some(|stage| left(stage, &stage.path.clone())),
    ..USUAL
};

fn left(stage: &mut Stage, path: &str) -> anyhow::Result<Onset> {
    let head = stage.door.head("GET", path, 0, "");
    for _ in 0..20 {
        stage.hold(&head)?;
    }
    sleep(ENTERING);
    let began = Instant::now();
    stage.everybody_leaves();
    stage.note_left("GET", path);
    Ok(Onset::At(began))
}

pub(super) static BANDWIDTH: Fault = Fault {
    name: "bandwidth",
    about: "answers are larger than the application's line lets through",
    code: Code::N30,
    also: &[Code::N20],
    proof: Proof { worker: false, limit: true, requests: false, growth: false, answer: false },
    home: Home::Batch,
    inject: |stage| {
        for _ in 0..2 {
            stage.keep_asking(|_| "/drill/big?mib=2".to_owned());
        }
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};
