//! Starts, watches, replaces and stops the workers of **one** application (a host has one [`Supervisor`] per app).
//!
//! This is a pure state machine: [`Supervisor::step`] takes the time and one [`Event`] and returns [`Action`]s.
//! It reads no clock, never sleeps, spawns nothing and knows neither sockets nor HTTP; the driver does all that.
//! Time is a [`std::time::Duration`] since any fixed origin. The same seed and events give the same actions.
//!
//! # Contract with the driver
//!
//! * Each [`Action::Spawn`] is answered by exactly one [`Event::Spawned`] or [`Event::SpawnFailed`]; each `Spawned`
//!   is followed, at some time, by exactly one [`Event::Exited`] (the child was reaped).
//! * `step(now, Event::Tick)` is called no later than [`Supervisor::next_deadline`].
//! * The actions of one step are carried out in order, before the next event.
//! * Events about workers that are gone, or that make no sense in the worker's state, are ignored: the driver
//!   may be late, and a worker is not trusted.
//! * Identifiers of workers and numbers of generations are never used twice.
//!
//! # Life of a worker
//!
//! ```text
//!   Spawning --spawned--> Booting --ready--> Ready -- quota, outgrown --> Retiring
//!      |                     |                 |                         |
//!      |                     |                 +---- drain, hung --------+--> Draining --drained--> Finishing
//!      |                     |                 |                         |        |                     |
//!      +-- start timeout, ---+-- boot failed --+------ misbehaved -------+--------+---- deadline -------+
//!          stop                                                                                         |
//!                                                                                              Dying <--+
//!      any state --exited--> Gone              (Dying: was sent SIGKILL, repeated until it is gone)
//! ```
//!
//! `Ready` and `Retiring` workers serve; a `Retiring` one has used up its `max_requests` or outgrown its memory and serves
//! on until it is replaced. Every cell of the table below is a unit test, which reads it from here; `.` means ignored.
//!
//! | state     | spawned | spawn-failed | ready | boot-failed | retire   | hung     | misbehaved | drain    | drained   | kill  | exited |
//! |-----------|---------|--------------|-------|-------------|----------|----------|------------|----------|-----------|-------|--------|
//! | Spawning  | Booting | Gone         | .     | .           | .        | .        | .          | .        | .         | Dying | Gone   |
//! | Booting   | .       | .            | Ready | Dying       | .        | .        | Dying      | .        | .         | Dying | Gone   |
//! | Ready     | .       | .            | .     | .           | Retiring | Draining | Dying      | Draining | .         | Dying | Gone   |
//! | Retiring  | .       | .            | .     | .           | .        | Draining | Dying      | Draining | .         | Dying | Gone   |
//! | Draining  | .       | .            | .     | .           | .        | Draining | Dying      | .        | Finishing | Dying | Gone   |
//! | Finishing | .       | .            | .     | .           | .        | .        | Dying      | .        | .         | Dying | Gone   |
//! | Dying     | Dying   | Gone         | .     | .           | .        | .        | .          | .        | .         | .     | Gone   |
//!
//! A worker that was never admitted (booting, or ready in a generation that is not active) holds no request: it is
//! killed, not drained. The `SIGKILL` for a worker whose spawn is still under way is sent when its pid is known.
//!
//! # Rules
//!
//! **Replacement.** Whatever ends a worker of the active generation, it is replaced and its siblings are left alone.
//! When depends on how it ended (see `backoff.rs` for why):
//!
//! 1. It never became ready (fork failure, boot failure, exit or timeout while booting): after a pause.
//! 2. It died within `stable_after` (1 s) of being admitted: at once for the first `forgiven_fast_deaths` (20) in a
//!    row, then after a pause.
//! 3. It died later: at once, unless there were already `10 + 5 x target` deaths in the last 10 s; then after a pause.
//!
//! The pause is per application: `backoff_min` (1 s), doubled each time a worker started *after* the last pause fails
//! too, to `backoff_max` (180 s), shortened by up to a quarter at random but never below `backoff_min`. After a pause
//! one worker at a time is tried until one is ready. The row ends, and the pause falls back to the minimum, when a
//! worker started after the last failure has served for `stable_after`, or when a new generation is activated.
//!
//! **Target.** The number of wanted workers is between `min_workers` and `max_workers`; with both equal it never moves. It
//! begins at the minimum.
//!
//! * It grows by one at a [`Event::Demand`] when all wanted workers are ready, up to the maximum. While one of them is
//!   starting, missing or retiring, a demand changes nothing; one that lasts is repeated. A pause holds for a demanded
//!   worker too.
//! * It shrinks by one when for `idle` long one worker fewer would have been enough. What was enough is the highest number
//!   reported by [`Event::Load`]; a request that waited needed all there were; no `Load` means no need. The youngest leaves
//!   first, the next one no sooner than a second later, so that the rest can show whether they do. Not during a reload.
//! * When a pause is over, workers above the minimum are tried again only if a request waits (the last demand is less than
//!   a second old). Else the target falls to the workers there are, and the next demand begins again.
//!
//! **Sleep.** With `min_workers` 0 none is started before the first demand, `FirstReady` comes with the start, and after
//! `idle` without a request there are none again. Nothing is known of an application that has never run: whether it
//! boots shows at its first request, so `give_up_on_first_boot_failure` does not apply.
//!
//! **First boot.** With `give_up_on_first_boot_failure`, a start that fails (rule 1) before any worker was ready since
//! [`Event::Start`] ends the application: the others are killed, then [`Action::Stopped`] carries the reason.
//!
//! **Quota.** A retiring worker is drained only when `target` others are ready; at most `surge` replacements of
//! retiring workers are started at a time. **Hung.** Drained for `hang_grace` at most, replaced meanwhile.
//!
//! **Outgrown.** With `room` for another worker, as with a quota. Without, the worker is drained first and replaced when
//! its process is gone (whatever ends it); one at a time, and only when `target` workers serve, itself included. So with
//! one worker requests wait for the new one. The first reason to retire a worker counts, later ones are ignored.
//!
//! **Reload.** `target` workers of a new generation are started beside the old, pause or not. When all are ready:
//! `Activate`, `Admit` each, `Drain` the old. The first failure of any of them ends the attempt, kills the new generation and
//! keeps the old, without another try; a pause of the old generation goes on as it was. A reload during a reload kills the
//! attempt under way and starts another. This is also the operator's restart, and it is tried at once while the old
//! generation is backing off. With target 0 (asleep) there is nothing to boot: the new generation is active at once, and
//! if it is broken, that shows at the next request.
//!
//! **Scale.** [`Event::Scale`] and [`Event::SetTarget`] pin the number of workers: minimum and maximum are that number
//! until [`Event::SetLimits`] brings other limits from the configuration, over stops and starts too. It is never below 1
//! (that is `Stop`) nor above [`MOST_WORKERS`], or the configured maximum if higher. New limits start no new generation;
//! workers above the new maximum leave at once, those above the minimum when they are idle. Down: workers still starting
//! leave first, then the youngest ready one (the oldest have the warmest caches).
//!
//! **Stop and start.** After `Stopped`, `Start` begins again with a new generation, the configured or pinned limits and no
//! memory of pauses; counters, workers' and generations' numbers go on. While stopping, `Start` is ignored. While running,
//! it ends a pause that holds up wanted workers: one is tried at once, and a failure begins at `backoff_min` again.
//!
//! **Bound.** No spawn takes the number of processes, leaving ones included, above `3 x target + 2 x surge`, where
//! target is the highest so far: processes that refuse to die cannot pile up.

mod action;
mod backoff;
mod effects;
mod elastic;
mod endings;
mod event;
mod lifecycle;
mod operator;
mod plan;
mod random;
mod settings;
mod status;
mod supervisor;
mod worker;

pub use action::{Action, DrainReason, KillReason, Notice, ScaleReason, without_not_started};
pub use endings::{Cause, Endings, Failure};
pub use event::{Event, ExitStatus, WorkerId};
pub use settings::{MOST_WORKERS, Settings};
pub use status::{AppState, Status, WorkerStatus};
pub use supervisor::Supervisor;
pub use worker::WorkerState;
