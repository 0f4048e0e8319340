//! ASGI 3: requests run as tasks on one event loop, which also watches the data link.
//!
//! All frames of one read are decoded at once and each request is started at once; answers of the whole batch
//! leave in one write. `receive` and `send` are plain builtin methods that answer with a finished awaitable
//! whenever they can; only when they have to wait does a Python coroutine (python/asgi.py) come in.

mod awaitable;
mod event;
mod exchange;
mod http;
mod interrupt;
mod pending;
mod scope;
mod server;
mod steps;
mod websocket;

pub(crate) use exchange::ClientDisconnected;
pub(crate) use interrupt::TaskInterrupt;
pub(crate) use server::AsgiServer;
