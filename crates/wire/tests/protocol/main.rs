//! The frame protocol from outside: arbitrary values, hostile bytes, and bytes that must never change.
//!
//! Nothing here knows how the crate is built inside. `messages` makes examples of every message; `round_trip`,
//! `hostile` and `pinned` put questions to them; `corpus` replays the seeds of the fuzz targets.

mod corpus;
mod hostile;
mod messages;
mod pinned;
mod round_trip;
mod spent;
