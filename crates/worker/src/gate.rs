//! The way into the interpreter for threads of our own, which Python does not know and cannot wait for.
//!
//! Up to CPython 3.12 a thread that asks for the interpreter lock while the interpreter ends is ended in that very call
//! (`pthread_exit`), and unwinding through Rust like that aborts the process. So the end waits for those that are inside,
//! and nobody comes in after it.

use std::sync::{PoisonError, RwLock};

use pyo3::prelude::*;

static GATE: RwLock<()> = RwLock::new(());

/// Run `work` attached to the interpreter. `None`: it is ending. Blocks for ever once [`close`] was called.
pub(crate) fn attach<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _inside = GATE.read().unwrap_or_else(PoisonError::into_inner);
    Python::try_attach(work)
}

/// The interpreter is about to end: no thread of ours uses it from now on.
pub(crate) fn close(py: Python<'_>) {
    // Who is inside needs the interpreter lock to come out.
    py.detach(|| std::mem::forget(GATE.write().unwrap_or_else(PoisonError::into_inner)));
}
