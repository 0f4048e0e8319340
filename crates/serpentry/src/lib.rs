//! The parts of the program that others than the program itself use: the control interface, the state directory and the files in it.
//!
//! A library only so that tests and `examples/fake_host.rs` can stand behind the real control server without a single
//! application. Everything else of the program is in `main.rs` and what it names.

pub mod control;
pub mod database;
pub mod results;
pub mod stamp;
pub mod state;
