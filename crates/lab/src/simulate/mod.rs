//! What would happen: a discrete-event simulator of one application behind the host's queue.
//!
//! Clients arrive, give up and try again; the host queues and hands each request to a free slot of the least loaded
//! worker; in the worker it alternates between the processor and waiting. Workers are processes with an interpreter lock:
//! `sync` has one slot, `threads` several of which one runs and is interrupted after the switch interval, `async` very many
//! of which one runs until it waits. Cores are shared evenly by what is ready to run, with neighbours by weight, under a
//! quota or a set of cores. Times of service are drawn from what was measured ([`Profile`]), never from a fitted
//! distribution.
//!
//! It is pure: the same [`Scenario`] and seed give the same [`Outcome`]. Nothing is allocated while it runs but the
//! windows of the result. Not modelled: time slices of the kernel (cores are shared as if slices were infinitely short),
//! caches, the router's own use of the processor, requests handed over early, bodies and slow clients.
//!
//! What it predicts is worth something only after it was compared with a measurement.

mod arrivals;
mod disk;
mod engine;
mod flow;
mod lifecycle;
mod outcome;
mod processor;
mod profile;
mod replicate;
mod scenario;
mod state;
mod timers;
mod workers;

pub use engine::run;
pub use outcome::{Failure, Outcome, WINDOW};
pub use profile::{Class, MAX_CLASSES, MAX_SAMPLES, Profile, ProfileError, Sample};
pub use replicate::{Estimate, Prediction, replicate};
pub use scenario::{
    Arriving, Clients, Cores, Discipline, Disk, Dispatch, Length, Memory, Model, Neighbours, Queue, Quota,
    Retries, Scenario, Sharing, Trigger, Workers,
};
