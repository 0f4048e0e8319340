//! Detectors: from figures that were read at two moments to what went wrong in between, or nothing.
//!
//! Each is a small state machine for one thing that can go wrong with one application. It is shown readings, about every
//! [`PERIOD`], and answers with an [`incident::Detection`] when they prove something. A wrong answer costs more than a late
//! one: what does not last is not told (`streak.rs`), what has two explanations is not told, and a figure that this machine
//! does not have is never replaced by a guess.
//!
//! Nothing here opens a file, reads a clock or knows how readings are taken: the same readings give the same answers, so that
//! an hour of a healthy application can be shown to all detectors in a second.

mod files;
mod full;
mod growth;
mod held;
mod near;
mod processes;
mod since;
mod starved;
mod streak;
mod throttled;
mod watcher;

use std::time::Duration;

pub use files::{FileLimit, OpenFiles};
pub use full::{Room, VolumeFull};
pub use growth::Footprint;
pub use held::{Counts, HeldBack, Transfer, Way};
pub use near::{Memory, NearLimit, NearPool};
pub use processes::{ProcessLimit, Processes};
pub use starved::{Demand, Starving};
pub use throttled::{Quota, Throttled};
pub use watcher::{Reading, Watcher, Worker};

/// How often readings are taken. Twice this and a half is the least that something must last to be told.
pub const PERIOD: Duration = Duration::from_millis(500);

/// What lasts is told again after this long, so that its incident stays open.
pub(crate) const AGAIN: Duration = Duration::from_secs(30);
