//! The laboratory's instruments: what generates load and measures it, and what may be concluded from the measurements.
//!
//! Two halves that do not know each other. [`load`] sends requests at times that were planned before, and records what
//! became of each. [`statistics`] takes numbers and gives estimates, intervals and verdicts; it knows neither HTTP nor a
//! clock. Neither knows how applications are hosted: what is measured is a URL.
//!
//! [`document`] is what a whole run leaves: data only, written by whoever runs, read by whoever reports.
//!
//! Randomness is a parameter everywhere ([`Random`]): the same seed gives the same arrivals and the same intervals.

pub mod claims;
pub mod document;
pub mod experiment;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod host;
pub mod journal;
pub mod load;
pub mod neighbour;
pub mod probe;
mod random;
pub mod statistics;

pub use random::Random;
