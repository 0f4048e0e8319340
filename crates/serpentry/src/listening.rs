//! Sockets and other things that both `serve` and `host` need before anything else.

use std::path::Path;

use anyhow::{Context as _, bail};
use router::Listener;

use crate::exit::Usage;
use crate::{say, service_manager};

/// A host of thousands of connections needs as many descriptors; the hard limit is what we are allowed.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        say::debug(format_args!("the limit of open files cannot be raised"));
    }
}

/// Listen on `HOST:PORT`, `[IPv6]:PORT`, `unix:PATH` or `fd://N`. ":8000" means all interfaces, "example.org" alone port 8000.
///
/// # Errors
/// When it is none of these, or the operating system refuses.
pub(crate) fn bind(address: &str) -> anyhow::Result<Listener> {
    let context = || format!("cannot listen on {address}");
    if let Some(path) = address.strip_prefix("unix:") {
        return Listener::unix(Path::new(path)).with_context(context);
    }
    if let Some(number) = address.strip_prefix("fd://") {
        let fd = number.parse().map_err(|_| Usage(format!("{address}: fd:// needs a number")))?;
        return Ok(inherited(fd)?);
    }
    let bare_ipv6 = address.matches(':').count() > 1 && !address.starts_with('[');
    let full = match address.rsplit_once(':').filter(|_| !bare_ipv6) {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => address.to_owned(),
        _ if address.contains(':') && !address.starts_with('[') => {
            bail!(Usage(format!(
                "{address}: an address looks like HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N"
            )))
        }
        _ => format!("{address}:8000"),
    };
    Listener::tcp(&full).with_context(context)
}

/// The sockets that a service manager passed. Empty when there are none for this process.
///
/// # Errors
/// When one of them is not a listening socket.
pub(crate) fn passed() -> anyhow::Result<Vec<Listener>> {
    let passed = service_manager::passed();
    passed.map(|fd| inherited(fd).with_context(|| format!("descriptor {fd} of LISTEN_FDS"))).collect()
}

fn inherited(fd: i32) -> Result<Listener, jail::NotInherited> {
    Ok(match jail::listener_from_fd(fd)? {
        jail::Inherited::Tcp(listener) => Listener::Tcp(listener),
        jail::Inherited::Unix(listener) => Listener::Unix(listener, None),
    })
}

/// A number that differs between runs; nothing secret depends on it.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
