//! How much an application needs for a given traffic: by formula, by simulation, and how far to believe it.
//!
//! [`formulas`] is queueing theory in a page; [`tenancy`] when sharing cores beats owning one, and how many tenants fit;
//! [`capacity`] searches the smallest configuration that meets a goal, by simulation; [`what_if`] says what would happen
//! otherwise, and how near an overload is that would keep itself alive; [`trust`] compares a prediction with what was
//! measured and says whether to believe it.
//!
//! Pure functions: no clock, no I/O. What an application needs comes as a [`crate::simulate::Profile`].

pub mod capacity;
pub mod formulas;
pub mod tenancy;
pub mod trust;
pub mod what_if;
