//! Running comparisons on the real program: blocks of load in interleaved pairs, in arms that are switched live, with
//! neighbours, and everything put back.
//!
//! - [`Session`]: one laboratory, from opening its journal to putting everything back; holds the host, enters [`Arm`]s, runs
//!   [`Block`]s.
//! - [`Session::compare`]: pairs of blocks in two [`Condition`]s, and A/A pairs among them for the noise of the session.
//! - [`gate`]: when a block does not count; [`order`]: in which order blocks run. Both only decide.
//!
//! Where everything runs is explicit and recorded ([`Placement`]): the load generator and the laboratory stay in the control
//! group they were started in, the generator on the first core with real-time priority where that is allowed; host, applications
//! and neighbours are where the program puts them.

mod arm;
mod background;
mod block;
mod demand;
pub mod gate;
pub mod groups;
mod measure;
pub mod order;
mod pairs;
mod record;
mod sample;
mod session;
mod spin;
mod stage;
mod timeline;

use std::time::Duration;

pub use arm::Arm;
pub use background::Background;
pub use block::{Block, Condition, Load, Noise, Part, Rate};
pub use demand::{BIN, Demand};
pub use gate::Fault;
pub use pairs::{Comparison, Paired};
pub use record::Purpose;
pub use sample::Usage;
pub use session::{Options, Placement, Progress, Session};

use crate::host::HostError;
use crate::journal::JournalError;
use crate::load::LoadError;
use crate::load::mix::RequestError;
use crate::neighbour::HubError;

/// How much is measured: the same experiments, longer or shorter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Of one block, without what is discarded.
    pub block: Duration,
    /// Of its beginning.
    pub discard: Duration,
    /// Before the first block of a newly started worker.
    pub warm_up: Duration,
    pub pairs: usize,
    /// A/A pairs.
    pub control: usize,
}

/// Pairs or rounds that may be run in place of those that do not count: half as many again as are planned for, and once more as
/// many. With twelve claims at once a verdict needs each of the nine pairs that are planned, and on a virtual machine with busy
/// neighbours about half of them do not count; one that is never quiet ends too.
pub(crate) fn spare(planned: usize) -> usize {
    planned + planned / 2
}

impl Effort {
    /// What verdicts are meant to rest on: about a minute for a claim.
    pub const NORMAL: Effort = Effort {
        block: Duration::from_millis(1_500),
        discard: Duration::from_millis(400),
        warm_up: Duration::from_millis(300),
        pairs: 9,
        control: 3,
    };

    /// More of the same, for noisy machines.
    pub const THOROUGH: Effort = Effort {
        block: Duration::from_millis(3_000),
        discard: Duration::from_millis(500),
        pairs: 16,
        control: 6,
        ..Effort::NORMAL
    };

    /// The same with blocks of this length, of which the beginning is discarded.
    #[must_use]
    pub fn with_blocks(self, block: Duration, discard: Duration) -> Effort {
        Effort { block, discard, ..self }
    }

    /// The same with blocks that are not longer than this.
    #[must_use]
    pub fn within(self, block: Duration, discard: Duration) -> Effort {
        self.with_blocks(self.block.min(block), self.discard.min(discard))
    }

    /// To see that everything works: no verdict should rest on it.
    pub const QUICK: Effort = Effort {
        block: Duration::from_millis(250),
        discard: Duration::from_millis(50),
        warm_up: Duration::from_millis(50),
        pairs: 1,
        control: 1,
    };
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("interrupted")]
    Interrupted,
    /// Not an accident: this machine does not have what the experiment needs.
    #[error("not testable here: {0}")]
    Missing(String),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("neighbours: {0}")]
    Hub(#[from] HubError),
    #[error("the load generator: {0}")]
    Load(#[from] LoadError),
    #[error("the load generator: {0}")]
    Request(#[from] RequestError),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{0}")]
    Other(String),
}

impl SessionError {
    /// For `map_err`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> SessionError {
        let what = what.into();
        move |source| SessionError::Io { what, source }
    }
}
