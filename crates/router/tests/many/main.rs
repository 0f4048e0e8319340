//! Many applications on one router, from outside: real sockets, workers and clients played by the test.

mod bandwidth;
mod figures;
mod harness;
mod incidents;
mod life;
mod limits;
mod routing;
mod statistics;
