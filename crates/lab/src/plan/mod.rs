//! How much an application needs for a given traffic: by formula, by simulation, and how far to believe it.
//!
//! [`formulas`] is queueing theory in a page; [`tenancy`] when sharing cores beats owning one, and how many tenants fit;
//! [`cost`] what it costs; [`capacity`] searches the smallest configuration that meets a target, by simulation; [`trust`] compares a
//! prediction with what was measured and says whether to believe it; [`what_if`] what would happen otherwise.
//!
//! Pure functions: no clock, no I/O. What an application needs comes as a [`crate::simulate::Profile`].

pub mod formulas;
