//! How workers ended, counted by cause, and what the last failure was: for `status`, metrics and the log.
//!
//! It only counts; nothing is decided by these numbers.

use std::time::Duration;

use crate::event::{ExitStatus, WorkerId};

/// Why a worker was lost or had to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It could not be started, said that the application does not boot, or ended before it was ready.
    BootFailed,
    /// It was not ready within `start_timeout`.
    StartTimeout,
    /// A signal that the supervisor did not send ended it after it was ready.
    Crashed,
    /// It exited by itself after it was ready.
    Exited,
    /// A request could not be interrupted.
    Hung,
    /// It broke the protocol.
    Misbehaved,
    /// It served its maximum of requests.
    Quota,
    /// It used more memory than it is given before it is replaced.
    Outgrown,
    /// It was drained for any reason and had to be killed at the deadline. Counts beside the reason for the drain.
    Overdue,
}

/// Counts since the supervisor was made, also over stops and starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endings([u64; Cause::ALL.len()]);

/// The last time a worker was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub at: Duration,
    pub worker: WorkerId,
    pub generation: u64,
    pub cause: Cause,
    /// A sentence without a full stop, or what the application said.
    pub reason: String,
}

impl Cause {
    /// In the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::BootFailed,
        Self::StartTimeout,
        Self::Crashed,
        Self::Exited,
        Self::Hung,
        Self::Misbehaved,
        Self::Quota,
        Self::Outgrown,
        Self::Overdue,
    ];

    /// The name in metrics; it does not change.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BootFailed => "boot_failed",
            Self::StartTimeout => "start_timeout",
            Self::Crashed => "crashed",
            Self::Exited => "exited",
            Self::Hung => "hung",
            Self::Misbehaved => "misbehaved",
            Self::Quota => "quota",
            Self::Outgrown => "outgrown",
            Self::Overdue => "overdue",
        }
    }

    /// What an exit nobody asked for is called.
    pub(crate) fn of_exit(starting: bool, status: ExitStatus) -> Self {
        match status {
            _ if starting => Self::BootFailed,
            ExitStatus::Signal(_) => Self::Crashed,
            ExitStatus::Code(_) => Self::Exited,
        }
    }
}

impl Endings {
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// Every cause with its count, also those that never happened.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.into_iter().map(|cause| (cause, self.of(cause)))
    }

    pub(crate) fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_count_of_its_own() {
        let mut endings = Endings::default();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index, "the order of ALL is that of the declaration");
            endings.count(cause);
        }
        endings.count(Cause::Hung);
        let counted: Vec<u64> = endings.iter().map(|(_, count)| count).collect();
        assert_eq!(counted, [1, 1, 1, 1, 2, 1, 1, 1, 1]);
    }
}
