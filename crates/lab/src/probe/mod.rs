//! The applications that claims are tested on: small, of Python's standard library only, and carried in the program.
//!
//! Both have the same routes, so that what differs between two arms is how they are hosted and not what they do:
//!
//! | route | does |
//! |---|---|
//! | `/cpu?ms=` | uses so much processor time of its thread (not: runs for so long) |
//! | `/io?ms=` | waits; with `pool=1` in the ASGI application, in one of 40 threads beside the loop |
//! | `/log?fsync=&ms=&to=` | waits, then appends a line to `probe.log` in the working directory (`to=1`: in the application's data, `to=2`: no file but standard error) |
//! | `/file?kb=` | writes a file there, reads it, removes it |
//! | `/mem?mb=&ms=` | has so much memory for so long |
//! | `/leak?kb=&clear=` | keeps so much until the process ends, or lets all of it go first |
//! | `/hold?s=` | keeps the request open |
//! | `/big?mb=&kb=` | an answer of this size, in pieces of 64 KiB |
//! | `/pid` | process, its processor time, requests begun and finished, as JSON |
//!
//! Every parameter has bounds (`probe_work.py`). Not for anybody else's use: the routes exhaust a machine on purpose.

mod direct;

use std::io;
use std::path::Path;

pub use direct::{Direct, Model};

/// Name and content of each file.
const FILES: [(&str, &str); 4] = [
    ("probe_work.py", include_str!("probe_work.py")),
    ("probe_wsgi.py", include_str!("probe_wsgi.py")),
    ("probe_asgi.py", include_str!("probe_asgi.py")),
    ("probe_direct.py", include_str!("probe_direct.py")),
];

/// What to name as an application.
pub const WSGI: &str = "probe_wsgi:app";
pub const ASGI: &str = "probe_asgi:app";

/// Write the applications to a directory that exists; it is theirs, the log goes there too.
///
/// # Errors
/// A file cannot be written.
pub fn write(directory: &Path) -> io::Result<()> {
    FILES.iter().try_for_each(|(name, content)| std::fs::write(directory.join(name), content))
}
