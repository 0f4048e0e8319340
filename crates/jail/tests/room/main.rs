//! Rooms and confined processes, real ones. What needs the superuser says so where there is none.

mod lifetime;
mod support;
mod view;
