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
//!   Spawning --spawned--> Booting --ready--> Ready --quota reached--> Retiring
//!      |                     |                 |                         |
//!      |                     |                 +---- drain, hung --------+--> Draining --drained--> Finishing
//!      |                     |                 |                         |        |                     |
//!      +-- start timeout, ---+-- boot failed --+------ misbehaved -------+--------+---- deadline -------+
//!          stop                                                                                         |
//!                                                                                              Dying <--+
//!      any state --exited--> Gone              (Dying: was sent SIGKILL, repeated until it is gone)
//! ```
//!
//! `Ready` and `Retiring` workers serve; a `Retiring` one has used up its `max_requests` and serves on until its
//! replacement is ready. Every cell of the table below is a unit test, which reads it from here; `.` means ignored.
//!
//! | state     | spawned | spawn-failed | ready | boot-failed | quota    | hung     | misbehaved | drain    | drained   | kill  | exited |
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
//! **First boot.** With `give_up_on_first_boot_failure`, a start that fails (rule 1) before any worker was ever ready
//! ends the application: the others are killed, then [`Action::Stopped`] carries the reason.
//!
//! **Quota.** A retiring worker is drained only when `target` others are ready; at most `surge` replacements of
//! retiring workers are started at a time. **Hung.** Drained for `hang_grace` at most, replaced meanwhile.
//!
//! **Reload.** `target` workers of a new generation are started beside the old. When all are ready: `Activate`, `Admit`
//! each, `Drain` the old. The first failure of any of them ends the attempt, kills the new generation and keeps the old,
//! without another try. A reload during a reload kills the attempt under way and starts another.
//!
//! **Scale.** Down: workers still starting leave first, then the youngest ready one (the oldest have the warmest
//! caches). Never below 1 nor above `max_workers`.
//!
//! **Bound.** No spawn takes the number of processes, leaving ones included, above `3 x target + 2 x surge`, where
//! target is the highest so far: processes that refuse to die cannot pile up.

mod action;
mod backoff;
mod effects;
mod event;
mod lifecycle;
mod plan;
mod random;
mod settings;
mod status;
mod supervisor;
mod worker;

pub use action::{Action, DrainReason, KillReason, Notice};
pub use event::{Event, ExitStatus, WorkerId};
pub use settings::Settings;
pub use status::{AppState, Status, WorkerStatus};
pub use supervisor::Supervisor;
pub use worker::WorkerState;
