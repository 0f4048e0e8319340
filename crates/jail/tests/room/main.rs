//! Rooms and confined processes, real ones. What needs the superuser says so where there is none.

#![expect(clippy::unwrap_used, reason = "the whole binary is a test")]

mod confined;
mod lifetime;
mod support;
mod unprivileged;
mod view;
