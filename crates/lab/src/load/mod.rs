//! Load with known arrival times, and what became of every request.
//!
//! One loop ([`run`]) for every combination of four things: *when* requests are sent ([`Pace`]: open by a [`Schedule`], or
//! closed with a fixed number at a time), *where* to ([`Endpoint`]: TCP or a Unix socket), *until when* ([`StopRule`]) and
//! *what is kept* ([`Recorder`]).
//!
//! Latency is counted from the time a request was **planned** for. A generator that waits for a slow server before it
//! sends the next request does not see the requests that would have suffered (coordinated omission); one that is late
//! itself blames the server for it. So the plan does not depend on the server, and how late the generator was is
//! measured and bounds what its figures are worth ([`gate`]).
//!
//! Every request that was planned is in the distribution. One that failed, was answered with an error, ran into the time
//! limit, or could not be sent because too many were under way, has no latency but took longer than any that has: it is
//! *censored*. Shedding load cannot improve a percentile.
//!
//! Not here: HTTP/2, TLS, redirects, cookies, pipelining. Answers are read to the end and thrown away. Only ever as many
//! requests are under way as [`Limits`] says; nothing a server sends makes the generator keep more than
//! [`response::MAX_HEAD`] bytes per connection.

pub mod access_log;
mod clock;
mod connection;
pub mod dispersion;
mod engine;
pub mod gate;
pub mod mix;
mod plan;
mod realtime;
pub mod record;
mod report;
pub mod response;
mod schedule;
mod slots;
mod source;
pub mod tally;
pub mod target;

pub use engine::run;
pub use mix::Mix;
pub use plan::{Limits, LoadPlan, MAX_OUTSTANDING, Pace, StopRule};
pub use record::{Outcome, RawRecords, Record, Recorder};
pub use report::{LoadError, Moment, Summary, Watch};
pub use schedule::{Arrivals, MAX_RATE, Schedule, ScheduleError};
pub use tally::Tally;
pub use target::Endpoint;
