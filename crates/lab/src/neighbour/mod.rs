//! Neighbours: tenants of the same host that use what an application needs too, as much as they are told and for no longer.
//!
//! A neighbour is an application of the host like any other ([`plan`]), with workers, a control group and limits. Its child
//! process ([`serve`]) connects to the laboratory ([`Hub`]) and does there what it is told: [`Work`] for a share of the time
//! and never beyond a limit, so that it ends by itself if nobody tells it to. It also ends when the laboratory does (the
//! connection closes) and when its worker does (a signal of the kernel).
//!
//! How much of its work it got done is reported back: that is what a neighbour is calibrated with.

mod hub;
mod work;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

pub use hub::{Hub, HubError};
pub use work::serve;

use crate::host::AppPlan;

/// The application's file.
const APP: &str = include_str!("neighbour_app.py");

/// Longest time that a neighbour works without being told again.
pub const LONGEST: Duration = Duration::from_secs(60);

/// What a neighbour does. Sizes are bounded by its own control group besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// So many threads use processors. Done: loops of fixed work.
    Spin { threads: u8 },
    /// Walk through so much memory, one cache line after the other, and through a file that is not to stay in the page
    /// cache. Done: MiB.
    Sweep { mib: u16 },
    /// Two threads append 4 KiB and fsync; a third writes 1 MiB every 5 ms with fdatasync after each 64; all of them together
    /// write no more than so much. Done: fsyncs.
    Storm { mib: u16 },
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// `duty` is the share of the time, in slices of 10 ms.
    Work {
        work: Work,
        duty: f64,
        milliseconds: u64,
    },
    Stop,
}

/// What was done since the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub units: u64,
    pub milliseconds: u64,
    pub written_bytes: u64,
}

impl Done {
    /// Units in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.units as f64 * 1e3 / self.milliseconds.max(1) as f64
    }
}

/// A neighbour as an application of a host. `directory` is where [`write`] put its file.
#[must_use]
pub fn plan(name: &str, directory: &Path, program: &Path, socket: &Path) -> AppPlan {
    AppPlan::new("neighbour_app:app", directory).set("concurrency", "sync").set("graceful_timeout", "1s").set(
        "env",
        json!({ "LAB_PROGRAM": program.to_string_lossy(), "LAB_SOCKET": socket.to_string_lossy(), "LAB_NAME": name }),
    )
}

/// Write the application's file.
///
/// # Errors
/// It cannot be written.
pub fn write(directory: &Path) -> std::io::Result<()> {
    std::fs::write(directory.join("neighbour_app.py"), APP)
}
