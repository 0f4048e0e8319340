//! A few counters of some applications, for whoever looks at them twice a second: nothing is copied that is large.

use std::time::Duration;

use crate::app::App;
use crate::event;

/// Of one application. Counters count from its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppCounters {
    pub app: event::App,
    /// Requests that are over, whoever answered them.
    pub requests: u64,
    /// Requests that are not over.
    pub in_flight: usize,
    /// From and to clients.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Time during which at least one connection was held back by a limit of bandwidth.
    pub held_back_in: Duration,
    pub held_back_out: Duration,
    pub workers: Vec<WorkerCounters>,
}

/// Of one of its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerCounters {
    pub worker: event::Worker,
    /// Requests it was given.
    pub requests: u64,
    /// Different inputs among them, about; `None`: too many to tell.
    pub inputs: Option<u64>,
}

impl App {
    pub(crate) fn counters(&self) -> AppCounters {
        let (held_back_in, held_back_out) = self.bandwidth.held_back();
        let workers = self.links.borrow();
        let of = |link: &std::rc::Rc<crate::link::Link>| WorkerCounters {
            worker: link.worker,
            requests: link.served.get(),
            inputs: link.inputs.estimate(),
        };
        AppCounters {
            app: self.id,
            requests: self.stats.requests(),
            in_flight: self.in_flight(),
            bytes_in: self.stats.bytes_in.get(),
            bytes_out: self.stats.bytes_out.get(),
            held_back_in,
            held_back_out,
            workers: workers.iter().map(of).collect(),
        }
    }
}
