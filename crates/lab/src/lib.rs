//! The laboratory's instruments: what generates load and measures it, and what may be concluded from the measurements.
//!
//! Parts that do not know each other. [`load`] sends requests at times that were planned before, and records what
//! became of each. [`statistics`] takes numbers and gives estimates, intervals and verdicts; it knows neither HTTP nor a
//! clock. Neither knows how applications are hosted: what is measured is a URL. [`simulate`] says what would happen to an
//! application whose requests are known, and [`plan`] what it needs for a given traffic.
//!
//! [`document`] is what a whole run leaves: data only, written by whoever runs; [`report`] makes it readable. [`decide`]
//! says what to do, from measured figures, and why.
//!
//! Randomness is a parameter everywhere ([`Random`]): the same seed gives the same arrivals and the same intervals.

pub mod claims;
pub mod compare;
pub mod decide;
pub mod document;
pub mod experiment;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod host;
pub mod journal;
pub mod load;
pub mod neighbour;
pub mod plan;
pub mod probe;
mod random;
pub mod report;
pub mod simulate;
pub mod statistics;

pub use random::Random;
