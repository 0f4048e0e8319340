//! The `resolv.conf` that an application with a network of its own gets (resolv.conf(5)).

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// glibc looks at the first three.
const MOST: usize = 3;

/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// Where the host's resolvers are written, in this order. The second is systemd-resolved's list of the real ones, for when
/// the first names only its own listener on loopback.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// What the application's `/etc/resolv.conf` shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolvers {
    /// The whole file.
    pub text: String,
    /// Usable ones in it.
    pub servers: Vec<Ipv4Addr>,
    /// What an operator should know: no usable one, or some left out. Empty when all is well.
    pub notes: Vec<String>,
}

/// From the host's files, or `configured` ones instead. `own` are the host's addresses, which the application
/// cannot reach; `gateway` is the host's end of its wire.
pub(super) fn for_app(configured: &[Ipv4Addr], own: &[Ipv4Addr], gateway: Ipv4Addr) -> Resolvers {
    if !configured.is_empty() {
        let text: String = configured.iter().map(|server| format!("nameserver {server}\n")).collect();
        return choose(&[("the configuration", &text)], own, gateway);
    }
    let read: Vec<(&str, String)> =
        FILES.iter().filter_map(|path| Some((*path, read(Path::new(path))?))).collect();
    let texts: Vec<(&str, &str)> = read.iter().map(|(path, text)| (*path, text.as_str())).collect();
    choose(&texts, own, gateway)
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first file with a usable server.
fn choose(files: &[(&str, &str)], own: &[Ipv4Addr], gateway: Ipv4Addr) -> Resolvers {
    let mut notes = Vec::new();
    for (path, text) in files {
        let (mut servers, mut kept) = (Vec::new(), String::new());
        for line in text.lines() {
            match line.trim().split_once(char::is_whitespace) {
                Some(("nameserver", server)) => match usable(server.trim(), own) {
                    Ok(server) if servers.len() < MOST => {
                        servers.push(server);
                        kept.push_str(&format!("nameserver {server}\n"));
                    }
                    Ok(_) => {}
                    Err(why) => {
                        notes.push(format!("resolver {} of {path} is left out: {why}", server.trim()))
                    }
                },
                Some((word @ ("search" | "domain" | "options"), rest)) => {
                    kept.push_str(&format!("{word} {}\n", rest.trim()));
                }
                _ => {}
            }
        }
        if !servers.is_empty() {
            return Resolvers { text: kept, servers, notes };
        }
    }
    notes.push(
        "names cannot be resolved in the application: the host has no resolver that can be reached from outside it; \
         configure one"
            .to_owned(),
    );
    // Not an empty file: then glibc would ask 127.0.0.1. The host's end refuses at once, so that nothing waits.
    Resolvers {
        text: format!("nameserver {gateway}\noptions timeout:1 attempts:1\n"),
        servers: Vec::new(),
        notes,
    }
}

fn usable(server: &str, own: &[Ipv4Addr]) -> Result<Ipv4Addr, &'static str> {
    // An IPv6 address may carry a zone.
    let plain = server.split('%').next().unwrap_or_default();
    match plain.parse() {
        Ok(IpAddr::V4(server)) if server.is_loopback() => {
            Err("it is on the host's loopback, which the application does not share")
        }
        Ok(IpAddr::V4(server)) if server.is_unspecified() => Err("it is the host itself"),
        Ok(IpAddr::V4(server)) if own.contains(&server) => {
            Err("it is the host itself, which applications cannot reach")
        }
        Ok(IpAddr::V4(server)) => Ok(server),
        Ok(IpAddr::V6(_)) => Err("the application's network has no IPv6"),
        Err(_) => Err("it is not an address"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 83, 0, 0);

    #[test]
    fn usable_servers_and_options_are_kept() {
        let text = "# by hand\nnameserver 10.0.0.2\nnameserver 127.0.0.53\nsearch example.com\noptions edns0\n\
                    nameserver ::1\nnameserver 10.0.0.9\n";
        let found = choose(&[("a", text)], &[Ipv4Addr::new(10, 0, 0, 9)], GATEWAY);
        assert_eq!(found.text, "nameserver 10.0.0.2\nsearch example.com\noptions edns0\n");
        assert_eq!(found.servers, [Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
    }

    #[test]
    fn behind_a_stub_on_loopback_the_real_ones_are_found() {
        let found = choose(&[("a", "nameserver 127.0.0.53\n"), ("b", "nameserver 10.0.0.2\n")], &[], GATEWAY);
        assert_eq!(found.text, "nameserver 10.0.0.2\n");
        assert!(found.notes[0].contains("loopback"), "{:?}", found.notes);
    }

    #[test]
    fn without_a_usable_one_it_says_so() {
        let found = choose(&[("a", "nameserver 127.0.0.1\n")], &[], GATEWAY);
        assert!(found.servers.is_empty() && found.notes[1].contains("cannot be resolved"), "{found:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_never_names_loopback(text in "(nameserver [0-9.:a-f%]{0,20}\n|.{0,30}\n){0,8}") {
            let found = choose(&[("a", &text)], &[], GATEWAY);
            prop_assert!(found.servers.len() <= MOST);
            prop_assert!(found.servers.iter().all(|server| !server.is_loopback()));
        }
    }
}
