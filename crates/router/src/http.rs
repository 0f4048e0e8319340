//! HTTP/1.0 and HTTP/1.1 as pure functions and small state machines over bytes: no sockets, no clock.
//!
//! `httparse` splits a head into its parts; everything that decides where a message begins and ends is here, because
//! that is where request smuggling lives. The rule throughout: what RFC 9112 calls ambiguous is refused, never repaired.

pub(crate) mod chunked;
pub(crate) mod date;
pub(crate) mod head;
pub(crate) mod reason;
pub(crate) mod response;
pub(crate) mod scan;
pub(crate) mod target;
