//! Disks, volumes, logs.

use std::time::{Duration, Instant};

use incident::Code;

use super::super::stage::Onset;
use super::{Fault, Home, Proof, USUAL};

const NOTHING: Proof = Proof { worker: false, limit: false, requests: false, growth: false, answer: false };

pub(super) static FSYNC: Fault = Fault {
    name: "slow-fsync",
    about: "requests wait until what they log is on the disk",
    code: Code::D11,
    proof: NOTHING,
    patience: Duration::from_secs(15),
    inject: |stage| {
        for _ in 0..4 {
            stage.keep_asking(|_| "/drill/fsync?times=4".to_owned());
        }
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};

pub(super) static THROTTLED: Fault = Fault {
    name: "slow-disk",
    about: "the application writes faster than its disk limit allows",
    code: Code::D10,
    also: &[Code::D11, Code::N20],
    proof: Proof { limit: true, ..NOTHING },
    home: Home::Batch,
    inject: |stage| {
        stage.keep_asking(|_| "/drill/write?mib=2".to_owned());
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};

pub(super) static FULL: Fault = Fault {
    name: "disk-full",
    about: "the application's volume is filled to the last block",
    code: Code::D20,
    also: &[Code::D11, Code::N20],
    proof: Proof { limit: true, ..NOTHING },
    inject: |stage| {
        stage.send("GET", "/drill/fill?s=2");
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};

pub(super) static FLOOD: Fault = Fault {
    name: "log-flood",
    about: "the application prints faster than any disk takes it",
    code: Code::D30,
    also: &[Code::C20, Code::C22, Code::N20],
    proof: NOTHING,
    patience: Duration::from_secs(15),
    inject: |stage| {
        for _ in 0..3 {
            stage.send("GET", "/drill/flood?lines=100000&bytes=2000");
        }
        Ok(Onset::At(Instant::now()))
    },
    ..USUAL
};
