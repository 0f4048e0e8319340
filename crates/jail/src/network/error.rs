//! Why an application cannot have a network.

use std::io;

use super::pool::Prefix;

/// Why an application cannot have a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused one step.
    #[error("cannot {doing}: {error}")]
    Refused { doing: &'static str, error: io::Error },
    /// This machine, or this container, cannot do it at all.
    #[error("a network of its own is impossible here: {why}")]
    Impossible { why: String },
    /// Without a default route there is no outside.
    #[error("egress = \"nat\" needs a way out, and this host has no IPv4 default route")]
    NoWayOut,
    /// All of the pool is taken by routes or other applications.
    #[error("no network of two addresses is free in {pool}{}: configure another pool", covered(.by.as_ref()))]
    PoolFull { pool: Prefix, by: Option<Prefix> },
    /// An instance's name becomes part of names in the kernel.
    #[error("{0:?} cannot name a host instance: 1 to 40 letters, digits, - and _")]
    Name(String),
}

fn covered(by: Option<&Prefix>) -> String {
    by.map(|by| format!(", which a route to {by} covers")).unwrap_or_default()
}

pub(super) fn refused<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |error| {
        let error = error.into();
        match error.raw_os_error() {
            Some(1 | 13) => Error::Impossible {
                why: format!("cannot {doing} ({error}): this needs CAP_NET_ADMIN and CAP_SYS_ADMIN"),
            },
            Some(30) => Error::Impossible {
                why: format!("cannot {doing}: /proc/sys is read-only, as in most containers"),
            },
            Some(93 | 95) => Error::Impossible {
                why: format!("cannot {doing}: the kernel has no support for it ({error})"),
            },
            _ => Error::Refused { doing, error },
        }
    }
}
