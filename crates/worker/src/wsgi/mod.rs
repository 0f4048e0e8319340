//! WSGI (PEP 3333): requests run one at a time on each serving thread.
//!
//! `sync` is one such thread, the main one; `threads` is several. A thread takes a request from the inbox,
//! makes the environ, calls the application and hands its answer to the outbox, staying attached to Python
//! except while it waits.

mod environ;
mod exchange;
mod input;
mod run;

pub(crate) use run::WsgiServer;
