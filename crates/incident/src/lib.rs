//! Incidents: what can go wrong, what each of them is called, and the book that they are kept in.
//!
//! An incident is one thing that went wrong with one application, however often it was seen: it opens with the first
//! [`Detection`], grows with every further one of the same application, code and cause, and closes when none has come for a
//! while. What can be detected, what it is called, which figures prove it, how it is put into words and what to do about it is
//! one table, the [catalogue](Code::entry); the pages in `docs/incidents/` are made from it.
//!
//! This crate reads no clock, draws no random number, opens no file and knows neither HTTP nor processes. Whoever detects
//! something (router, supervisor, the host's measurements) says so with a [`Detection`]; whoever shows something decides how
//! to escape it, with [`text`].
//!
//! ```text
//!  router, supervisor, samplers --Detection--> Book --Event--> log, hooks, `serpentry events`
//!                                               |---Incident--> `serpentry why`, status, metrics, history
//! ```

mod book;
mod catalogue;
mod code;
mod detection;
mod id;
pub mod page;
mod sentence;
pub mod text;

pub use book::{Book, Bounds, Event, EventKind, Incident, Moment, Recorded};
pub use code::{Cause, Code, Entry, Evidence, Family, Merge, Severity, Unit};
pub use detection::{Detail, Detection, Facts, Request, Value, WorkerRef};
pub use id::{Id, Ids, Lane, Name};
pub use sentence::{remedy, sentence, shown};
